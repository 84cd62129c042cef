"""How threads wait for each other."""

import os


def spin_briefly() -> None:
    """Have OpenMP's threads sleep after a short while of waiting; to be called before torch is imported.

    They spin for milliseconds otherwise. On a machine that does something else too each then stands in the
    other's way: with two cores and a load of nine, training ran 3 to 5 times as fast with this, and as fast
    as ever on a quiet one. It changes no result. Whoever sets OMP_WAIT_POLICY or GOMP_SPINCOUNT has the last
    word.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
