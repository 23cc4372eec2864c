"""The loop over the images: from files to IoU curves, in one forward pass each."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.cams import METHODS, forward
from wsol.datasets import Batch, Dataset, Sample, count_clipped, read_batches
from wsol.errors import ImageError, InputError
from wsol.metrics.base import Evidence
from wsol.models import Model
from wsol.protocols import Protocol
from wsol.runs.folder import MapFile

TOP = 5  # predictions that are kept beside the ground-truth class


@dataclass(frozen=True)
class Setup:
    """What goes over a data set, and how.

    Attributes:
        model: The network and what its weights expect.
        method: Registered name of what makes the score maps.
        protocol: The conventions.
        batch_size: Images in a forward pass.
        skip_bad_images: Whether unreadable images are counted instead of raised.
    """

    model: Model
    method: str
    protocol: Protocol
    batch_size: int
    skip_bad_images: bool


@dataclass(frozen=True)
class Collected:
    """What the loop leaves of one split; ``k`` classes an image: the ground truth's, then the predictions.

    Attributes:
        images: The images that could be read, ``n``.
        truths: Ground-truth boxes ``(g, 4)`` of each, in the protocol's frame.
        classes: int64 ``(n, k)``.
        scores: float32 ``(n, k)``, softmax probabilities.
        maps: float32 ``(n, k, h, w)``, raw score maps, mapped into memory from disk.
        evidence: What metrics are computed from.
        skipped: Reason by image id of those that could not be read.
        clipped: Number of ground-truth boxes that leave their image by up to a pixel.
    """

    images: Dataset
    truths: list[NDArray[np.float64]]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]
    maps: NDArray[np.float32]
    evidence: Evidence
    skipped: dict[str, str]
    clipped: int


class Clock:
    """Adds up the seconds that the loop waits for each station."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, station: str) -> Iterator[None]:
        """Times what is done in its context."""
        start = time.perf_counter()
        yield
        self.seconds[station] += time.perf_counter() - start


def collect(setup: Setup, images: Dataset, pool: Executor, clock: Clock, path: Path) -> Collected:
    """Takes every image of a split from its file to its IoU curve.

    Args:
        setup: What goes over it.
        images: The split.
        pool: Threads that decode images and draw boxes.
        clock: Gets the seconds of each station.
        path: Where the maps are written.

    Raises:
        InputError: The labels do not fit the model, its scores are not finite, or an image or box is unusable.
    """
    _check_classes(setup.model, images)
    kept: list[int] = []
    truths: list[NDArray[np.float64]] = []
    classes: list[NDArray[np.int64]] = []
    scores: list[NDArray[np.float32]] = []
    curves: list[Future[tuple[NDArray[np.float32], NDArray[np.float32] | None]]] = []
    skipped: dict[str, str] = {}
    clipped = 0
    side = setup.protocol.image_size
    batches = read_batches(images.samples, side, setup.batch_size, pool, setup.skip_bad_images)
    title = f"{images.name} {images.split}"
    with MapFile(path) as store, tqdm(total=len(images), unit="image", desc=title, disable=None) as progress:
        while (batch := _next(batches, clock)) is not None:
            skipped |= {images.samples[index].image_id: reason for index, reason in batch.skipped}
            samples = [images.samples[index] for index in batch.indices]
            if samples:
                clipped += sum(map(count_clipped, samples, batch.frames))
                found, probabilities, maps = _localize(setup, samples, batch.pixels, clock)
                with clock("boxes"):
                    truth = [*map(setup.protocol.ground_truth, samples, batch.frames)]
                    curves += [
                        pool.submit(setup.protocol.curves, own[0], t) for own, t in zip(maps, truth, strict=True)
                    ]
                with clock("files"):
                    store.append(maps)
                kept += batch.indices
                truths += truth
                classes.append(found)
                scores.append(probabilities)
            progress.update(len(samples) + len(batch.skipped))
        if not kept:
            raise InputError(f"none of the {len(images)} images can be read: {next(iter(skipped.values()))}")
        with clock("boxes"):
            largest, contours = _stacked(curves)
    every = np.concatenate(classes)
    right = every[:, 1:] == every[:, :1]
    ranks = np.where(right.any(1), right.argmax(1) + 1, 0)
    evidence = Evidence(largest, ranks, setup.protocol.delta, contours)
    return Collected(
        images.subset(kept), truths, every, np.concatenate(scores), store.mapped(), evidence, skipped, clipped
    )


def _check_classes(model: Model, images: Dataset) -> None:
    named = model.class_names
    if named and named != images.classes:
        other = next(i for i, (a, b) in enumerate(zip_longest(named, images.classes)) if a != b)
        raise InputError(
            f"{model.weights} was trained on other classes than those of {images.name}: class {other} is "
            f"{_named(named, other)}, not {_named(images.classes, other)}; give weights that were trained on them"
        )
    highest = max(sample.label for sample in images)
    if highest >= model.classes:
        raise InputError(
            f"{model.name} has {model.classes} classes, but {images.name} has the label {highest} "
            f"({images.classes[highest]}); give weights that were trained on its classes"
        )


def _named(names: Sequence[str], i: int) -> str:
    return repr(names[i]) if i < len(names) else "none"


def _next(batches: Iterator[Batch], clock: Clock) -> Batch | None:
    try:
        with clock("images"):
            return next(batches, None)
    except ImageError as error:
        raise ImageError(f"{error}, or give --skip-bad-images to count it and go on") from error


def _localize(
    setup: Setup, samples: list[Sample], pixels: NDArray[np.uint8], clock: Clock
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Returns classes, probabilities and raw maps of a batch: the ground-truth class, then the top predictions."""
    model = setup.model
    with clock("forward"):
        device = next(model.network.parameters()).device
        passed = forward(model.network, model.preprocessing.normalised(pixels, device))
        probabilities = passed.logits.softmax(1)
        if not bool(torch.isfinite(probabilities).all()):
            raise InputError(
                f"{model.name} gives scores that are not finite in the batch that begins with {samples[0].image_id}; "
                f"check the weights ({model.weights})"
            )
        # Of equal scores the smaller class comes first, on every device; a ReLU behind the last layer makes such.
        ranked = passed.logits.sort(descending=True, stable=True).indices
        labels = torch.tensor([[sample.label] for sample in samples], device=probabilities.device)
        classes = torch.cat([labels, ranked[:, :TOP]], 1)
    with clock("maps"):
        maps = METHODS.get(setup.method)(passed, classes)
        chosen = probabilities.gather(1, classes)
        return classes.cpu().numpy(), chosen.float().cpu().numpy(), maps.float().cpu().numpy()


def _stacked(
    curves: list[Future[tuple[NDArray[np.float32], NDArray[np.float32] | None]]],
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Returns the curves of the boxes, and of the best contours, ``(n, levels)``."""
    largest, contours = zip(*(curve.result() for curve in curves), strict=True)
    some = [curve for curve in contours if curve is not None]
    return np.stack(largest), np.stack(some) if some else None
