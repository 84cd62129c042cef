"""Metrics on the test split: data/report/metrics.json, data/metrics/test.json, the scores of each class."""

from typing import Annotated

from pydantic import Field

from schemas.shared.fields import Count, Fraction, PositiveCount, Schema
from schemas.shared.inputs import Fingerprint


class TestMetrics(Schema):
    """The metrics on the test split."""

    __test__ = False  # pytest takes every class named Test... for a test

    num_images: PositiveCount
    log_loss: float
    """Mean negative log-probability of the true class, in nats, whichever loss training minimized."""

    accuracy: Fraction
    balanced_accuracy: Fraction
    """Mean recall over the classes."""

    macro_f1: Fraction
    """Mean F1 over the classes."""

    matthews_correlation: Annotated[float, Field(ge=-1, le=1)]
    """Correlation of true and predicted classes, robust to class sizes: 0 for guessing, 1 for no mistakes."""

    roc_auc: Fraction
    """Probability that a class scores higher on its own image than on another; mean over classes.
    0.5 for guessing, and if all test images are of one class."""

    average_precision: Fraction
    """Area under the precision-recall curve; mean over classes."""

    top_k_accuracy: Fraction
    """Fraction of the images whose true class is among the evaluation.top_k most probable."""

    ece: Fraction
    """Expected calibration error over 15 bins of equally many images: the mean gap between confidence and
    accuracy."""

    coverage: Fraction
    """Fraction of the images predicted with enough confidence for evaluation.target_accuracy; 0 where the
    validation split is too small to promise it."""

    answered_accuracy: Fraction | None = None
    """Accuracy on those; None if there are none."""

    majority_accuracy: Fraction
    """Accuracy of always predicting the largest class of the test split."""

    accuracy_without_leaks: Fraction | None = None
    """Accuracy on the test images that share nothing with training or validation.
    Left out without leaks, and if there are no other test images."""

    knn_accuracy: Fraction | None = None
    """Accuracy of the nearest neighbours in the pretrained features. Left out without evaluation.baseline."""

    probe_accuracy: Fraction | None = None
    """Accuracy of a linear probe of the pretrained features. Left out without evaluation.baseline."""


class TestRecord(TestMetrics):
    """The metrics, and what they were measured on: data/report/metrics.json."""

    fingerprint: Fingerprint
    """Of the stage's inputs: parameters, code and data."""


class HeadlineMetrics(Schema):
    """What `dvc exp show` and `dvc metrics diff` compare: data/metrics/test.json. They have room for few."""

    accuracy: Fraction
    balanced_accuracy: Fraction
    macro_f1: Fraction
    log_loss: float
    ece: Fraction
    coverage: Fraction
    accuracy_without_leaks: Fraction | None = None
    """Left out where training knew none of the test images."""


class ClassScores(Schema):
    """Scores of one class."""

    label: str
    support: Count
    """Test images of this class."""

    precision: Fraction
    recall: Fraction
    recall_low: Fraction | None
    """Lower end of the 95 % confidence interval of the recall; None without test images."""

    recall_high: Fraction | None
    f1: Fraction
    average_precision: Fraction | None
    """Area under its precision-recall curve; None without test images."""
