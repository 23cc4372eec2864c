"""The options of a training, and the check of these options before anything is written."""

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models import (
    GapClassifier,
    InitReport,
    Preprocessing,
    WeightsMetadata,
    find_architecture,
    find_gap,
    load_matching,
)
from wsol.models.base import Architecture
from wsol.runtime.device import find_device
from wsol.runtime.distributed import ProcessGroup
from wsol.training.data import StageDatasets
from wsol.training.recipe import Recipe


@dataclass(frozen=True)
class TrainConfig:
    """The options of ``wsol.train`` that decide the weights, under the same names."""

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


@dataclass(frozen=True)
class TrainPlan:
    """A training that is ready to start.

    Attributes:
        config: The options.
        architecture: The architecture of the network.
        network: The network, on the device.
        preprocessing: The preprocessing that the network expects.
        datasets: The images of every stage.
        device: The device.
        frozen: The network split into frozen features and linear layer, if only the linear layer is trained.
        request: The options as plain values; a training is only resumed with equal ones.
    """

    config: TrainConfig
    architecture: Architecture
    network: nn.Module
    preprocessing: Preprocessing
    datasets: StageDatasets
    device: torch.device
    frozen: tuple[GapClassifier, nn.Linear] | None
    request: dict[str, Any]

    def export_state(self, half: bool, scores: Mapping[str, float]) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return the weights and the metadata of the weights file.

        Args:
            half: Whether to convert the weights to half precision.
            scores: Scores of the last epoch, for the metadata.
        """
        config = self.config
        tensors = self.architecture.export_state(self.network.eval())
        if half:
            tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
        classes = self.datasets.load(config.recipe.stages[0], "train").classes
        metadata = WeightsMetadata(config.model, classes, self.preprocessing, config.map_size, self.request, scores)
        return tensors, metadata.to_metadata()


def prepare_training(config: TrainConfig, group: ProcessGroup) -> TrainPlan:
    """Check the options of a training, build its network and load its data sets.

    Args:
        config: The options.
        group: The processes that train together.

    Raises:
        InputError: An option is invalid.
    """
    recipe = config.recipe
    device = find_device(config.device)
    if config.freeze and (config.weights is None or len(recipe.stages) > 1):
        raise InputError("frozen features are computed once: give --weights to take them from, and a single stage")
    datasets = StageDatasets(config.dataset, config.data_root, config.dataset_args, recipe.stages)
    train = datasets.load(recipe.stages[0], "train")
    architecture = find_architecture(config.model)
    torch.manual_seed(recipe.seed)
    network = architecture.build_for_training(len(train.classes), config.map_size, from_scratch=config.weights is None)
    start = None if config.weights is None else load_matching(network, config.model, config.weights)
    for stage in recipe.stages:
        _check_size(network, config.model, stage.image_size, len(train.classes))
        if config.validation:
            datasets.load(stage, "val")  # a missing split is reported before the first epoch, not after it
    network.to(device).to(memory_format=torch.channels_last)
    return TrainPlan(
        config=config,
        architecture=architecture,
        network=network,
        preprocessing=start.preprocessing if start else architecture.preprocessing(),
        datasets=datasets,
        device=device,
        frozen=_freeze_features(network, config.model, start) if config.freeze and start else None,
        request={
            "model": config.model,
            "map_size": config.map_size,
            "weights": start.sha256 if start else None,
            "freeze": config.freeze,
            "dataset": f"{config.dataset}#{train.fingerprint[:8]}",
            "dataset_args": dict(config.dataset_args),
            **recipe.to_dict(),
            **({"processes": group.size} if group.size > 1 else {}),
        },
    )


def _check_size(network: nn.Module, model: str, side: int, classes: int) -> None:
    """Run the network once, so that an unsuitable image size is reported before the training begins."""
    training = network.training
    try:
        with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):  # fx prints the traced code on an error
            shape = tuple(network.eval()(torch.zeros(1, 3, side, side)).shape)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{model} cannot take images of {side} x {side} ({str(error).splitlines()[0]})") from error
    finally:
        network.train(training)
    if shape != (1, classes):
        raise InputError(
            f"the output of {model} for one image has the shape {' x '.join(map(str, shape))}, "
            f"not 1 x {classes} (class scores)"
        )


def _freeze_features(network: nn.Module, model: str, start: InitReport) -> tuple[GapClassifier, nn.Linear]:
    """Freeze all parameters but those of the linear layer; return the classifier and its linear layer."""
    classifier = find_gap(network.eval(), model)
    if classifier.linear is None:
        raise InputError(f"{model} has no linear layer that could be trained alone; leave out --freeze")
    trained = {parameter.data_ptr() for parameter in classifier.linear.parameters()}
    state = network.state_dict()
    random = [key for key in start.missing if state[key].data_ptr() not in trained]
    if random:
        raise InputError(
            f"{model}: the weights lack {len(random)} tensors of the features, the first is {random[0]}, which would "
            "stay random; train all layers, or give weights that include them"
        )
    classifier.requires_grad_(False)
    return classifier, classifier.linear.requires_grad_(True)
