"""Where the seconds go."""

import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

import torch

from wsol.models import Classifier


class Clock:
    """Adds up the seconds that a run waits for each station."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, station: str) -> Iterator[None]:
        """Times what is done in its context."""
        start = time.perf_counter()
        yield
        self.seconds[station] += time.perf_counter() - start

    def lap(self) -> dict[str, float]:
        """Return the seconds by station since the last lap, and begins another."""
        taken = dict(self.seconds)
        self.seconds.clear()
        return taken

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add seconds by station that were measured elsewhere."""
        for station, more in seconds.items():
            self.seconds[station] += more


_MIB = 1 << 20


class Meter:
    """Measures a run from here on.

    Args:
        network: What it runs.
    """

    def __init__(self, network: Classifier) -> None:
        self._device = next(network.parameters()).device
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def cost(self, clock: Clock, passes: int, n: int) -> dict[str, float | None]:
        """Return the cost so far.

        Args:
            clock: Has the seconds of the stations, those of several processes added up.
            passes: Images that went through the network.
            n: Images that were evaluated.

        Returns:
            ``ms_per_image``: wall time of a process from file to IoU curve. ``forwards_per_image``: how often an image,
            changed or not, or a crop of it went through the network, at least up to the target layer.
            ``peak_memory_mib``: of the GPU; without one of the whole process, since it began; None where the system
            does not say. Of several processes, the first.
        """
        return {
            "ms_per_image": round(1000 * sum(clock.seconds.values()) / n, 3),
            "forwards_per_image": round(passes / n, 3),
            "peak_memory_mib": self._peak(),
        }

    def _peak(self) -> float | None:
        if self._device.type == "cuda":
            return round(torch.cuda.max_memory_allocated(self._device) / _MIB, 1)
        try:
            import resource  # noqa: PLC0415  # Windows has none
        except ImportError:
            return None
        unit = 1 if sys.platform == "darwin" else 1024
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MIB, 1)
