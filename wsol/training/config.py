"""The options of a training, and the check of these options before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from wsol.datasets import Dataset, Split
from wsol.errors import InputError
from wsol.io.display import list_first, quote
from wsol.models import Preprocessing, WeightsMetadata, complete_name, find_architecture, load_matching
from wsol.models._headed import HeadedArchitecture
from wsol.models.base import Architecture
from wsol.models.checkpoint import network_sha256
from wsol.runtime.device import find_device
from wsol.runtime.distributed import ProcessGroup
from wsol.runtime.precision import Precision, check_precision, has_bf16
from wsol.training.methods import TrainMethod
from wsol.training.network import (
    FrozenFeatures,
    check_image_size,
    check_step,
    find_head,
    freeze_features,
    start_missing,
)
from wsol.training.optimizer import check_layer_rates
from wsol.training.recipe import Recipe
from wsol.training.stage_datasets import StageDatasets

PLAIN = "cam"
"""Name of the training method that trains on whole images."""


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
    precision: Precision | Literal["auto"]
    train_method: TrainMethod


@dataclass(frozen=True)
class TrainPlan:
    """A training that is ready to start.

    Attributes:
        config: The options.
        architecture: The architecture of the network.
        network: The network, on the device.
        preprocessing: The preprocessing that the network expects, with the image size of the last stage.
        datasets: The images of every stage.
        device: The device.
        precision: The precision, ``auto`` resolved.
        head: The last linear layer, which outputs the class scores, if the network has one.
        frozen: The frozen features and the linear layer, if only the latter is trained.
        request: The options as plain values; a training is only resumed with equal ones.
        notes: Remarks on the weights that the training starts from, one sentence each.
    """

    config: TrainConfig
    architecture: Architecture
    network: nn.Module
    preprocessing: Preprocessing
    datasets: StageDatasets
    device: torch.device
    precision: Precision
    head: nn.Linear | None
    frozen: FrozenFeatures | None
    request: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.datasets.load(self.config.recipe.stages[0], "train").classes

    def build_for_evaluation(self) -> nn.Module:
        """Return the network as ``wsol.eval`` loads it from the weights file, with the weights that it has now."""
        tensors = self.architecture.export_state(self.network.eval())
        network = self.architecture.build(tensors, None, self.config.map_size)
        network.load_state_dict(tensors, strict=False)  # as in load_model: some tensors are for training alone
        return network.eval()

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
        metadata = WeightsMetadata(
            complete_name(config.train_method.name_network(config.model), self.architecture),
            self.classes,
            self.preprocessing,
            config.map_size,
            self.request,
            scores,
        )
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
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if has_bf16(device) else "float32"
    check_precision(precision, device)
    base = find_architecture(config.model)
    own_weights = config.weights is None and base.comes_with_weights
    if config.freeze and config.weights is None and not own_weights:
        raise InputError("frozen features are not trained: give --weights to take them from")
    if config.freeze and len(recipe.stages) > 1:
        raise InputError(f"frozen features are computed once, not in {len(recipe.stages)} stages: give a single stage")
    if config.freeze and config.train_method.name != PLAIN:
        raise InputError(
            f"{config.train_method.name} changes images or layers in every step, but frozen features are computed "
            "once; leave out --freeze"
        )
    if config.freeze and recipe.layer_rates:
        raise InputError("frozen features leave a single layer to train: give its --learning-rate, no --layer-rate")
    if config.freeze and recipe.augmentation != Recipe.augmentation:
        raise InputError("frozen features are computed once, without augmentation: leave out --augmentation")
    datasets = StageDatasets(config.dataset, config.data_root, config.dataset_args, recipe.stages)
    train = datasets.load(recipe.stages[0], "train")
    if isinstance(base, HeadedArchitecture):
        raise InputError(
            f"{config.model} is the network of a training method; give --model {base.name} --train-method "
            f"{base.head.signature}"
        )
    named = config.train_method.name_network(config.model)
    architecture = base if named == config.model else find_architecture(named)
    shape, own = (len(train.classes), config.map_size, config.weights is None), None
    if own_weights:
        torch.manual_seed(0)  # where they are random, trainings with several seeds are still of the same network
        own = network_sha256(base.build_for_training(*shape))
    torch.manual_seed(recipe.seed)
    network = architecture.build_for_training(*shape)
    check_layer_rates(network, recipe)
    start = None if config.weights is None else load_matching(network, named, config.weights)
    splits: tuple[Split, ...] = ("train", "val") if config.validation else ("train",)
    config.train_method.prepare(network.eval(), config.model, min(each.image_size for each in recipe.stages))
    for stage in recipe.stages:
        check_image_size(network, config.model, stage.image_size, len(train.classes))
        for split in splits:  # a missing one is reported before the first epoch, not after it
            _check_classes(train, datasets.load(stage, split))
        if not config.freeze:
            smallest = min(2, stage.batch_size, len(datasets.load(stage, "train")))  # larger steps skip a single image
            check_step(network, config.model, stage.image_size, len(train.classes), smallest)
    network.to(device).to(memory_format=torch.channels_last)
    preprocessing = start.preprocessing if start else architecture.preprocessing()
    side = recipe.stages[0].image_size
    frozen = freeze_features(network, config.model, start, side) if config.freeze else None
    head = frozen.linear if frozen else find_head(network, len(train.classes))
    if start and head is not None:
        start_missing(head, network, start, recipe.head_start)
    return TrainPlan(
        config=config,
        architecture=architecture,
        network=network,
        preprocessing=replace(preprocessing, size=recipe.stages[-1].image_size),
        datasets=datasets,
        device=device,
        precision=precision,
        head=head,
        frozen=frozen,
        request={
            "model": complete_name(config.model, base),
            "map_size": config.map_size,
            "weights": start.sha256 if start else own,
            "freeze": config.freeze,
            "dataset": f"{train.name}#{train.fingerprint[:8]}",
            "dataset_args": dict(config.dataset_args),
            **recipe.to_dict(),
            **({"processes": group.size} if group.size > 1 else {}),
            **({"precision": precision} if precision != "float32" else {}),
            **({"train_method": config.train_method.signature} if config.train_method.name != PLAIN else {}),
            **({"code": base.code_sha256} if base.code_sha256 else {}),
        },
        notes=(
            *(start.notes if start else _describe_own(config.model) if own_weights else ()),
            *_describe_unseen(train),
        ),
    )


def _describe_own(model: str) -> tuple[str, ...]:
    return (f"no --weights given: the training starts from the network as {model} returns it",)


def _describe_unseen(train: Dataset) -> tuple[str, ...]:
    seen = {sample.label for sample in train.samples}
    unseen = [name for label, name in enumerate(train.classes) if label not in seen]
    if not unseen:
        return ()
    return (
        f"classes without an image in train, which are never learned ({len(unseen)} of {len(train.classes)}): "
        f"{list_first(unseen)}; check the labels for misspellings",
    )


def _check_classes(train: Dataset, other: Dataset) -> None:
    """Check that another split or stage has the classes that the network is built for."""
    if other.classes != train.classes:
        i = next(i for i, (a, b) in enumerate(zip_longest(train.classes, other.classes)) if a != b)
        first, second = (quote(names[i]) if i < len(names) else "none" for names in (train.classes, other.classes))
        raise InputError(
            f"{train.name}: the classes of the split {other.split} differ from those of the first stage's train (class "
            f"{i} is {second}, not {first}); give all splits and stages the same classes, or --no-validation"
        )
