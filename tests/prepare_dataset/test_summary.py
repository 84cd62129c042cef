"""What is printed about the prepared images."""

import pytest

from schemas.prepare_dataset.prepare_metrics import PrepareMetrics
from stages.prepare_dataset.summary import print_summary


@pytest.mark.parametrize(("num_largest_unit", "is_told"), [(20, False), (21, True)])
def test_a_unit_that_unbalances_the_split_is_told(
    num_largest_unit: int, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """More than a tenth of all images in one unit is a line with what to do."""
    counts = dict.fromkeys(PrepareMetrics.model_fields, 0)
    metrics = PrepareMetrics.model_validate(
        {
            **counts,
            "num_classes": 2,
            "num_train": 140,
            "num_val": 20,
            "num_test": 40,
            "imbalance": 1.0,
            "fingerprint": "0" * 16,
        }
    )
    print_summary(metrics, name="raw", num_read=200, num_decoded=200, num_largest_unit=num_largest_unit)
    assert ("21 images belong together" in capsys.readouterr().out) is is_told
