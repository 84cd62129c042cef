"""Alternating measurements: what runs beside each other in time is compared fairly on a noisy machine."""

import statistics
import time
from collections.abc import Callable, Mapping


def measure_alternately(
    contestants: Mapping[str, Callable[[], object]], *, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of every call, the contestants taking turns, after one unmeasured call each."""
    for call in contestants.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def print_table(seconds: Mapping[str, list[float]], *, base: str) -> None:
    """Print median, spread and the ratio to one contestant, taken round by round."""
    width = max(map(len, seconds))
    print(f"{'':{width}}  {'median':>9}  {'min .. max':>17}  ratio to {base} (min .. max)")
    for name, values in seconds.items():
        ratios = [value / other for value, other in zip(values, seconds[base], strict=True)]
        print(
            f"{name:{width}}  {statistics.median(values):7.3f} s  {min(values):6.3f} .. {max(values):6.3f} s"
            f"  {statistics.median(ratios):.2f} ({min(ratios):.2f} .. {max(ratios):.2f})"
        )
