"""Everything that evaluate does after the forward passes, part by part, on generated logits.

    python -m benchmarks.after_forward [--images 100000] [--classes 100]

Prints the seconds of each part, the sum, and the most memory the process ever held.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from schemas.evaluate.evaluation import SliceName
from schemas.shared.image import ImageForm
from schemas.shared.index import IndexRow
from schemas.shared.manifest import FileRecord, Manifest, SplitCounts
from schemas.vision.calibration import Calibration, Threshold
from schemas.vision.checkpoint import Checkpoint
from schemas.vision.history import EpochRecord, History, Scores
from schemas.vision.network import ChosenNetwork, Cnn
from schemas.vision.runtime import Numerics
from schemas.vision.transforms import ToTensor
