"""What a training is asked to do, checked before anything is begun."""

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from wsol.datasets import Dataset, Split, load_dataset
from wsol.errors import InputError
from wsol.models import GapClassifier, InitReport, WeightsMetadata, find_architecture, find_gap, load_matching
from wsol.runtime.device import find_device
from wsol.runtime.distributed import ProcessGroup
from wsol.training.recipe import Recipe, Stage


@dataclass(frozen=True)
class TrainConfig:
    """What ``wsol.training.train`` takes, under the same names."""

    model: str
    dataset: str
    recipe: Recipe
    weights: str | Path | None
    freeze: Literal["features"] | None
    map_size: int | None
    data_root: str | Path | None
    dataset_args: Mapping[str, str]
    validation: bool
    device: str


class Job:
    """The network, the images and the device of a training.

    Args:
        wish: What is asked for.
        group: The processes that do it together.

    Attributes:
        device: Where the network runs.
        network: To be trained, there.
        preprocessing: What it expects of images.
        frozen: The same network, split before its linear layer, if that is trained alone.
        request: What is asked for, as plain values; a training that goes on has to be asked for the same.

    Raises:
        InputError: Something handed in cannot be used.
    """

    def __init__(self, wish: TrainConfig, group: ProcessGroup) -> None:
        self._wish, self._splits = wish, dict[tuple[int, str], Dataset]()
        recipe = wish.recipe
        self.device = find_device(wish.device)
        if wish.freeze and (wish.weights is None or len(recipe.stages) > 1):
            raise InputError("frozen features are computed once: give --weights to take them from, and a single stage")
        train = self.load(recipe.stages[0], "train")
        self._architecture = find_architecture(wish.model)
        torch.manual_seed(recipe.seed)
        self.network = self._architecture.build_for_training(
            len(train.classes), wish.map_size, from_scratch=wish.weights is None
        )
        start = None if wish.weights is None else load_matching(self.network, wish.model, wish.weights)
        self.preprocessing = start.preprocessing if start else self._architecture.preprocessing()
        for stage in recipe.stages:
            _check_size(self.network, wish.model, stage.image_size, len(train.classes))
            if wish.validation:
                self.load(stage, "val")  # whose absence should not be found out after the first epoch
        self.network.to(self.device).to(memory_format=torch.channels_last)
        self.frozen = _frozen(self.network, wish.model, start) if wish.freeze and start else None
        self.request: dict[str, Any] = {
            "model": wish.model,
            "map_size": wish.map_size,
            "weights": start.sha256 if start else None,
            "freeze": wish.freeze,
            "dataset": f"{wish.dataset}#{train.fingerprint[:8]}",
            "dataset_args": dict(wish.dataset_args),
            **recipe.describe(),
            **({"processes": group.size} if group.size > 1 else {}),
        }

    def load(self, stage: Stage, split: Split) -> Dataset:
        """Return a split as a stage has it."""
        wish = self._wish
        key = (wish.recipe.stages.index(stage), split)
        if key not in self._splits:
            arguments = {**wish.dataset_args, **stage.dataset_args}
            self._splits[key] = load_dataset(wish.dataset, wish.data_root, split, arguments)
        return self._splits[key]

    def export_state(self, half: bool, scores: Mapping[str, float]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """Return the weights to be stored and what is said beside them.

        Args:
            half: Whether they are in half precision.
            scores: Of the last epoch.
        """
        wish = self._wish
        tensors = self._architecture.export_state(self.network.eval())
        if half:
            tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
        classes = self.load(wish.recipe.stages[0], "train").classes
        return tensors, WeightsMetadata(
            wish.model, classes, self.preprocessing, wish.map_size, self.request, scores
        ).to_metadata()


def _check_size(network: nn.Module, model: str, side: int, classes: int) -> None:
    """Run the network once, so that what does not fit is known before the training begins."""
    training = network.training
    try:
        with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):  # where fx explains itself
            shape = tuple(network.eval()(torch.zeros(1, 3, side, side)).shape)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{model} cannot take images of {side} x {side} ({str(error).splitlines()[0]})") from error
    finally:
        network.train(training)
    if shape != (1, classes):
        raise InputError(f"{model} gives {' x '.join(map(str, shape))} for an image, not scores of {classes} classes")


def _frozen(network: nn.Module, model: str, start: InitReport) -> tuple[GapClassifier, nn.Linear]:
    """Return the features and the linear layer, which alone learns."""
    classifier = find_gap(network.eval(), model)
    if classifier.linear is None:
        raise InputError(f"{model} has no linear layer that could be trained alone; leave out --freeze")
    trained = {parameter.data_ptr() for parameter in classifier.linear.parameters()}
    state = network.state_dict()
    random = [key for key in start.missing if state[key].data_ptr() not in trained]
    if random:
        raise InputError(
            f"{model}: the weights lack {len(random)} tensors of the features, the first {random[0]}, which would stay "
            "random; train everything, or give weights that have them"
        )
    classifier.requires_grad_(False)
    return classifier, classifier.linear.requires_grad_(True)
