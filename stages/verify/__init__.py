"""`python -m stages.verify`: whether results, dvc.lock and the working folder say the same."""
