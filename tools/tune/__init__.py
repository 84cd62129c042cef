"""Searching settings: Optuna proposes, DVC runs each trial as an experiment, fresh seeds confirm the best."""
