"""The cost of a run: seconds per stage, forward passes, peak memory."""

import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MIB = 1 << 20


class Clock:
    """Adds up the seconds that a run waits for each stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a stage: a context."""
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start

    def lap(self) -> dict[str, float]:
        """Return the seconds by stage since the last lap, and start another."""
        seconds = dict(self.seconds)
        self.seconds.clear()
        return seconds

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add seconds by stage that were measured elsewhere."""
        for stage, more in seconds.items():
            self.seconds[stage] += more


class MemoryMeter:
    """Measures peak memory from its construction on.

    Args:
        device: Device of the network.
    """

    def __init__(self, device: "torch.device") -> None:
        self._device = device
        if device.type == "cuda":
            import torch  # noqa: PLC0415  # seconds that runs without a network need not wait for

            torch.cuda.reset_peak_memory_stats(device)

    def peak_mib(self) -> float | None:
        """Return the peak in MiB: of the GPU, else of the process since its start; None if the system does not tell."""
        if self._device.type == "cuda":
            import torch  # noqa: PLC0415

            return round(torch.cuda.max_memory_allocated(self._device) / _MIB, 1)
        try:
            import resource  # noqa: PLC0415  # Windows has none
        except ImportError:
            return None
        unit = 1 if sys.platform == "darwin" else 1024
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MIB, 1)
