"""What is printed about the prepared images."""

import pytest

from schemas.prepare_dataset.prepare_metrics import PrepareMetrics
from stages.prepare_dataset.counts import print_summary


@pytest.mark.parametrize(("num_in_largest_group", "is_told"), [(20, False), (21, True)])
def test_a_group_that_unbalances_the_split_is_told(
    num_in_largest_group: int, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """More than a tenth of all images in one group is a line with what to do."""
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
    print_summary(metrics, num_in_largest_group=num_in_largest_group)
    assert ("21 images belong together" in capsys.readouterr().out) is is_told
