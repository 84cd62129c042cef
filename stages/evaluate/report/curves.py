"""The learning curves."""

from schemas.vision.history import History
from stages.evaluate.report import wording
from stages.evaluate.report.charts import LineChart
from stages.evaluate.report.line_chart import Series, build_line_chart


def build_learning_curves(history: History) -> list[LineChart]:
    """Return loss and accuracy over the epochs."""
    epochs = history.epochs
    return [
        _chart(
            history,
            "Loss",
            train=[each.train_loss for each in epochs],
            val=[each.val.loss for each in epochs],
            percent=False,
        ),
        _chart(
            history,
            "Accuracy",
            train=[each.train_accuracy for each in epochs],
            val=[each.val.accuracy for each in epochs],
            percent=True,
        ),
    ]


def _chart(history: History, title: str, *, train: list[float], val: list[float], percent: bool) -> LineChart:
    numbers = [each.epoch for each in history.epochs]

    def moved(values: list[float]) -> str:
        start, end = (wording.percent(v) if percent else f"{v:.3f}" for v in (values[0], values[-1]))
        return f"{start} in epoch {numbers[0]}, {end} in epoch {numbers[-1]}"

    return build_line_chart(
        [Series("training", "train", train), Series("validation", "val", val)],
        key=title.lower(),
        title=title,
        description=f"Training: {moved(train)}. Validation: {moved(val)}.",
        epochs=numbers,
        marked_epoch=history.best_epoch,
        percent=percent,
    )
