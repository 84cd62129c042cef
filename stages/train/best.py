"""Which epoch is the best so far."""

from schemas.vision.history import Scores


def is_better(scores: Scores, best: Scores | None, *, metric: str) -> bool:
    """Return whether scores beat the best so far by a metric.

    Of equals the lower loss is better, then the earlier: small validation splits give equal accuracies often,
    and the loss still tells them apart.
    """
    return best is None or _rank(scores, metric) > _rank(best, metric)


def _rank(scores: Scores, metric: str) -> tuple[float, float]:
    return (0.0 if metric == "loss" else getattr(scores, metric), -scores.loss)
