"""`python -m stages.doctor`: what stopped runs left behind, and how to be rid of it."""
