"""The recipe of a training: stages, schedule and hyperparameters."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from wsol.errors import InputError
from wsol.registry import format_settings
from wsol.training.augment import find_augmentation
from wsol.training.schedules import find_schedule

HeadGradient = Literal["limited", "plain"]
HeadStart = Literal["zero", "normal"]


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
    """Stochastic gradient descent on the cross-entropy, with a linear warm-up and a schedule.

    Warm-up and cosine cover all stages by their work in pixels, so that a last stage at full resolution still learns.

    Attributes:
        stages: The stages in order; several form a curriculum.
        learning_rate: Peak learning rate for batches of 32; that of a stage is proportional to its batch size, see
            ``peak_rate``.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of convolutions and linear layers; biases and normalization layers have none unless
            ``decay_all``.
        warm_up: Share of the total work (pixels seen) in which the learning rate rises from zero, with every schedule.
        label_smoothing: Probability that is spread over all classes.
        seed: Seed of initialization, order and augmentation.
        schedule: ``cosine``, from the peak to zero, or ``step:every=15,factor=0.1,offset=0``.
        nesterov: Whether the momentum is Nesterov's.
        layer_rates: Multiples of the learning rate, by the dotted name of a layer of the network; they apply to all
            parameters of the layer. Where two names fit a parameter, the longer one counts.
        decay_all: Whether biases and normalization layers have weight decay too.
        augmentation: ``shift-flip-color`` or ``resize-crop-flip:resize=256``.
        head_gradient: ``limited`` to shorten the gradient of the last linear layer where its inputs are large, see
            ``Trainer``; ``plain`` to use it as it is.
        head_start: Start of the tensors of the last linear layer that the initial weights lack: ``zero``, or ``normal``
            for weights with a standard deviation of 0.01 and no bias. A training from random weights ignores it.
    """

    stages: tuple[Stage, ...] = (Stage(),)
    learning_rate: float = 0.015
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warm_up: float = 0.05
    label_smoothing: float = 0.0
    seed: int = 0
    schedule: str = "cosine"
    nesterov: bool = False
    layer_rates: Mapping[str, float] = field(default_factory=dict)
    decay_all: bool = False
    augmentation: str = "shift-flip-color"
    head_gradient: HeadGradient = "limited"
    head_start: HeadStart = "zero"

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError("a recipe needs at least one stage")
        ranges = {"learning_rate": 1e30, "momentum": 1, "weight_decay": 1e30, "warm_up": 1, "label_smoothing": 1}
        if not 0 <= self.seed < 2**31:
            raise InputError(f"seed is {self.seed}; give an integer from 0 to 2^31 - 1")
        for name, limit in ranges.items():
            if not 0 <= getattr(self, name) < limit:
                raise InputError(f"{name} is {getattr(self, name)!r}; give a number of at least 0 and below {limit:g}")
        self._check_options()
        for name in ranges:  # 1 and 1.0, and layers in any order, are one recipe with one hash
            object.__setattr__(self, name, float(getattr(self, name)))
        rates = {name: float(rate) for name, rate in sorted(self.layer_rates.items())}
        object.__setattr__(self, "layer_rates", rates)

    def _check_options(self) -> None:
        find_schedule(self.schedule)
        augmentation = find_augmentation(self.augmentation)
        for stage in self.stages:
            augmentation.check_side(stage.image_size)
        if self.nesterov and self.momentum == 0:
            raise InputError("Nesterov momentum needs a momentum; give --momentum 0.9, or leave out --nesterov")
        for name, rate in self.layer_rates.items():
            if not isinstance(rate, int | float) or not 0 <= rate < 1e30:
                raise InputError(
                    f"the multiple of the learning rate of {name} is {rate!r}; give a number of at least 0"
                )
        for option, choices in (("head_gradient", HeadGradient), ("head_start", HeadStart)):
            if getattr(self, option) not in get_args(choices):
                known = " or ".join(get_args(choices))
                raise InputError(f"{option} is {getattr(self, option)!r:.80}; give {known}")

    def peak_rate(self, stage: Stage) -> float:
        """Return the peak learning rate of a stage: the recipe's, times the stage's batch size, divided by 32.

        Goyal et al., "Accurate, Large Minibatch SGD", 2017.
        """
        return self.learning_rate * stage.batch_size / 32

    def learning_rate_at(self, progress: float, stage: Stage, epoch: int) -> float:
        """Return the learning rate of a stage.

        Args:
            progress: Share in [0, 1) of the total work that is done.
            stage: The stage.
            epoch: Number of the epoch over all stages, from 0.
        """
        multiple = find_schedule(self.schedule).multiple_at(progress, self.warm_up, epoch)
        rate = self.peak_rate(stage) * multiple
        return rate * progress / self.warm_up if progress < self.warm_up else rate

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values; those of ``LATER_DEFAULTS`` only where they differ.

        The files of a training without the later options are those of earlier versions, byte for byte.
        """
        values = asdict(self)
        values["schedule"] = format_settings(self.schedule.partition(":")[0], find_schedule(self.schedule))
        name = self.augmentation.partition(":")[0]
        values["augmentation"] = format_settings(name, find_augmentation(self.augmentation))
        return {key: value for key, value in values.items() if LATER_DEFAULTS.get(key, _ALWAYS) != value}


_ALWAYS = object()
_FIRST = ("stages", "learning_rate", "momentum", "weight_decay", "warm_up", "label_smoothing", "seed")

LATER_DEFAULTS: dict[str, Any] = {key: value for key, value in asdict(Recipe()).items() if key not in _FIRST}
"""Defaults of the options that states and weights files of earlier versions lack."""


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
