"""What a training does, in numbers."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from wsol.errors import InputError


@dataclass(frozen=True)
class Stage:
    """A stretch of epochs with the same images.

    Attributes:
        epochs: Passes over the training split.
        image_size: Side of the images in pixels; the network's maps grow with it.
        batch_size: Images in a step.
        dataset_args: Arguments of the data set that hold for this stage, such as knobs of ``synthetic``.
    """

    epochs: int = 10
    image_size: int = 224
    batch_size: int = 32
    dataset_args: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("epochs", "image_size", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} is {value!r}; give a whole number from 1")

    def steps(self, images: int) -> int:
        """Return the steps of one epoch."""
        return -(-images // self.batch_size)

    @property
    def work(self) -> int:
        """What a step costs, in pixels."""
        return self.batch_size * self.image_size**2


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent on the cross entropy, with a warm-up and a cosine down to zero.

    Both go over all stages by the work done, so that a last stage at full resolution still learns.

    Attributes:
        stages: One after the other; more than one make a curriculum.
        learning_rate: Its peak, for batches of 32; a stage's is in proportion to its batch size (Goyal et al.,
            "Accurate, Large Minibatch SGD", 2017).
        momentum: Of the gradient.
        weight_decay: On the weights of convolutions and linear layers; not on biases and normalisation.
        warm_up: Share of all work (pixels seen) in which the rate rises from zero.
        label_smoothing: Probability that is spread over all classes.
        seed: Of initialisation, order and augmentation.
    """

    stages: tuple[Stage, ...] = (Stage(),)
    learning_rate: float = 0.015
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warm_up: float = 0.05
    label_smoothing: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError("a recipe needs at least one stage")
        ranges = {"learning_rate": 1e30, "momentum": 1, "weight_decay": 1e30, "warm_up": 1, "label_smoothing": 1}
        if not 0 <= self.seed < 2**31:
            raise InputError(f"seed is {self.seed}; give a whole number from 0, below 2^31")
        for name, limit in ranges.items():
            if not 0 <= getattr(self, name) < limit:
                raise InputError(f"{name} is {getattr(self, name)!r}; give a number from 0, below {limit:g}")

    def learning_rate_at(self, progress: float, stage: Stage) -> float:
        """Return the learning rate after a share ``progress`` in [0, 1) of all work."""
        peak = self.learning_rate * stage.batch_size / 32
        if progress < self.warm_up:
            return peak * progress / self.warm_up
        return peak * (1 + math.cos(math.pi * (progress - self.warm_up) / (1 - self.warm_up))) / 2

    def describe(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def read_stages(path: Path) -> tuple[Stage, ...]:
    """Read a curriculum: a TOML file with one ``[[stage]]`` table a stage, whose keys are those of ``Stage``.

    Raises:
        InputError: It is no such file.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))["stage"]
        return tuple(_stage(table) for table in tables)
    except InputError as error:
        raise InputError(f"{path} is no list of stages: {error}") from error
    except FileNotFoundError as error:
        raise InputError(f"there is no stages file {path}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        known = ", ".join(f.name for f in fields(Stage))
        raise InputError(f"{path} is no list of stages ({error}); write [[stage]] tables with {known}") from error


def _stage(table: Mapping[str, Any]) -> Stage:
    knobs = {str(key): str(value) for key, value in table.get("dataset_args", {}).items()}
    return Stage(**{**table, "dataset_args": knobs})
