"""predict: classify new images with nothing but a checkpoint."""
