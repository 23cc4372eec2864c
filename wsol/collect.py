"""The loop over the images: from files to IoU curves, in one forward pass each."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from wsol._clock import Clock
from wsol.cams import Method, Precision
from wsol.collected import Collected, drawer
from wsol.datasets import Batch, Dataset, Sample, count_clipped, read_batches
from wsol.errors import ImageError, InputError
from wsol.localize import passes, ranked, raw_maps
from wsol.metrics.classification import ranks_of
from wsol.metrics.trace import Stack, Trace
from wsol.models import Model
from wsol.protocols import Protocol
from wsol.protocols.truth import Truth, truth_of
from wsol.runs.folder import MapFile
from wsol.runs.thumbs import Thumbs

TOP = 5  # predictions that are kept beside the ground-truth class


@dataclass(frozen=True)
class Setup:
    """What goes over a data set, and how.

    Attributes:
        model: The network and what its weights expect.
        method: Makes the score maps.
        protocol: The conventions.
        batch_size: Images in a forward pass.
        skip_bad_images: Whether unreadable images are counted instead of raised.
        memory: Bytes that the method may use.
        precision: Of the layers below the target layer.
    """

    model: Model
    method: Method
    protocol: Protocol
    batch_size: int
    skip_bad_images: bool
    memory: int
    precision: Precision


def collect(
    setup: Setup, images: Dataset, pool: Executor, clock: Clock, folder: Path
) -> tuple[Collected, NDArray[np.float32]]:
    """Takes every image of a split from its file to its IoU curve.

    Args:
        setup: What goes over it.
        images: The split.
        pool: Threads that decode images and draw boxes.
        clock: Gets the seconds of each station.
        folder: Of the run; gets ``maps.npy`` and ``thumbs``.

    Returns:
        What was collected, and the raw maps of every image and class, float32 ``(n, k, h, w)`` or, of several crops,
        ``(n, k, crops, h, w)``, mapped into memory from disk.

    Raises:
        InputError: The labels do not fit the model, its scores are not finite, or an image or box is unusable.
    """
    _check_classes(setup.model, images)
    protocol, view = setup.protocol, setup.protocol.view
    kept: list[int] = []
    truths: list[Truth] = []
    classes: list[NDArray[np.int64]] = []
    scores: list[NDArray[np.float32]] = []
    stack = Stack(len(images), max(1, len(protocol.taus)))
    waiting: deque[Future[Trace]] = deque()
    skipped: dict[str, str] = {}
    clipped = 0

    def held(i: int, own: NDArray[np.float32], truth: Truth, pixels: NDArray[np.uint8]) -> Trace:
        thumbs.add(i, pixels)
        return truth.trace(protocol, protocol.prepare(view.assembled(own), truth.size)[0])

    batches = read_batches(images.samples, view.side, setup.batch_size, pool, setup.skip_bad_images)
    title = f"{images.name} {images.split}"
    bar = tqdm(total=len(images), unit="image", desc=title, disable=None)
    with MapFile(folder / "maps.npy") as store, Thumbs(folder) as thumbs, bar as progress:
        while (batch := _next(batches, clock)) is not None:
            skipped |= {images.samples[index].image_id: reason for index, reason in batch.skipped}
            samples = [images.samples[index] for index in batch.indices]
            if samples:
                clipped += sum(map(count_clipped, samples, batch.frames))
                found, probabilities, maps = _localize(setup, samples, batch.pixels, clock)
                with clock("boxes"):
                    truth = [truth_of(protocol, *pair) for pair in zip(samples, batch.frames, strict=True)]
                    places = range(len(kept), len(kept) + len(samples))
                    waiting += [
                        pool.submit(held, *one) for one in zip(places, maps[:, :1], truth, batch.pixels, strict=True)
                    ]
                    while len(waiting) > 2 * setup.batch_size:
                        stack.add(waiting.popleft().result())
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
            for trace in waiting:
                stack.add(trace.result())
    every, stored = np.concatenate(classes), store.mapped()
    evidence = stack.evidence(protocol.delta, every[:, 0], ranks_of(every))
    draw = drawer(protocol, view, stored, every, truths)
    left = images.subset(kept)
    return Collected(left, truths, every, np.concatenate(scores), evidence, draw, skipped, clipped, stack.boxes), stored


def _check_classes(model: Model, images: Dataset) -> None:
    named = model.class_names
    if named and named != images.classes:
        other = next(i for i, (a, b) in enumerate(zip_longest(named, images.classes)) if a != b)
        raise InputError(
            f"{model.weights} was trained on other classes than those of {images.name}: class {other} is "
            f"{_named(named, other)}, not {_named(images.classes, other)}; give weights that were trained on them"
        )
    highest = max(sample.label for sample in images)
    if 0 < model.classes <= highest:
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
    where = f"the batch that begins with {samples[0].image_id}"
    with clock("forward"):
        passed = passes(setup.model, setup.protocol.view.crops(pixels), setup.memory, setup.precision)
        labels = torch.tensor([[sample.label] for sample in samples])
        classes, chosen = ranked(setup.model, passed, labels, TOP, where)
    with clock("maps"):
        return classes.cpu().numpy(), chosen.cpu().numpy(), raw_maps(setup.method, passed, classes, where)
