"""Random numbers that no library version changes: a hash of a name and a counter."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class HashRandom:
    """A stream of random numbers, a function of its name alone.

    Streams by purpose keep one knob from moving what another one draws: images of two settings stay paired.

    Args:
        name: Of the stream.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._drawn = 0

    def bits(self) -> int:
        """Return 63 random bits."""
        self._drawn += 1
        digest = hashlib.blake2b(f"{self._name}#{self._drawn}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high), by operations that IEEE 754 rounds in one way only."""
        return low + (high - low) * ((self.bits() >> 10) / (1 << 53))

    def below(self, n: int) -> int:
        """Return a whole number from 0 to ``n - 1``."""
        return (self.bits() * n) >> 63

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in random order (Fisher and Yates)."""
        order = list(items)
        for i in range(len(order) - 1, 0, -1):
            j = self.below(i + 1)
            order[i], order[j] = order[j], order[i]
        return order
