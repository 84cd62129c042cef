"""Reading params.yaml and saying what is wrong in it.

No stage depends on this code, though every stage runs it: it can refuse a file, and what it reads is what DVC
reads of the same file, so no edit here can change what a stage computes.
"""
