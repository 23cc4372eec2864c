"""The public function: from names to tables and a run folder."""

import contextlib
import tempfile
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from wsol._clock import Clock
from wsol._device import find_device
from wsol._machine import processors
from wsol._meter import Meter
from wsol.cams import Method, Precision, find_method, refusal
from wsol.collect import Setup, collect
from wsol.collected import Collected
from wsol.datasets import Dataset, Split, check, load_dataset
from wsol.errors import InputError
from wsol.evaluation import Evaluation, Origin, conclude, signature
from wsol.models import Model, load_model, optimise
from wsol.protocols import find_protocol
from wsol.reports.gallery import draw_gallery
from wsol.reports.page import write_page
from wsol.runs.folder import claim
from wsol.stored import read_run
from wsol.tables import FIXED, Tau, checked_tau


def evaluate(
    model: str | Model | None = None,
    weights: str | Path | None = None,
    *,
    dataset: str | Dataset = "synthetic",
    validation: Dataset | None = None,
    data_root: str | Path | None = None,
    dataset_args: Mapping[str, str] | None = None,
    download: bool = False,
    split: Split = "test",
    method: str = "cam",
    layer: str | None = None,
    map_size: int | None = None,
    protocol: str = "wsolevaluation",
    tau: Tau = FIXED,
    limit: int | None = None,
    device: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    memory: float = 2.0,
    precision: Precision = "float32",
    channels_last: bool = False,
    compiled: bool = False,
    skip_bad_images: bool = False,
    out: str | Path | None = None,
) -> Evaluation:
    """Evaluates how well a classifier's score maps localize objects.

    Args:
        model: Registered name, or a loaded model; None where the weights file names it.
        weights: Weights file or published name, where ``model`` is a name; None for weights that come with the package.
        dataset: Registered name, or a loaded data set.
        validation: A loaded data set to choose tau on, where ``dataset`` is a loaded one and tau is ``val``.
        data_root: Folder of the data set; ``datasets/<name>`` if None. A generated data set has none.
        dataset_args: The adapter's own arguments.
        download: Fetch the data set first, where its host allows it.
        split: ``test`` or ``val``; ``train`` has no boxes. A loaded data set brings its own.
        method: What makes the score maps: a registered name, or one with settings such as ``rise:masks=1000``.
        layer: Name of the target layer, where ``model`` is a name; None to find it.
        map_size: Side of the maps of a 224 x 224 image, where ``model`` is a name; None for the network's own.
        protocol: The conventions: a registered name, or one with changes such as ``wsolevaluation:step=0.01``.
        tau: Threshold of the run's predictions: a number on the protocol's grid, ``val`` (best GT-known accuracy on
            the validation split, which is run first, into ``out/val``) or ``oracle`` (best on these images themselves).
        limit: At most this many images, evenly spaced.
        device: ``auto``, ``cpu``, ``cuda`` ...; a loaded model stays where it is.
        batch_size: Images in a forward pass.
        workers: Threads that decode images and draw boxes; one a processor if None.
        memory: GiB that the method may use beside network and batch; what it does in pieces is cut to that.
        precision: ``bfloat16`` runs the layers below the target layer in autocast.
        channels_last: Lay out the network's convolutions for channels last, in place, which is faster on most devices.
        compiled: Compile the layers below the target layer (``torch.compile``), in place.
        skip_bad_images: Count and list unreadable images instead of stopping at the first.
        out: Run folder to write; nothing stays on disk if None.

    Returns:
        Tables and facts of the run.

    Raises:
        InputError: Something handed in cannot be used.
    """
    conventions = find_protocol(protocol)
    chosen_method = find_method(method)
    tau = checked_tau(tau, conventions)
    for name, number in (("batch_size", batch_size), ("workers", workers)):
        if number is not None and number < 1:
            raise InputError(f"{name} is {number}; give 1 or more")

    if not memory > 0:
        raise InputError(f"memory is {memory}; give more than 0 GiB")
    if validation is not None and not isinstance(dataset, Dataset):
        raise InputError(f"a loaded validation goes with a loaded data set; {dataset} brings its own val split")

    def images(source: str | Dataset, part: Split, fetch: bool) -> Dataset:
        if isinstance(source, Dataset):
            check(loaded := source)
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
    optimise(loaded.network, channels_last, compiled)
    budget = int(memory * 2**30)
    setup = Setup(loaded, chosen_method, conventions, batch_size, skip_bad_images, budget, precision)
    with (
        ThreadPoolExecutor(workers or processors()) as pool,
        tempfile.TemporaryDirectory() if out is None else contextlib.nullcontext(out) as folder,
    ):
        chosen_on = None
        if held_out is not None:
            asked = signature(_origin(setup, evaluated), setup.protocol, evaluated, tau, held_out.signature)
            claim(Path(folder), asked)
            _, chosen_on = _run(setup, held_out, "oracle", None, pool, Path(folder) / "val")
        evaluation, _ = _run(setup, evaluated, tau, chosen_on, pool, Path(folder), held_out)
    if out is not None:
        write_page(read_run(out))
    return evaluation


def _check_applies(method: Method, model: Model, precision: Precision) -> None:
    """Makes sure that a method and a model go together.

    Raises:
        InputError: They do not; the message says why.
    """
    if (reason := refusal(method, model.network, model.classes)) is not None:
        raise InputError(f"{method.name} cannot be applied: {reason}")
    if precision != "float32" and method.needs in ("whole gradients", "attention"):
        raise InputError(f"{method.name} runs the whole network in float32; leave out --precision")


def _run(
    setup: Setup,
    images: Dataset,
    tau: Tau,
    chosen_on: Collected | None,
    pool: Executor,
    folder: Path,
    held_out: Dataset | None = None,
) -> tuple[Evaluation, Collected]:
    """Takes one split through all stations and writes its folder; ``chosen_on`` is what ``held_out`` came to."""
    origin = _origin(setup, images)
    label = held_out.signature if held_out else None
    request = signature(origin, setup.protocol, images, tau, label)
    claim(folder, request)
    clock, meter = Clock(), Meter(setup.model.network)
    found, maps = collect(setup, images, pool, clock, folder)
    origin = replace(origin, facts={**origin.facts, "cost": meter.cost(clock, len(found.images))})

    def gallery(predictions: pd.DataFrame, signed: str) -> bytes:
        return draw_gallery(found, setup.protocol, maps, predictions, signed, pool)

    used = chosen_on.images.signature if chosen_on else None
    return conclude(origin, setup.protocol, found, tau, chosen_on, used, request, pool, clock, folder, gallery), found


def _origin(setup: Setup, images: Dataset) -> Origin:
    model, view = setup.model, setup.protocol.view
    facts = {
        "model": model.name,
        "weights": {"name": model.weights, "sha256": model.sha256},
        "preprocessing": asdict(model.preprocessing),
        "map_size": model.map_size,
        "layer": model.network.layer,
        "method": setup.method.signature,
        "precision": setup.precision,
        "device": str(next(model.network.parameters()).device),
        "notes": [*model.notes, *_notes(images, model)],
    }
    precise = "" if setup.precision == "float32" else f"+{setup.precision}"
    return Origin(model.signature + precise, setup.method.signature + view.suffix, view, facts)


def _notes(images: Dataset, model: Model) -> list[str]:
    """Says what deserves a second look, one sentence each."""
    count = len(images.classes)
    if not model.classes:
        return [f"{model.name} does not classify: what needs predicted classes is left out"]
    if count == model.classes:
        return []
    return [f"{model.name} has {model.classes} classes, {images.name} {count}: labels are taken as its first outputs"]
