"""The export stage: files that run without PyTorch, each proven to predict as the checkpoint does."""
