"""The one loop that connects the stations."""

import contextlib
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from wsol.cams import METHODS, forward
from wsol.datasets import Batch, Dataset, Sample, Split, count_clipped, load_dataset, read_batches
from wsol.errors import InputError
from wsol.metrics.base import METRICS, Evidence
from wsol.metrics.error_types import error_type
from wsol.metrics.iou import best_iou
from wsol.metrics.summary import best_level, grid_level, per_class, summarise
from wsol.models import Model, load_model
from wsol.protocols import PROTOCOLS, Protocol
from wsol.runs.facts import versions
from wsol.runs.folder import MapFile, claim, write_run
from wsol.runs.predictions import predictions_table

Tau = float | Literal["val", "oracle"]

_TOP = 5
_FIXED = 0.2  # the fixed tau that stands beside val and oracle


@dataclass(frozen=True)
class Evaluation:
    """The result of a run.

    Attributes:
        metrics: metric, tau_rule, tau, value (percent), ci_low, ci_high, n.
        classes: The same per class.
        predictions: One row an image and rank, see ``wsol.runs.predictions``.
        run: What ``run.json`` holds.
    """

    metrics: pd.DataFrame
    classes: pd.DataFrame
    predictions: pd.DataFrame
    run: dict[str, Any] = field(repr=False)

    @property
    def signature(self) -> str:
        """Everything that decides a number, in a line."""
        return str(self.run["signature"])


def evaluate(
    model: str | Model,
    weights: str | Path | None = None,
    *,
    dataset: str | Dataset,
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
        model: Registered name, or a loaded model.
        weights: Weights file or published name, where ``model`` is a name.
        dataset: Registered name, or a loaded data set.
        validation: A loaded data set to choose tau on, where ``dataset`` is a loaded one and tau is ``val``.
        data_root: Folder of the data set; ``datasets/<name>`` if None.
        dataset_args: The adapter's own arguments.
        download: Fetch the data set first, where its host allows it.
        split: ``test`` or ``val``; ``train`` has no boxes.
        method: Registered name of what makes the score maps.
        protocol: Registered name of the conventions.
        tau: Threshold of the run's predictions: a number on the protocol's grid, ``val`` (best GT-known accuracy on
            the validation split, which is run first, into ``out/val``) or ``oracle`` (best on these images themselves).
        limit: At most this many images, evenly spaced.
        device: ``auto``, ``cpu``, ``cuda`` ...
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
    fixed = _FIXED if isinstance(tau, str) else tau
    grid_level(fixed, conventions.taus)
    METHODS.get(method)
    arguments = dict(dataset_args or {})
    images = _images(dataset, data_root, split, limit, download, arguments)
    if tau == "val":
        source = validation if isinstance(dataset, Dataset) else dataset
        if source is None or images.split == "val":
            raise InputError("tau val needs a validation split beside the evaluated one; give a number or oracle")
        validation = _images(source, data_root, "val", limit, False, arguments)
    else:
        validation = None
    loaded = model if isinstance(model, Model) else load_model(model, weights, _device(device))
    setup = _Setup(loaded, method, conventions, fixed, batch_size, workers or _processors(), skip_bad_images)
    with contextlib.nullcontext(str(out)) if out is not None else tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if validation is None:
            return _run(setup, images, tau, None, folder)[0]
        claim(folder, setup.request(images, tau, validation))
        _, evidence = _run(setup, validation, "oracle", None, folder / "val")
        return _run(setup, images, tau, (validation, evidence), folder)[0]


@dataclass(frozen=True)
class _Setup:
    model: Model
    method: str
    protocol: Protocol
    fixed: float
    batch_size: int
    workers: int
    skip_bad_images: bool

    def request(self, images: Dataset, tau: Tau, validation: Dataset | None) -> str:
        """Returns the signature as far as it is known before the run."""
        import wsol  # noqa: PLC0415  # the package imports this module

        where = "" if validation is None else f"({validation.signature})"
        stations = (images.signature, self.model.signature, self.method, self.protocol.signature)
        return "|".join((*stations, f"tau:{tau}{where}", f"wsol:{wsol.__version__}"))


@dataclass(frozen=True)
class _Collected:
    """What the loop leaves of one split; ``k`` is the ground-truth class and the predictions."""

    images: Dataset
    truths: list[NDArray[np.float64]]
    classes: NDArray[np.int64]  # (n, k)
    scores: NDArray[np.float32]  # (n, k)
    maps: NDArray[np.float32]  # (n, k, h, w)
    evidence: Evidence
    skipped: dict[str, str]
    clipped: int


class _Clock:
    """Adds up the seconds spent in each station."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, station: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[station] += time.perf_counter() - start


def _run(
    setup: _Setup, images: Dataset, tau: Tau, chosen_on: tuple[Dataset, Evidence] | None, folder: Path
) -> tuple[Evaluation, Evidence]:
    """Runs the stations over one split and writes its folder."""
    request = setup.request(images, tau, chosen_on and chosen_on[0])
    claim(folder, request)
    clock = _Clock()
    with ThreadPoolExecutor(setup.workers) as pool:
        found = _collect(setup, images, pool, clock, folder / "maps.npy")
        with clock("metrics"):
            taus, validation = setup.protocol.taus, chosen_on and chosen_on[1]
            if isinstance(tau, str):
                level = best_level(METRICS.get("gt_known_loc_acc"), validation or found.evidence)
            else:
                level = grid_level(tau, taus)
            metrics = summarise(found.evidence, taus, setup.fixed, validation)
            labels = np.array([sample.label for sample in found.images])
            classes = per_class(found.evidence, labels, images.classes, taus, setup.fixed, validation)
        with clock("boxes"):
            predictions = _predict(setup.protocol, found, float(taus[level]), pool)
    signature = setup.request(found.images, tau, chosen_on and chosen_on[0])
    if isinstance(tau, str):
        signature = signature.replace("|wsol:", f"={taus[level]:g}|wsol:")
    model = setup.model
    run = {
        "signature": signature,
        "request": request,
        "dataset": {
            "name": images.name,
            "split": images.split,
            "origin": images.origin,
            "n": len(found.images),
            "fingerprint": found.images.fingerprint,
        },
        "model": model.name,
        "weights": {"name": model.weights, "sha256": model.sha256},
        "preprocessing": asdict(model.preprocessing),
        "method": setup.method,
        "protocol": {"signature": setup.protocol.signature, "frame": setup.protocol.image_size},
        "tau": {"rule": tau if isinstance(tau, str) else "fixed", "value": float(taus[level])},
        "skipped": found.skipped,
        "clipped_boxes": found.clipped,
        "notes": _notes(images, model),
        "versions": versions(),
        "device": str(next(model.network.parameters()).device),
        "seconds": {station: round(seconds, 3) for station, seconds in clock.seconds.items()},
    }
    write_run(folder, run, metrics, classes, predictions, found.evidence.curves)
    return Evaluation(metrics, classes, predictions, run), found.evidence


def _collect(setup: _Setup, images: Dataset, pool: Executor, clock: _Clock, path: Path) -> _Collected:
    """Takes every image from file to IoU curve, in one forward pass."""
    count = setup.model.classes
    highest = max(sample.label for sample in images)
    if highest >= count:
        raise InputError(
            f"{setup.model.name} has {count} classes, but {images.name} has the label {highest} "
            f"({images.classes[highest]}); give weights trained on its classes"
        )
    make_maps = METHODS.get(setup.method)
    kept: list[int] = []
    truths: list[NDArray[np.float64]] = []
    classes, scores = [], []
    curves: list[Future[NDArray[np.float32]]] = []
    skipped: dict[str, str] = {}
    clipped = 0
    store = MapFile(path)
    progress = tqdm(total=len(images), unit="image", desc=f"{images.name} {images.split}", disable=None)
    try:
        with progress:
            batches = read_batches(
                images.samples, setup.protocol.image_size, setup.batch_size, pool, setup.skip_bad_images
            )
            while (batch := _next(batches, clock)) is not None:
                skipped |= {images.samples[index].image_id: reason for index, reason in batch.skipped}
                samples = [images.samples[index] for index in batch.indices]
                progress.update(len(samples) + len(batch.skipped))
                if not samples:
                    continue
                clipped += sum(map(count_clipped, samples, batch.frames))
                with clock("forward"):
                    passed = forward(setup.model.network, _preprocessed(batch.pixels, setup.model))
                    probabilities = passed.logits.softmax(1)
                    if not bool(torch.isfinite(probabilities).all()):
                        raise InputError(
                            f"{setup.model.name} gives scores that are not finite, first in the batch of "
                            f"{samples[0].image_id}; check the weights ({setup.model.weights})"
                        )
                    labels = torch.tensor([[sample.label] for sample in samples], device=probabilities.device)
                    ranked = torch.cat([labels, passed.logits.topk(min(_TOP, count)).indices], 1)
                with clock("maps"):
                    maps = make_maps(passed, ranked).float().cpu().numpy()
                    classes.append(ranked.cpu().numpy())
                    scores.append(probabilities.gather(1, ranked).float().cpu().numpy())
                with clock("boxes"):
                    truth = [*map(setup.protocol.ground_truth, samples, batch.frames)]
                    curves += [pool.submit(_curve, setup.protocol, m[:1], t) for m, t in zip(maps, truth, strict=True)]
                with clock("files"):
                    store.append(maps)
                kept += batch.indices
                truths += truth
        if not kept:
            raise InputError(f"none of the {len(images)} images can be read, the first: {next(iter(skipped.values()))}")
        with clock("boxes"):
            stacked = np.stack([curve.result() for curve in curves])
        every = np.concatenate(classes)
        match = every[:, 1:] == every[:, :1]
        ranks = np.where(match.any(1), match.argmax(1) + 1, 0)
        evidence = Evidence(stacked, ranks, setup.protocol.delta)
        return _Collected(
            images.subset(kept), truths, every, np.concatenate(scores), store.close(), evidence, skipped, clipped
        )
    except BaseException:
        store.discard()
        raise


def _next(batches: Iterator[Batch], clock: _Clock) -> Batch | None:
    with clock("images"):
        return next(batches, None)


def _preprocessed(pixels: NDArray[np.uint8], model: Model) -> Tensor:
    """Returns images ``(n, 3, side, side)`` as the weights expect them, in channels-last memory."""
    device = next(model.network.parameters()).device
    images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float().div_(255)
    mean, std = (
        torch.tensor(values, device=device)[:, None, None]
        for values in (model.preprocessing.mean, model.preprocessing.std)
    )
    return images.sub_(mean).div_(std)


def _curve(protocol: Protocol, maps: NDArray[np.float32], truth: NDArray[np.float64]) -> NDArray[np.float32]:
    return best_iou(protocol.boxes(maps, protocol.taus)[0], truth).astype(np.float32)


def _predict(protocol: Protocol, found: _Collected, tau: float, pool: Executor) -> pd.DataFrame:
    """Draws the box of every guess at one threshold."""
    at = np.array([tau])

    def draw(i: int) -> NDArray[np.float64]:
        rank = found.evidence.ranks[i]
        boxes = protocol.boxes(found.maps[i, 1:] if rank else found.maps[i], at)[:, 0]
        return np.concatenate([boxes[rank - 1 : rank], boxes]) if rank else boxes

    boxes = np.stack([*pool.map(draw, range(len(found.truths)))])
    ious = np.stack([best_iou(box, truth) for box, truth in zip(boxes, found.truths, strict=True)])
    right = found.classes == found.classes[:, :1]
    errors = [
        [error_type(*guess, truth, bool(ok), protocol.delta) for *guess, ok in zip(boxes[i], right[i], strict=True)]
        for i, truth in enumerate(found.truths)
    ]
    return predictions_table(found.images.samples, found.classes, found.scores, tau, boxes, ious, np.array(errors))


def _notes(images: Dataset, model: Model) -> list[str]:
    """Says what deserves a second look, one sentence each."""
    count = model.classes
    if count == len(images.classes):
        return []
    return [f"{model.name} has {count} classes and {images.name} {len(images.classes)}: labels are taken as its first outputs"]


def _images(
    dataset: str | Dataset, root: str | Path | None, split: Split, limit: int | None, download: bool, given: dict[str, str]
) -> Dataset:
    loaded = dataset if isinstance(dataset, Dataset) else load_dataset(dataset, root, split, download=download, **given)
    if loaded.split == "train":
        raise InputError(f"{loaded.name}: the split train has image labels only; evaluate on test or val")
    return loaded if limit is None else loaded.limit(limit)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); try cpu") from error


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
