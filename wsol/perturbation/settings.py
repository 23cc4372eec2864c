"""The settings of a measurement of faithfulness."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from wsol.errors import InputError

Target = Literal["predicted", "truth"]
TARGETS: tuple[Target, ...] = ("predicted", "truth")

PARTS = ("deletion", "insertion", "drop", "road")
"""The parts of a measurement; ``drop`` gives average drop and increase."""

PERCENTILES = tuple(range(10, 100, 10))
"""ROAD keeps the pixels below these percentiles of the map, or of its negative."""

NOISE = 0.01
"""Standard deviation of ROAD's noise, for pixels in [0, 1]."""

OPTIONS = (
    *("model", "weights", "dataset", "data_root", "dataset_args", "split", "assume_class_order", "classes"),
    *("rank_among", "method", "layer", "output", "map_size", "limit", "bootstrap", "device", "batch_size", "workers"),
    *("memory", "skip_bad_images", "class_names", "templates"),
)
"""Options of ``wsol.evaluate`` that a measurement takes from the command line."""


@dataclass(frozen=True)
class Settings:
    """Settings of a measurement.

    Attributes:
        parts: Some of ``PARTS``; the others are left out, which changes no number.
        target: The class whose map and probability are measured: ``predicted``, or of the ground ``truth``.
        steps: Number of steps of deletion and insertion; RISE has 224, of 224 pixels each.
        seed: Seed of ROAD's noise.
    """

    parts: Collection[str] = PARTS
    target: Target = "predicted"
    steps: int = 224
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.parts or not {*self.parts} <= {*PARTS}:
            raise InputError(f"the parts are {', '.join(self.parts) or 'none'}; give some of {', '.join(PARTS)}")
        if self.target not in TARGETS:
            raise InputError(f"the class is {self.target!r:.80}; give {' or '.join(TARGETS)}")
        if not 1 <= self.steps <= 100_000 or not 0 <= self.seed < 2**32:
            raise InputError(
                f"steps is {self.steps} and seed {self.seed}; give from 1 to 100000, and from 0 to 2^32 - 1"
            )

    @property
    def signature(self) -> str:
        """Everything that decides a number, as a field of a signature."""
        return f"faithfulness:class={self.target},steps={self.steps},seed={self.seed}"
