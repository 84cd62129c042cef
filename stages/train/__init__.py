"""train: from prepared images to a checkpoint and the history of its training."""
