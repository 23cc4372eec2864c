"""Progress of a loop: a bar on a terminal; elsewhere, as in the log of a cluster, a line about every 30 seconds."""

import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

INTERVAL = 30.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """Says on stderr where a loop is.

    A context. Lines are written by a thread of their own, so that they also appear while a single step takes minutes.

    Args:
        title: What the loop is about.
        total: Number of items.
        unit: What an item is, in the singular.
        done: Number of items that are done already.
        leave: Whether the bar stays when the loop is finished.
        shown: Whether anything is shown.
    """

    def __init__(
        self, title: str, total: int, *, unit: str = "image", done: int = 0, leave: bool = False, shown: bool = True
    ) -> None:
        is_terminal = sys.stderr.isatty()
        self._title, self._total, self._unit, self._done = title, total, unit, done
        self._bar = tqdm(
            desc=title, total=total, unit=unit, initial=done, leave=leave, disable=not (shown and is_terminal)
        )
        self._thread = None if is_terminal or not shown else threading.Thread(target=self._write_lines, daemon=True)
        self._finished = threading.Event()
        self._lines = 0
        self._first = done
        self._start = self._updated = time.monotonic()

    def update(self, count: int = 1) -> None:
        """Count more items as done."""
        self._done += count
        self._updated = time.monotonic()
        self._bar.update(count)

    def __enter__(self) -> "Progress":
        if self._thread:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._finished.set()
        if self._thread:
            self._thread.join()
            if self._lines and kind is None:  # who reads the log sees that this loop has ended
                self._write_line()

    def _write_lines(self) -> None:
        while not self._finished.wait(INTERVAL):
            self._write_line()

    def _write_line(self) -> None:
        self._lines += 1
        now, updated, done = time.monotonic(), self._updated, self._done
        count, seconds = done - self._first, now - self._start
        if not count:
            speed = f"after {tqdm.format_interval(seconds)}"
        elif done < self._total:  # items come in batches, and the next one is under way
            rate = count / (updated - self._start or seconds)
            left = max(0, (self._total - done) / rate - (now - updated))
            speed = f"{_format_rate(rate)} {self._unit}s/s, {tqdm.format_interval(left)} left"
        else:
            speed = f"{_format_rate(count / seconds)} {self._unit}s/s, took {tqdm.format_interval(seconds)}"
        print(f"wsol: {self._title}: {done} of {self._total} {self._unit}s, {speed}", file=sys.stderr, flush=True)


def track(
    items: Iterable[T], title: str, total: int | None = None, *, unit: str = "image", leave: bool = False
) -> Iterator[T]:
    """Yield items, and say how many of them were used.

    Args:
        items: The items.
        title: As for ``Progress``.
        total: Their number; None for the length of ``items``.
        unit: As for ``Progress``.
        leave: As for ``Progress``.
    """
    if total is None:
        assert isinstance(items, Collection)
        total = len(items)
    with Progress(title, total, unit=unit, leave=leave) as progress:
        for item in items:
            yield item
            progress.update()


def _format_rate(rate: float) -> str:
    return f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"
