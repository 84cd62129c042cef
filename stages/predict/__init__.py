"""predict: answer for any image, with nothing but a checkpoint."""
