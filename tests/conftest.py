"""What all tests share."""

import os

# Two test processes on two cores: a thread that waits for another must sleep, or each stops the other.
# Set before torch is imported anywhere, and inherited by every process that a test starts.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
