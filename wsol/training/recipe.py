"""The recipe of a training: stages, schedule and hyperparameters."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from wsol.errors import InputError


@dataclass(frozen=True)
class Stage:
    """A number of epochs with the same images.

    Attributes:
        epochs: Passes over the training split.
        image_size: Side of the images in pixels; the feature maps of the network grow with it.
        batch_size: Images per step.
        dataset_args: Arguments of the data set for this stage, such as the settings of ``synthetic``.
    """

    epochs: int = 10
    image_size: int = 224
    batch_size: int = 32
    dataset_args: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("epochs", "image_size", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} is {value!r}; give an integer of 1 or more")

    def steps_per_epoch(self, images: int) -> int:
        """Return the number of steps of an epoch over this number of images."""
        return -(-images // self.batch_size)

    @property
    def work(self) -> int:
        """The cost of a step, in pixels."""
        return self.batch_size * self.image_size**2


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent on the cross-entropy, with a linear warm-up and a cosine decay to zero.

    The schedule covers all stages by their work in pixels, so that a last stage at full resolution still learns.

    Attributes:
        stages: The stages in order; several form a curriculum.
        learning_rate: Peak learning rate for batches of 32; that of a stage is proportional to its batch size, see
            ``peak_rate``.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of convolutions and linear layers; biases and normalization layers have none.
        warm_up: Share of the total work (pixels seen) in which the learning rate rises from zero.
        label_smoothing: Probability that is spread over all classes.
        seed: Seed of initialization, order and augmentation.
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
            raise InputError(f"seed is {self.seed}; give an integer from 0 to 2^31 - 1")
        for name, limit in ranges.items():
            if not 0 <= getattr(self, name) < limit:
                raise InputError(f"{name} is {getattr(self, name)!r}; give a number of at least 0 and below {limit:g}")

    def peak_rate(self, stage: Stage) -> float:
        """Return the peak learning rate of a stage: the recipe's, times the stage's batch size, divided by 32.

        Goyal et al., "Accurate, Large Minibatch SGD", 2017.
        """
        return self.learning_rate * stage.batch_size / 32

    def learning_rate_at(self, progress: float, stage: Stage) -> float:
        """Return the learning rate of a stage after a share ``progress`` in [0, 1) of the total work."""
        peak = self.peak_rate(stage)
        if progress < self.warm_up:
            return peak * progress / self.warm_up
        return peak * (1 + math.cos(math.pi * (progress - self.warm_up) / (1 - self.warm_up))) / 2

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values."""
        return asdict(self)


def read_stages(path: Path) -> tuple[Stage, ...]:
    """Read a curriculum from a TOML file with one ``[[stage]]`` table per stage; its keys are the fields of ``Stage``.

    Raises:
        InputError: The file is missing or invalid.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))["stage"]
        return tuple(_parse_stage(table) for table in tables)
    except InputError as error:
        raise InputError(f"{path} is not a list of stages: {error}") from error
    except FileNotFoundError as error:
        raise InputError(f"there is no stages file {path}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        keys = ", ".join(f.name for f in fields(Stage))
        raise InputError(f"{path} is not a list of stages ({error}); write [[stage]] tables with {keys}") from error


def _parse_stage(table: Mapping[str, Any]) -> Stage:
    arguments = {str(key): str(value) for key, value in table.get("dataset_args", {}).items()}
    return Stage(**{**table, "dataset_args": arguments})
