"""Ranges of settings, and the draws of a trial from them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsol.errors import InputError

KINDS = ("uniform", "log-uniform", "integer", "choice")
_DIGITS = 4  # significant, so that a setting can be read and typed
_BITS = 53  # of a float's mantissa


@dataclass(frozen=True)
class Range:
    """The values that a setting is drawn from.

    Attributes:
        kind: ``uniform`` and ``log-uniform`` draw numbers from an interval, of four significant digits; ``integer``
            draws whole numbers, both ends included; ``choice`` draws one of several values.
        values: Lower and upper end, or the values to choose from.
    """

    kind: str
    values: tuple[Any, ...]

    def draw(self, seed: int, trial: int, name: str) -> Any:
        """Draw the value of a setting in a trial, from these arguments alone.

        Args:
            seed: Seed of the search.
            trial: Number of the trial.
            name: Name of the setting.
        """
        # NumPy guarantees the stream of a bit generator, but not what its distributions make of it.
        bits = np.random.PCG64(np.random.SeedSequence([seed, trial, *name.encode()])).random_raw()
        share = (int(bits) >> (64 - _BITS)) / 2**_BITS  # in [0, 1)
        if self.kind == "choice":
            return self.values[int(share * len(self.values))]
        low, high = self.values
        if self.kind == "integer":
            return low + int(share * (high - low + 1))
        if self.kind == "uniform":
            value = low + share * (high - low)
        else:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        return float(min(max(float(f"{value:.{_DIGITS}g}"), low), high))  # rounding may have left the interval

    def __str__(self) -> str:
        return f"{self.kind} {list(self.values)}"


def parse_range(table: Mapping[str, Any], name: str) -> Range:
    """Parse a range: ``{ log-uniform = [1e-5, 1] }``.

    Args:
        table: A table with the kind as its only key.
        name: Name of the setting, for messages.

    Raises:
        InputError: It is no range, or an interval is empty.
    """
    if len(table) != 1 or (kind := next(iter(table))) not in KINDS:
        raise InputError(f"{name} has the keys {', '.join(table) or 'none'}; give one of {', '.join(KINDS)}")
    values = table[kind]
    if not isinstance(values, list) or any(isinstance(value, list | dict) for value in values) or not values:
        raise InputError(f"{name}: {kind} is {values!r:.80}; give a list of values")
    if kind == "choice":
        return Range(kind, tuple(values))
    types = (int,) if kind == "integer" else (int, float)
    if len(values) != 2 or not all(type(value) in types and math.isfinite(value) for value in values):
        numbers = "integers" if kind == "integer" else "numbers"
        raise InputError(f"{name}: {kind} is {values!r:.80}; give two {numbers}, the lower and the upper end")
    low, high = values
    if low >= high:
        raise InputError(f"{name}: {kind} goes from {low} to {high}; give the lower end first")
    if kind == "log-uniform" and low <= 0:
        raise InputError(f"{name}: log-uniform begins at {low}; give a lower end above 0")
    return Range(kind, (low, high))
