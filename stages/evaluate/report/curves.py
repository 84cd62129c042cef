"""The learning curves, and the epochs in numbers."""

from collections.abc import Sequence

from schemas.vision.history import EpochRecord, History
from stages.evaluate.report import wording
from stages.evaluate.report.charts import LineChart
from stages.evaluate.report.line_chart import Series, build_line_chart

_MAX_EPOCHS = 200
_MEANINGS = {
    "Loss": "How improbable the true classes seemed: lower is better. Where validation rises while training "
    "still falls, the network learns its training images by heart.",
    "Accuracy": "Share answered correctly: higher is better.",
}


def choose_epochs(history: History) -> list[EpochRecord]:
    """Return all epochs, or of many an even choice that holds the first, the best and the last."""
    last = len(history.epochs) - 1
    step = -(-len(history.epochs) // _MAX_EPOCHS)
    return [
        record
        for place, record in enumerate(history.epochs)
        if place % step == 0 or place == last or record.epoch == history.best_epoch
    ]


def build_learning_curves(history: History) -> list[LineChart]:
    """Return loss and accuracy over the epochs."""
    epochs = choose_epochs(history)
    return [
        _chart(
            epochs,
            "Loss",
            best=history.best_epoch,
            train=[each.train_loss for each in epochs],
            val=[each.val.loss for each in epochs],
            percent=False,
        ),
        _chart(
            epochs,
            "Accuracy",
            best=history.best_epoch,
            train=[each.train_accuracy for each in epochs],
            val=[each.val.accuracy for each in epochs],
            percent=True,
        ),
    ]


def _chart(
    epochs: Sequence[EpochRecord],
    title: str,
    *,
    best: int,
    train: list[float],
    val: list[float],
    percent: bool,
) -> LineChart:
    numbers = [each.epoch for each in epochs]

    def moved(values: list[float]) -> str:
        start, end = (wording.percent(v) if percent else f"{v:.3f}" for v in (values[0], values[-1]))
        return f"{start} in epoch {numbers[0]}, {end} in epoch {numbers[-1]}"

    return build_line_chart(
        [Series("training", "train", train), Series("validation", "val", val)],
        key=title.lower(),
        title=title,
        description=f"Training: {moved(train)}. Validation: {moved(val)}.",
        meaning=_MEANINGS[title],
        epochs=numbers,
        marked_epoch=best,
        percent=percent,
    )
