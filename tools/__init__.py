"""What people run beside the pipeline."""

import stages  # noqa: F401 # refuses to run on Windows
