"""The public function: from names to tables and a run folder."""

import contextlib
import tempfile
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from wsol._machine import find_device, processors
from wsol.baselines import BASELINES, baseline_evidence
from wsol.cams import METHODS
from wsol.collect import Clock, Collected, Setup, collect
from wsol.datasets import Dataset, Split, check, load_dataset
from wsol.errors import InputError
from wsol.metrics.base import METRICS
from wsol.metrics.error_types import error_type
from wsol.metrics.iou import best_iou
from wsol.metrics.summary import best_level, grid_level, named_tau, per_class, summarise
from wsol.models import Model, load_model
from wsol.protocols import PROTOCOLS, Protocol
from wsol.reports.gallery import draw_gallery
from wsol.runs.folder import claim, versions, write_run
from wsol.runs.predictions import predictions_table

Tau = float | Literal["val", "oracle"]

_FIXED = 0.2  # the fixed tau that stands beside val and oracle


@dataclass(frozen=True)
class Evaluation:
    """The result of a run.

    Attributes:
        metrics: metric, tau_rule, tau, value (percent), ci_low, ci_high, n.
        classes: The same per class.
        baselines: The localization metrics of boxes that look at no image, with the run's classification.
        predictions: One row an image and rank, see ``wsol.runs.predictions``.
        run: What ``run.json`` holds.
    """

    metrics: pd.DataFrame
    classes: pd.DataFrame
    baselines: pd.DataFrame
    predictions: pd.DataFrame
    run: dict[str, Any] = field(repr=False)

    @property
    def signature(self) -> str:
        """Everything that decides a number, in a line."""
        return str(self.run["signature"])


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
    protocol: str = "wsolevaluation",
    tau: Tau = _FIXED,
    limit: int | None = None,
    device: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
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
        method: Registered name of what makes the score maps.
        protocol: Registered name of the conventions.
        tau: Threshold of the run's predictions: a number on the protocol's grid, ``val`` (best GT-known accuracy on
            the validation split, which is run first, into ``out/val``) or ``oracle`` (best on these images themselves).
        limit: At most this many images, evenly spaced.
        device: ``auto``, ``cpu``, ``cuda`` ...; a loaded model stays where it is.
        batch_size: Images in a forward pass.
        workers: Threads that decode images and draw boxes; one a processor if None.
        skip_bad_images: Count and list unreadable images instead of stopping at the first.
        out: Run folder to write; nothing stays on disk if None.

    Returns:
        Tables and facts of the run.

    Raises:
        InputError: Something handed in cannot be used.
    """
    conventions = PROTOCOLS.get(protocol)
    METHODS.get(method)
    if isinstance(tau, str) and tau not in ("val", "oracle"):
        raise InputError(f"unknown tau {tau!r}; give a number, val or oracle")
    if not isinstance(tau, str):
        tau = named_tau(conventions.taus, grid_level(tau, conventions.taus))
    for name, number in (("batch_size", batch_size), ("workers", workers)):
        if number is not None and number < 1:
            raise InputError(f"{name} is {number}; give 1 or more")

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
    loaded = model if isinstance(model, Model) else load_model(model, weights, find_device(device))
    setup = Setup(loaded, method, conventions, batch_size, skip_bad_images)
    with (
        ThreadPoolExecutor(workers or processors()) as pool,
        tempfile.TemporaryDirectory() if out is None else contextlib.nullcontext(out) as folder,
    ):
        if held_out is None:
            return _run(setup, evaluated, tau, None, pool, Path(folder))[0]
        claim(Path(folder), _signature(setup, evaluated, tau, held_out))
        _, chosen_on = _run(setup, held_out, "oracle", None, pool, Path(folder) / "val")
        return _run(setup, evaluated, tau, chosen_on, pool, Path(folder), held_out)[0]


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
    val_images, val_evidence = (chosen_on.images, chosen_on.evidence) if chosen_on else (None, None)
    request = _signature(setup, images, tau, held_out)
    claim(folder, request)
    clock = Clock()
    found = collect(setup, images, pool, clock, folder / "maps.npy")
    taus, evidence = setup.protocol.taus, found.evidence
    with clock("metrics"):
        fixed = _FIXED if isinstance(tau, str) else tau
        labels = np.array([sample.label for sample in found.images])
        metrics = summarise(evidence, taus, fixed, val_evidence)
        classes = per_class(evidence, labels, images.classes, taus, fixed, val_evidence)
        if isinstance(tau, str):
            level = best_level(METRICS.get("gt_known_loc_acc"), val_evidence or evidence)
        else:
            level = grid_level(tau, taus)
    with clock("baselines"):
        baselines = _baselines(setup.protocol, found, fixed, chosen_on)
    with clock("boxes"):
        predictions = _predict(setup.protocol, found, level, pool)
    with clock("pictures"):
        gallery = draw_gallery(found, predictions, setup.protocol.image_size, pool)
    run = {
        "signature": _signature(setup, found.images, tau, val_images, named_tau(taus, level)),
        "request": request,
        "dataset": {
            "name": images.name,
            "split": images.split,
            "origin": images.origin,
            "n": len(found.images),
            "fingerprint": found.images.fingerprint,
        },
        "model": setup.model.name,
        "weights": {"name": setup.model.weights, "sha256": setup.model.sha256},
        "preprocessing": asdict(setup.model.preprocessing),
        "method": setup.method,
        "protocol": {"signature": setup.protocol.signature, "frame": setup.protocol.image_size},
        "tau": {"rule": tau if isinstance(tau, str) else "fixed", "value": named_tau(taus, level)},
        "skipped": found.skipped,
        "clipped_boxes": found.clipped,
        "val": {"skipped": chosen_on.skipped, "clipped_boxes": chosen_on.clipped} if chosen_on else None,
        "notes": [*setup.model.notes, *_notes(images, setup.model)],
        "versions": versions(),
        "device": str(next(setup.model.network.parameters()).device),
        "seconds": {station: round(seconds, 3) for station, seconds in clock.seconds.items()},
    }
    write_run(folder, run, metrics, classes, baselines, predictions, evidence.curves, evidence.contours, gallery)
    return Evaluation(metrics, classes, baselines, predictions, run), found


def _signature(setup: Setup, images: Dataset, tau: Tau, held_out: Dataset | None, chosen: float | None = None) -> str:
    """Returns the signature; without the chosen tau it is what is known before the run."""
    rule = f"tau:{tau}" if held_out is None else f"tau:{tau}({held_out.signature})"
    if isinstance(tau, str) and chosen is not None:
        rule += f"={chosen:g}"
    stations = (images.signature, setup.model.signature, setup.method, setup.protocol.signature, rule)
    return "|".join((*stations, f"wsol:{version('wsol')}"))


def _baselines(protocol: Protocol, found: Collected, fixed: float, chosen_on: Collected | None) -> pd.DataFrame:
    """Scores every baseline on the same images by the same rules."""
    tables = []
    for name in BASELINES.names():
        on_test, on_val = (
            baseline_evidence(name, protocol, part.images.samples, part.truths, part.evidence.ranks) if part else None
            for part in (found, chosen_on)
        )
        assert on_test is not None
        table = summarise(on_test, protocol.taus, fixed, on_val).dropna(subset="tau_rule")
        table.insert(0, "baseline", name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _predict(protocol: Protocol, found: Collected, level: int, pool: Executor) -> pd.DataFrame:
    """Draws the box of every guess at one threshold."""
    at = protocol.taus[level : level + 1]

    def draw(i: int) -> NDArray[np.float64]:
        rank = found.evidence.ranks[i]
        boxes = protocol.boxes(found.maps[i, 1:] if rank else found.maps[i], at)[:, 0]
        return np.concatenate([boxes[rank - 1 : rank], boxes]) if rank else boxes

    drawn = pool.map(draw, range(len(found.truths)))
    bar = tqdm(drawn, total=len(found.truths), unit="image", desc="boxes of the predictions", leave=False, disable=None)
    boxes = np.stack([*bar])
    ious = np.stack([best_iou(box, truth) for box, truth in zip(boxes, found.truths, strict=True)])
    right = found.classes == found.classes[:, :1]
    errors = [
        [error_type(box, truth, bool(ok), protocol.delta) for box, ok in zip(*guesses, strict=True)]
        for *guesses, truth in zip(boxes, right, found.truths, strict=True)
    ]
    tau = named_tau(protocol.taus, level)
    return predictions_table(found.images.samples, found.classes, found.scores, tau, boxes, ious, np.array(errors))


def _notes(images: Dataset, model: Model) -> list[str]:
    """Says what deserves a second look, one sentence each."""
    count = len(images.classes)
    if count == model.classes:
        return []
    return [f"{model.name} has {model.classes} classes, {images.name} {count}: labels are taken as its first outputs"]
