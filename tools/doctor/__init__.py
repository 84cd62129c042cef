"""`python -m tools.doctor`: what stands in the way of the next run, and how to fix it."""
