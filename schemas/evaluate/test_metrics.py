"""What the testing loop measured: data/metrics/test.json and the per-class table."""

from typing import Annotated

from pydantic import Field

from schemas.shared.fields import Count, Fraction, PositiveCount
from schemas.shared.inputs import Fingerprint
from schemas.shared.schema import Schema


class TestMetrics(Schema):
    """Headline figures on the test split."""

    __test__ = False  # pytest takes every class named Test... for a test

    num_images: PositiveCount
    loss: float
    """Mean negative log-probability of the true class, in nats, whatever loss training minimised."""

    accuracy: Fraction
    balanced_accuracy: Fraction
    """Mean recall over the classes."""

    macro_f1: Fraction
    """Mean F1 over the classes."""

    matthews_correlation: Annotated[float, Field(ge=-1, le=1)]
    """Correlation of true classes and answers: 0 for guessing, 1 for perfect, whatever the classes' sizes."""

    roc_auc: Fraction
    """How often an image of a class gets a higher probability for it than another image; mean over classes.
    0.5 for guessing, and where all test images are of one class."""

    average_precision: Fraction
    """Precision at each image of a class, by falling probability of it; mean over images, then classes."""

    top_k_accuracy: Fraction
    """Share of images whose true class is among the evaluation.top_k most probable."""

    calibration_error: Fraction
    """By how much the probabilities of the answers miss the share that is right, mean over 15 bins."""

    answered_fraction: Fraction
    """Share of images whose answer is probable enough for evaluation.target_accuracy."""

    answered_accuracy: Fraction
    """Share of those that is right; 0 if there are none."""

    majority_accuracy: Fraction
    """What always answering the test split's largest class would score."""


class TestRecord(TestMetrics):
    """The figures, and what they were measured of: data/metrics/test.json."""

    fingerprint: Fingerprint
    """Of what the stage was run on: parameters, code and data."""


class ClassScores(Schema):
    """How well one class is answered."""

    label: str
    support: Count
    """Test images of this class."""

    precision: Fraction
    recall: Fraction
    f1: Fraction
    average_precision: Fraction | None
    """Precision at each of its images, by falling probability of the class, mean; None without images."""
