"""Which epoch is the best so far."""

from schemas.vision.history import Scores


def is_better(scores: Scores, best: Scores | None, *, metric: str) -> bool:
    """Return whether scores beat the best so far; of equals the earlier stays."""
    if best is None:
        return True
    value, best_value = getattr(scores, metric), getattr(best, metric)
    return bool(value < best_value if metric == "loss" else value > best_value)
