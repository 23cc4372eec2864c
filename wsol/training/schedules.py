"""Learning rate schedules: ``cosine`` and ``step``."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from wsol.errors import InputError
from wsol.registry import with_settings


class Schedule(ABC):
    """The course of the learning rate after the warm-up; the fields of a schedule are its settings."""

    @abstractmethod
    def multiple_at(self, progress: float, warm_up: float, epoch: int) -> float:
        """Return the multiple of the peak learning rate.

        Args:
            progress: Share in [0, 1) of the total work that is done.
            warm_up: Share of the total work in which the rate rises from zero; the caller multiplies by this rise.
            epoch: Number of the epoch over all stages, from 0.
        """


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine wave, from one at the end of the warm-up to zero.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation 5, without
    restarts.
    """

    def multiple_at(self, progress: float, warm_up: float, epoch: int) -> float:
        """Return the height of the wave."""
        return (1 + math.cos(math.pi * max(0.0, progress - warm_up) / (1 - warm_up))) / 2


@dataclass(frozen=True)
class Step(Schedule):
    """A constant rate that is multiplied by a factor after every so many epochs.

    Attributes:
        every: Number of epochs between two steps.
        factor: Multiplies the rate at each step.
        offset: Number of epochs by which all steps come earlier. 1 is the code of Choe et al., CVPR 2020, which counts
            epochs from one: with ``every=15`` the first 14 have the full rate.
    """

    every: int = 15
    factor: float = 0.1
    offset: int = 0

    def __post_init__(self) -> None:
        if self.every < 1 or not 0 <= self.offset < self.every:
            raise ValueError(
                f"every is {self.every} and offset {self.offset}; give 1 epoch or more, and an offset of 0 or more "
                "below it"
            )
        if not 0 < self.factor <= 1:
            raise ValueError(f"factor is {self.factor}; give a number above 0 and up to 1")

    def multiple_at(self, progress: float, warm_up: float, epoch: int) -> float:
        """Return the product of the factors of all steps up to an epoch."""
        return float(self.factor ** ((epoch + self.offset) // self.every))


_SCHEDULES: dict[str, Schedule] = {"cosine": Cosine(), "step": Step()}


def find_schedule(text: str) -> Schedule:
    """Return the schedule of ``NAME:KEY=VALUE,...``.

    Raises:
        InputError: The name or a setting is unknown or invalid.
    """
    name, _, settings = text.partition(":")
    if name not in _SCHEDULES:
        raise InputError(f"unknown schedule {name!r:.80}; known: {', '.join(_SCHEDULES)}")
    return with_settings(f"schedule {name}", _SCHEDULES[name], settings)
