"""The stages of the pipeline, and the commands around it."""
