"""The loop over the images: from files to IoU curves, in one forward pass each."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.datasets import Batch, Dataset, count_clipped, read_batches
from wsol.errors import ImageError, InputError
from wsol.evaluation.inference import BatchInference
from wsol.methods import Method, Precision
from wsol.metrics.image_stats import ImageStats, stack_stats
from wsol.models import Model
from wsol.protocols import Protocol
from wsol.protocols.base import GroundTruth, ground_truth_of
from wsol.runs.batches import BatchStore, StoredBatch
from wsol.runs.thumbnails import encode_thumbnail
from wsol.runtime.cost import Clock
from wsol.runtime.distributed import ProcessGroup

_WAITING = 2  # batches whose boxes are being drawn while the next goes through the network


@dataclass(frozen=True)
class InferenceConfig:
    """What goes over a data set, and how.

    Attributes:
        model: The network and what its weights expect.
        method: Makes the score maps.
        protocol: The conventions.
        batch_size: Images in a batch.
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

    def batches(self, images: Dataset) -> int:
        """Return how many batches a split has."""
        return -(-len(images) // self.batch_size)

    def batch_inference(self) -> BatchInference:
        """Return what runs the network."""
        return BatchInference(self.model, self.method, self.protocol.view, self.memory, self.precision)


def collect(
    setup: InferenceConfig,
    images: Dataset,
    numbers: Sequence[int],
    parts: BatchStore,
    pool: Executor,
    crew: BatchInference,
    group: ProcessGroup,
) -> None:
    """Take batches of a split from their files to IoU curves, and keeps each on disk as soon as it is done.

    Args:
        setup: What goes over it.
        images: The split.
        numbers: Of the batches, ascending.
        parts: Keeps them.
        pool: Threads that decode images and draw boxes.
        crew: Runs the network.
        group: The processes that go over the same split.

    Raises:
        InputError: Scores or maps are not finite, or an image or box is unusable.
    """
    size, clock = setup.batch_size, Clock()
    places = [i for number in numbers for i in range(number * size, min(len(images), (number + 1) * size))]
    samples = [images.samples[i] for i in places]
    batches = read_batches(samples, setup.protocol.view.side, size, pool, setup.skip_bad_images)
    waiting: deque[Future[None]] = deque()
    total, title = (len(images), "") if group.size == 1 else (len(places), f", the first of {group.size} processes")
    bar = tqdm(
        total=total,
        initial=total - len(places),
        unit="image",
        desc=f"{images.name} {images.split}{title}",
        disable=None if group.is_main else True,
    )
    try:
        with bar as progress:
            for number in numbers:
                batch = _next(batches, clock)
                waiting.append(_submitted(setup, images, batch, places, number, parts, pool, crew, clock))
                if len(waiting) > _WAITING:
                    with clock("boxes"):
                        waiting.popleft().result()
                progress.update(len(batch.indices) + len(batch.skipped))
                if group.size > 1 and parts.stopped:
                    break
            for each in waiting:
                each.result()
    except BaseException:
        if group.size > 1:
            parts.stop()
        raise


def check_classes(model: Model, images: Dataset) -> None:
    """Make sure that a model was trained on the classes of a data set.

    Raises:
        InputError: It was not.
    """
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


def _next(batches: Iterator[Batch], clock: Clock) -> Batch:
    try:
        with clock("images"):
            return next(batches)
    except ImageError as error:
        raise ImageError(f"{error}, or give --skip-bad-images to count it and go on") from error


def _submitted(
    setup: InferenceConfig,
    images: Dataset,
    batch: Batch,
    places: list[int],
    number: int,
    parts: BatchStore,
    pool: Executor,
    crew: BatchInference,
    clock: Clock,
) -> Future[None]:
    """Run the network over a batch, and hands what is left to do to the threads."""
    indices = [places[i] for i in batch.indices]
    facts: dict[str, Any] = {"skipped": [[places[i], reason] for i, reason in batch.skipped]}
    if not indices:
        facts |= {"clipped": 0, "passes": 0, "seconds": clock.lap()}
        return pool.submit(parts.write, number, StoredBatch({}, facts))
    samples, before = [images.samples[i] for i in indices], setup.model.network.passes
    facts["clipped"] = sum(map(count_clipped, samples, batch.frames))
    guesses = crew.predict(samples, batch.pixels, clock)
    facts |= {"passes": setup.model.network.passes - before, "seconds": clock.lap()}
    truths = [ground_truth_of(setup.protocol, *pair) for pair in zip(samples, batch.frames, strict=True)]
    own = guesses.maps[:, :1]
    drawn = [pool.submit(_drawn, setup.protocol, *each) for each in zip(own, truths, batch.pixels, strict=True)]
    arrays: dict[str, NDArray[Any]] = {"indices": np.array(indices), "frames": np.array(batch.frames), **vars(guesses)}
    # Threads take tasks in order, so these are under way when the next one waits for them.
    return pool.submit(_write, number, arrays, facts, drawn, parts)


def _drawn(
    protocol: Protocol, own: NDArray[np.float32], truth: GroundTruth, pixels: NDArray[np.uint8]
) -> tuple[ImageStats, bytes]:
    return truth.score_map_stats(
        protocol, protocol.prepare(protocol.view.assemble(own), truth.size)[0]
    ), encode_thumbnail(pixels)


def _write(
    number: int,
    arrays: dict[str, NDArray[Any]],
    facts: dict[str, Any],
    drawn: Sequence[Future[tuple[ImageStats, bytes]]],
    parts: BatchStore,
) -> None:
    traces, thumbs = zip(*(each.result() for each in drawn), strict=True)
    rows = {f"trace.{name}": array for name, array in stack_stats(traces).items()}
    pictures = {
        "thumbs": np.frombuffer(b"".join(thumbs), np.uint8),
        "thumb_ends": np.cumsum([len(each) for each in thumbs]),
    }
    parts.write(number, StoredBatch({**arrays, **rows, **pictures}, facts))
