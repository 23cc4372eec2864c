"""The plan of a run: everything loaded, checked and signed before anything is written."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from wsol.datasets import (
    Dataset,
    Split,
    check_dataset,
    has_pseudo_boxes,
    load_dataset,
    with_content,
    with_pseudo_boxes,
)
from wsol.errors import InputError
from wsol.evaluation.config import EvalConfig
from wsol.methods import Method, find_method, fit_layers, unsupported_reason
from wsol.metrics.tau import check_tau
from wsol.models import Classifier, Model, load_model, optimize
from wsol.models.class_map import ClassMap
from wsol.models.classes import Agreement, check_classes
from wsol.models.find_prompts import find_prompts
from wsol.models.live import wrap_network
from wsol.protocols import Protocol, find_protocol, find_side
from wsol.runs.metadata import package_versions
from wsol.runs.provenance import NetworkRecord, Normalization, Provenance, WeightsFile
from wsol.runs.signature import RunRequest
from wsol.runtime.device import find_device
from wsol.runtime.precision import Precision, check_precision


@dataclass(frozen=True)
class InferenceConfig:
    """Settings of the forward pass and of the score maps.

    Attributes:
        model: The network and its preprocessing.
        method: Makes the score maps.
        protocol: The protocol.
        batch_size: Images per batch.
        skip_bad_images: Whether unreadable images are counted instead of raised.
        memory: Memory budget of the method in bytes.
        precision: Precision of the layers up to the target layer.
        class_map: The outputs of the data set's classes; None if label ``i`` is output ``i``.
        attribution: Whether metrics of attributions are computed.
    """

    model: Model
    method: Method
    protocol: Protocol
    batch_size: int
    skip_bad_images: bool
    memory: int
    precision: Precision
    class_map: ClassMap | None = None
    attribution: bool = False


@dataclass(frozen=True)
class SplitPlan:
    """One split that goes through the network.

    Attributes:
        name: ``run`` for the evaluated split, ``val`` for the one that tau is chosen on.
        subfolder: Where in the run folder its results are: ``.`` or ``val``.
        images: The images.
        batches: Number of batches.
        request: What decides its numbers.
        notes: What deserves a second look, one sentence each.
    """

    name: str
    subfolder: str
    images: Dataset
    batches: int
    request: RunRequest
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A run that is checked and can start.

    Attributes:
        inference: Settings of the forward pass and of the score maps.
        splits: The splits in order: ``val`` first if tau is chosen on it, then ``run``.
        batches: Number of batches by split.
        request: Everything that the bits of the files depend on, as JSON; the number of processes and threads is not
            part of it.
        own_boxes: The images that tau is chosen on, with the data set's own boxes, if pseudo boxes replaced them.
    """

    inference: InferenceConfig
    splits: tuple[SplitPlan, ...]
    batches: Mapping[str, int]
    request: Mapping[str, Any]
    own_boxes: Dataset | None = None


@dataclass(frozen=True)
class Choice:
    """The choice of a network among several.

    Attributes:
        suffix: Suffix of the model in the signature.
        note: A sentence for the notes of the run.
    """

    suffix: str
    note: str


def prepare(config: EvalConfig, choice: Choice | None = None) -> Plan:
    """Load and check everything that a run needs; write nothing.

    Args:
        config: The arguments of ``wsol.evaluate``.
        choice: How the network was chosen among several, if it was.

    Raises:
        InputError: An argument cannot be used.
    """
    method, side = find_method(config.method), find_side(config.protocol)
    tau = check_tau(config.tau, find_protocol(config.protocol).including(config.tau).taus)
    images, held_out, own = _load_splits(config, choose_tau=tau == "val")
    model = _load_model(config, side, images)
    protocol = find_protocol(config.protocol, model.side).including(config.tau)
    method = fit_layers(method, model.network)
    check_method(method, model.network, model.classes, config.precision)
    agreement = _match_classes(config, model, images, held_out)
    optimize(model.network, config.channels_last, config.compiled)
    memory = int(config.memory * 2**30)
    inference = InferenceConfig(
        model,
        method,
        protocol,
        config.batch_size,
        config.skip_bad_images,
        memory,
        config.precision,
        agreement.map,
        config.attribution,
    )
    provenance = _describe_network(inference, agreement)
    if choice is not None:
        provenance = replace(provenance, model=provenance.model + choice.suffix)
    images = with_content(images, config.exact_images, protocol.uses_masks)
    splits = []
    if held_out is not None:
        held_out = with_content(held_out, config.exact_images, protocol.uses_masks)
        request = RunRequest(held_out, provenance, protocol, "oracle")
        splits.append(_plan_split("val", "val", inference, request, agreement.note))
    pseudo = held_out is not None and has_pseudo_boxes(held_out)
    request = RunRequest(images, provenance, protocol, tau, held_out.signature if held_out else None, pseudo)
    run = _plan_split("run", ".", inference, request, agreement.note)
    splits.append(replace(run, notes=(*run.notes, choice.note)) if choice else run)
    batches = {split.name: split.batches for split in splits}
    described = _describe_request(config, memory, request.signature(), model)
    return Plan(inference, tuple(splits), batches, described, own)


def _match_classes(config: EvalConfig, model: Model, images: Dataset, held_out: Dataset | None) -> Agreement:
    """Return how the outputs of the network belong to the classes of the images, and of those that tau is chosen on."""
    found = [
        check_classes(model, each, config.assume_class_order, config.classes, config.rank_among)
        for each in (images, held_out)
        if each is not None
    ]
    if found[0].map != found[-1].map:
        raise InputError("the validation images have other classes than the evaluated ones; give those of one data set")
    return next((each for each in found if each.note), found[0])


def _load_splits(config: EvalConfig, choose_tau: bool) -> tuple[Dataset, Dataset | None, Dataset | None]:
    """Return the evaluated images, those that tau is chosen on, if any, and these with their own boxes, if replaced."""
    if config.validation is not None and not isinstance(config.dataset, Dataset):
        raise InputError(f"a loaded validation needs a loaded data set; {config.dataset} has its own val split")
    images = _load_images(config, config.dataset, config.split, config.download)
    if config.val_boxes is not None and not choose_tau:
        if images.split != "val":
            raise InputError(f"val_boxes replaces boxes of the split val, which tau {config.tau} ignores; give tau val")
        images = with_pseudo_boxes(images, config.val_boxes)
    if not choose_tau:
        return _limit(config, images), None, None
    source = config.validation if isinstance(config.dataset, Dataset) else config.dataset
    if source is None or images.split == "val":
        raise InputError("tau val needs a validation split in addition to the evaluated one; give a number or oracle")
    images, own = _limit(config, images), _load_images(config, source, "val", download=False)
    if own.split != "val":
        raise InputError(f"tau is chosen on the split val, not on {own.split}; give another validation")
    if _limit(config, own).fingerprint == images.fingerprint:
        raise InputError("the val split has the same images as the evaluated one; give a number or oracle")
    if config.val_boxes is None:
        return images, _limit(config, own), None
    return images, _limit(config, with_pseudo_boxes(own, config.val_boxes)), _limit(config, own)


def _load_images(config: EvalConfig, source: str | Dataset, split: Split, download: bool) -> Dataset:
    if isinstance(source, Dataset):
        check_dataset(images := source)
    else:
        images = load_dataset(source, config.data_root, split, config.dataset_args, download)
    if images.split == "train":
        raise InputError(f"{images.name}: the split train has image labels only; evaluate on test or val")
    return images


def _limit(config: EvalConfig, images: Dataset) -> Dataset:
    return images if config.limit is None else images.limit(config.limit)


def _load_model(config: EvalConfig, side: int | None, images: Dataset) -> Model:
    """Return the model, measured with images of the side that the protocol asks for, or of the weights' own.

    A zero-shot classifier is one of the classes of the images.
    """
    model = _load_network(config, side, images)
    if (config.class_names, config.templates) != (None, None) and (
        model.prompts is None or isinstance(config.model, Model)
    ):
        raise InputError(
            f"class_names and templates go with a zero-shot classifier that is loaded by its name, which {model.name} "
            "is not; leave them out"
        )
    return model


def _load_network(config: EvalConfig, side: int | None, images: Dataset) -> Model:
    if isinstance(config.model, nn.Module):
        if (config.weights, config.map_size) != (None, None):
            raise InputError("a live network has its weights and its map size; leave out weights and map_size")
        return wrap_network(config.model, config.preprocessing, config.layer, side, config.output)
    if config.preprocessing is not None:
        raise InputError("preprocessing goes with a live network; other models have that of their weights")
    if not isinstance(config.model, Model):
        device = find_device(config.device)
        prompts = find_prompts(images.classes, images.synsets, config.class_names, config.templates)
        return load_model(
            config.model, config.weights, device, config.layer, config.map_size, side, config.output, prompts
        )
    if (config.weights, config.layer, config.map_size, config.output) != (None, None, None, None):
        raise InputError("a loaded model has its weights, layer, map size and output; give them to load_model")
    config.model.check_side(side)
    return config.model


def check_method(method: Method, network: Classifier, classes: int, precision: Precision) -> None:
    """Check that a method supports a network, on its device, with a number of classes, and a precision.

    Raises:
        InputError: It does not; the message says why.
    """
    if (reason := unsupported_reason(method, network, classes)) is not None:
        raise InputError(f"{method.name} cannot be applied: {reason}")
    check_precision(precision, network.device)
    if precision != "float32" and method.needs in ("image gradients", "attention"):
        raise InputError(f"{method.name} runs the whole network in float32; leave out --precision")


def _plan_split(
    name: str, subfolder: str, inference: InferenceConfig, request: RunRequest, classes_note: str | None
) -> SplitPlan:
    model, batches = inference.model, -(-len(request.images) // inference.batch_size)
    notes = [*model.notes, *([classes_note] if classes_note else [])]
    if not model.classes:
        notes.append(f"{model.name} does not classify: metrics that need predicted classes are left out")
    return SplitPlan(name, subfolder, request.images, batches, request, tuple(notes))


def _describe_network(inference: InferenceConfig, agreement: Agreement) -> Provenance:
    model, method, view = inference.model, inference.method, inference.protocol.view
    network = NetworkRecord(
        model=model.name,
        weights=WeightsFile(model.weights, model.sha256),
        preprocessing=Normalization(model.preprocessing.mean, model.preprocessing.std),
        map_size=model.map_size,
        layer=model.network.layer,
        method=method.signature,
        precision=inference.precision,
        device=str(model.network.device),
        recipe=None if model.recipe is None else dict(model.recipe),
    )
    suffix = "" if inference.precision == "float32" else f"+{inference.precision}"
    suffix += agreement.suffix
    return Provenance(model.signature + suffix, method.signature + view.suffix, view, network)


def _describe_request(config: EvalConfig, memory: int, signature: str, model: Model) -> dict[str, Any]:
    return {
        "request": signature,
        "batch_size": config.batch_size,
        "memory": memory,
        "skip_bad_images": config.skip_bad_images,
        "channels_last": config.channels_last,
        "compiled": config.compiled,
        "attribution": config.attribution,
        "device": model.network.device.type,
        "machine": platform.machine(),
        "versions": package_versions(),
    }
