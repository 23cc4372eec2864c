"""Where the seconds go."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping


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
        """Returns the seconds by station since the last lap, and begins another."""
        taken = dict(self.seconds)
        self.seconds.clear()
        return taken

    def add(self, seconds: Mapping[str, float]) -> None:
        """Adds seconds by station that were measured elsewhere."""
        for station, more in seconds.items():
            self.seconds[station] += more
