"""How far probabilities can be believed: calibration, and what a threshold brings."""

from stages.evaluate.calibration import CalibrationFigures, Reliability, Withholding
from stages.evaluate.report import wording
from stages.evaluate.report.charts import LineChart
from stages.evaluate.report.fraction_chart import Curve, build_fraction_chart


def describe_calibration(figures: CalibrationFigures) -> str:
    """Say by how much probabilities miss, before and after calibration."""
    error, before = wording.percent(figures.after.error), wording.percent(figures.before.error)
    miss = f"The probabilities miss the share of right answers by {error} on average"
    if figures.temperature == 1.0:
        return f"{miss}. The validation split has no mistakes to calibrate them by."
    return (
        f"{miss} (expected calibration error); before the logits were divided by the temperature "
        f"{figures.temperature:.3g}, which was fitted to the validation split, it was {before}."
    )


def describe_withholding(withheld: Withholding) -> str:
    """Say what the threshold for the wanted accuracy does."""
    target = wording.percent(withheld.target_accuracy)
    if withheld.threshold is None:
        return f"No threshold made {target} of the answers right on the validation split, so none is set."
    threshold = wording.percent(withheld.threshold.probability)
    if withheld.threshold.probability == 0:
        given = f"For {target} right answers none need be withheld, says the validation split"
    else:
        given = f"For {target} right answers, those below {threshold} are withheld, says the validation split"
    return (
        f"{given}. On the test split that answers {wording.percent(withheld.answered_fraction)} of the "
        f"images, and {wording.percent(withheld.accuracy)} of these answers are right."
    )


def draw_reliability(figures: CalibrationFigures) -> LineChart:
    """Return how often answers of each probability were right."""

    def curve(name: str, css_class: str, reliability: Reliability) -> Curve:
        total = sum(each.num_images for each in reliability.bins)
        return Curve(
            name,
            css_class,
            [(each.probability, each.accuracy) for each in reliability.bins],
            [each.num_images / total for each in reliability.bins],
        )

    return build_fraction_chart(
        [
            Curve("as it should be", "ideal", [(0.0, 0.0), (1.0, 1.0)]),
            curve("before calibration", "train", figures.before),
            curve("after", "val", figures.after),
        ],
        key="reliability",
        title="Answered correctly, by probability",
        description=(
            f"Expected calibration error {wording.percent(figures.before.error)} before calibration, "
            f"{wording.percent(figures.after.error)} after. The table below holds the numbers."
        ),
        meaning=(
            "On the thin line, of the answers given 80 % just 80 % are right. Above it the network is too "
            "modest, below it too sure."
        ),
        x_label="probability of the answer; the larger a dot, the more images",
        top=1.0,
    )


def draw_risk(withheld: Withholding) -> LineChart:
    """Return how many of the answers are wrong when the improbable ones are withheld."""
    curve = withheld.curve
    return build_fraction_chart(
        [Curve("wrong among the answered", "val", curve)],
        key="risk",
        title="Wrong answers, the improbable ones withheld",
        description=(
            f"{wording.percent(curve[-1][1])} are wrong when all images are answered, "
            f"{wording.percent(curve[len(curve) // 2][1])} when the more probable half is."
        ),
        meaning=(
            "From right to left, more and more of the improbable answers are withheld: the share of wrong "
            "ones among the rest should fall."
        ),
        x_label="share of the images that is answered",
        top=max(risk for _, risk in curve),
        marked_x=withheld.answered_fraction if withheld.threshold else None,
        marked_label=f"threshold for {wording.percent(withheld.target_accuracy)}",
    )
