"""What a run is asked to do, checked before anything is begun."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsol.datasets import Dataset, Split, check_dataset, load_dataset
from wsol.errors import InputError
from wsol.evaluation.batches import InferenceConfig, check_classes
from wsol.evaluation.finish import Provenance, run_signature
from wsol.evaluation.tables import Tau, check_tau
from wsol.methods import Method, Precision, find_method, unsupported_reason
from wsol.models import Model, load_model, optimize
from wsol.protocols import find_protocol
from wsol.runs.store import package_versions
from wsol.runtime.device import find_device


@dataclass(frozen=True)
class Job:
    """What a run is asked to do.

    Attributes:
        setup: What goes over the images.
        images: The evaluated split.
        held_out: The images that tau is chosen on, if it is.
        tau: Of the run's predictions.
        layout: How the network is laid out: whether ``channels_last``, whether ``compiled``.
    """

    setup: InferenceConfig
    images: Dataset
    held_out: Dataset | None
    tau: Tau
    layout: Mapping[str, bool]

    @property
    def splits(self) -> dict[str, Dataset]:
        """What goes through the network: ``run``, after ``val`` if tau is chosen on it."""
        return ({"val": self.held_out} if self.held_out else {}) | {"run": self.images}

    @property
    def batches(self) -> dict[str, int]:
        """The number of batches of each split."""
        return {name: self.setup.batches(images) for name, images in self.splits.items()}

    def request(self, name: str) -> str:
        """Return what is asked of a split: its signature, without what is only known afterwards."""
        origin = self.origin(self.splits[name])
        if name == "val":
            return run_signature(origin, self.setup.protocol, self.splits[name], "oracle", None)
        label = self.held_out.signature if self.held_out else None
        return run_signature(origin, self.setup.protocol, self.images, self.tau, label)

    @property
    def asked(self) -> dict[str, Any]:
        """Everything that bits depend on, as JSON; the number of processes and threads is not among it."""
        return {
            "request": self.request("run"),
            "batch_size": self.setup.batch_size,
            "memory": self.setup.memory,
            "skip_bad_images": self.setup.skip_bad_images,
            **self.layout,
            "device": self._device.type,
            "machine": platform.machine(),
            "versions": package_versions(),
        }

    def origin(self, images: Dataset) -> Provenance:
        """Return where the maps of a split come from."""
        model, view = self.setup.model, self.setup.protocol.view
        facts = {
            "model": model.name,
            "weights": {"name": model.weights, "sha256": model.sha256},
            "preprocessing": asdict(model.preprocessing),
            "map_size": model.map_size,
            "layer": model.network.layer,
            "method": self.setup.method.signature,
            "precision": self.setup.precision,
            "device": str(self._device),
            "notes": [*model.notes, *_notes(images, model)],
        }
        precise = "" if self.setup.precision == "float32" else f"+{self.setup.precision}"
        return Provenance(model.signature + precise, self.setup.method.signature + view.suffix, view, facts)

    @property
    def _device(self) -> Any:
        return next(self.setup.model.network.parameters()).device


def prepare(
    model: str | Model | None,
    weights: str | Path | None,
    *,
    dataset: str | Dataset,
    validation: Dataset | None,
    data_root: str | Path | None,
    dataset_args: Mapping[str, str] | None,
    download: bool,
    split: Split,
    method: str,
    layer: str | None,
    map_size: int | None,
    protocol: str,
    tau: Tau,
    limit: int | None,
    device: str,
    batch_size: int,
    memory: float,
    precision: Precision,
    channels_last: bool,
    compiled: bool,
    skip_bad_images: bool,
) -> Job:
    """Load and checks everything; arguments as those of ``wsol.evaluate``.

    Raises:
        InputError: Something handed in cannot be used.
    """
    conventions = find_protocol(protocol)
    chosen_method = find_method(method)
    tau = check_tau(tau, conventions)
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; give 1 or more")
    if not 0 < memory < 2**30:
        raise InputError(f"memory is {memory}; give more than 0 GiB, and less than 2^30")
    if validation is not None and not isinstance(dataset, Dataset):
        raise InputError(f"a loaded validation goes with a loaded data set; {dataset} brings its own val split")

    def images(source: str | Dataset, part: Split, fetch: bool) -> Dataset:
        if isinstance(source, Dataset):
            check_dataset(loaded := source)
        else:
            loaded = load_dataset(source, data_root, part, dataset_args, fetch)
        if loaded.split == "train":
            raise InputError(f"{loaded.name}: the split train has image labels only; evaluate on test or val")
        return loaded if limit is None else loaded.limit(limit)

    evaluated, held_out = images(dataset, split, download), None
    if tau == "val":
        source = validation if isinstance(dataset, Dataset) else dataset
        if source is None or evaluated.split == "val":
            raise InputError("tau val needs a validation split beside the evaluated one; give a number or oracle")
        held_out = images(source, "val", False)
        if held_out.split != "val":
            raise InputError(f"tau is to be chosen on the split val, not on {held_out.split}; give another validation")
        if held_out.fingerprint == evaluated.fingerprint:
            raise InputError("the val split has the very images that are evaluated; give a number or oracle")
    if isinstance(model, Model) and (weights, layer, map_size) != (None, None, None):
        raise InputError("a loaded model brings its weights, layer and map size; give them to load_model")
    loaded = model if isinstance(model, Model) else load_model(model, weights, find_device(device), layer, map_size)
    _check_applies(chosen_method, loaded, precision)
    optimize(loaded.network, channels_last, compiled)
    setup = InferenceConfig(
        loaded, chosen_method, conventions, batch_size, skip_bad_images, int(memory * 2**30), precision
    )
    job = Job(setup, evaluated, held_out, tau, {"channels_last": channels_last, "compiled": compiled})
    for each in job.splits.values():
        check_classes(loaded, each)
    return job


def _check_applies(method: Method, model: Model, precision: Precision) -> None:
    """Make sure that a method and a model go together.

    Raises:
        InputError: They do not; the message says why.
    """
    if (reason := unsupported_reason(method, model.network, model.classes)) is not None:
        raise InputError(f"{method.name} cannot be applied: {reason}")
    if precision != "float32" and method.needs in ("whole gradients", "attention"):
        raise InputError(f"{method.name} runs the whole network in float32; leave out --precision")


def _notes(images: Dataset, model: Model) -> list[str]:
    """Return what deserves a second look, one sentence each."""
    count = len(images.classes)
    if not model.classes:
        return [f"{model.name} does not classify: what needs predicted classes is left out"]
    if count == model.classes:
        return []
    return [f"{model.name} has {model.classes} classes, {images.name} {count}: labels are taken as its first outputs"]
