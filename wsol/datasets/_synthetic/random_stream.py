"""Random numbers that are independent of library versions: hashes of a name and a counter."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class HashRandom:
    """A stream of random numbers that is a function of its name alone.

    With one stream per purpose, a setting does not change the random numbers of another: images of two settings stay
    paired.

    Args:
        name: Name of the stream.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def random_bits(self) -> int:
        """Return 63 random bits."""
        self._count += 1
        digest = hashlib.blake2b(f"{self._name}#{self._count}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high), by operations whose rounding IEEE 754 defines."""
        return low + (high - low) * ((self.random_bits() >> 10) / (1 << 53))

    def randrange(self, n: int) -> int:
        """Return an integer from 0 to ``n - 1``."""
        return (self.random_bits() * n) >> 63

    def permutation(self, items: Sequence[T]) -> list[T]:
        """Return the items in random order (Fisher and Yates)."""
        order = list(items)
        for i in range(len(order) - 1, 0, -1):
            j = self.randrange(i + 1)
            order[i], order[j] = order[j], order[i]
        return order
