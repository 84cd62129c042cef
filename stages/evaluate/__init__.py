"""evaluate: from a checkpoint and the test split to metrics, predictions and a report."""
