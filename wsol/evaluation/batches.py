"""The loop over the batches of a split: from image files to IoU curves, in one forward pass per image."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsol.datasets import Batch, Mask, Sample, count_clipped, read_batches
from wsol.errors import ImageError, InputError
from wsol.evaluation.inference import BatchInference, PendingPredictions
from wsol.evaluation.plan import InferenceConfig, Plan, SplitPlan
from wsol.metrics.classification import ranks_of
from wsol.protocols import Protocol
from wsol.protocols.attributions import attributions
from wsol.protocols.base import GroundTruth, ground_truth_of
from wsol.runs.batches import BATCHES, BatchStore, StoredBatch
from wsol.runs.thumbnails import encode_thumbnail
from wsol.runtime.cost import Clock
from wsol.runtime.distributed import ProcessGroup
from wsol.runtime.progress import Progress

_MAX_PENDING = 2  # batches whose boxes are computed while the next goes through the network


def run_batches(
    plan: Plan, split: SplitPlan, folder: Path, tau_index: int | None, workers: int, group: ProcessGroup
) -> None:
    """Run this process's share of the missing batches of a split; store each as soon as it is finished.

    Args:
        plan: The run.
        split: The split.
        folder: The run folder.
        tau_index: Index of the threshold of the predictions; None if it is chosen on this split itself.
        workers: Number of worker processes that decode images, and of threads that compute boxes.
        group: The processes that share the split.

    Raises:
        InputError: Scores or maps are not finite, an image or box is unusable, or this process does not see the folder.
    """
    store = BatchStore(folder, split.name, split.batches)
    with group.sync_errors():  # missing batches are listed before any process writes
        if not (folder / BATCHES).is_dir():
            raise InputError(f"process {group.rank} does not see {folder}; give an --out that all machines see")
        numbers = group.share(store.missing())
    inference = plan.inference
    with (
        group.sync_errors(),
        BatchInference(
            inference.model,
            inference.method,
            inference.protocol.view,
            inference.memory,
            inference.precision,
            inference.class_map,
        ) as network,
        ThreadPoolExecutor(workers) as pool,
    ):
        BatchLoop(inference, split, tau_index, store, network, pool, workers).run(numbers, group)


class BatchLoop:
    """Decodes, infers, computes boxes and stores, each stage working ahead of the next.

    This thread feeds the device. Worker processes do what holds the interpreter lock; the threads of ``pool`` run
    compiled code that does not.

    Args:
        config: Settings of the forward pass and of the score maps.
        split: The split.
        tau_index: Index of the threshold of the predictions, if it is known.
        store: Keeps the finished batches.
        network: Runs network and method.
        pool: Threads for boxes.
        workers: Their number, and the number of worker processes.
    """

    def __init__(
        self,
        config: InferenceConfig,
        split: SplitPlan,
        tau_index: int | None,
        store: BatchStore,
        network: BatchInference,
        pool: Executor,
        workers: int,
    ) -> None:
        self._config, self._images, self._tau_index = config, split.images, tau_index
        self._store, self._network, self._pool, self._workers = store, network, pool, workers
        self._clock = Clock()

    def run(self, numbers: Sequence[int], group: ProcessGroup) -> None:
        """Run the batches with these numbers.

        Raises:
            InputError: As for ``run_batches``.
        """
        size, images, config = self._config.batch_size, self._images, self._config
        places = [i for number in numbers for i in range(number * size, min(len(images), (number + 1) * size))]
        samples = [images.samples[i] for i in places]
        examine = _Examination(config.protocol)
        side, skip_bad = config.protocol.view.side, config.skip_bad_images
        launched: deque[_LaunchedBatch] = deque()
        pending: deque[Future[None]] = deque()
        batches = read_batches(samples, side, size, self._workers, skip_bad, examine)
        try:
            with self._progress(len(places), group) as progress:
                try:
                    for number in numbers:
                        launched.append(self._launch(number, self._next_batch(batches), places))
                        if len(launched) > 1:  # the device computes one batch while this thread prepares another
                            pending.append(self._submit(launched.popleft(), progress))
                        if len(pending) > _MAX_PENDING:
                            with self._clock("boxes"):
                                pending.popleft().result()
                        if group.size > 1 and self._store.stopped:
                            break
                finally:  # what was begun is kept
                    pending.extend(self._submit(each, progress) for each in launched)
                for each in pending:
                    each.result()
        except BaseException:
            if group.size > 1:
                self._store.stop()
            raise
        finally:
            batches.close()

    def _progress(self, count: int, group: ProcessGroup) -> Progress:
        config, total = self._config, len(self._images)
        title = f"{self._images.name} {self._images.split}, {config.model.name}, {config.method.signature}"
        if group.size > 1:
            total, title = count, f"{title}, the first of {group.size} processes"
        return Progress(title, total, done=total - count, leave=True, shown=group.is_main)

    def _next_batch(self, batches: Iterator[Batch]) -> Batch:
        try:
            with self._clock("images"):
                return next(batches)
        except ImageError as error:
            raise ImageError(f"{error}, or give --skip-bad-images to count it and continue") from error

    def _launch(self, number: int, batch: Batch, places: Sequence[int]) -> "_LaunchedBatch":
        """Start to run the network over a batch."""
        samples = [self._images.samples[places[i]] for i in batch.indices]
        predictions = self._network.predict(samples, batch.pixels) if samples else None
        skipped = [(places[i], reason) for i, reason in batch.skipped]
        indices = np.array([places[i] for i in batch.indices])
        return _LaunchedBatch(number, indices, samples, batch.frames, batch.examined, skipped, predictions)

    def _submit(self, batch: "_LaunchedBatch", progress: Progress) -> Future[None]:
        """Wait for the predictions of a batch, and hand them to the threads."""
        examined, samples = batch.examined, batch.samples
        facts: dict[str, Any] = {"skipped": batch.skipped, "clipped": sum(each.clipped for each in examined)}
        predictions, facts["passes"] = batch.predictions.result(self._clock) if batch.predictions else (None, 0)
        facts["seconds"] = self._clock.lap()
        progress.update(len(samples) + len(batch.skipped))
        localized = [i for i, sample in enumerate(samples) if not sample.class_only]
        others = [i for i, sample in enumerate(samples) if sample.class_only]
        ranks = None if predictions is None else ranks_of(predictions.classes)
        facts["class_only_ranks"] = [] if ranks is None else ranks[others].tolist()
        if predictions is None or not localized:
            return self._pool.submit(self._store.write, batch.number, StoredBatch({}, facts))
        arrays = {"indices": batch.indices, "frames": np.array(batch.frames), **vars(predictions)}
        if others:
            arrays = {name: array[localized] for name, array in arrays.items()}
        kept = [examined[i] for i in localized]
        truths = [each.truth(samples[i], batch.frames[i]) for i, each in zip(localized, kept, strict=True)]
        arrays |= {
            "truths": np.concatenate([each.boxes for each in kept]),
            "truth_ends": np.cumsum([len(each.boxes) for each in kept]),
        }
        thumbnails = [each.thumbnail for each in kept]
        shares = np.array_split(np.arange(len(kept)), min(self._workers, len(kept)))
        chunks = [slice(int(share[0]), int(share[-1]) + 1) for share in shares]
        scored = [
            self._pool.submit(self._score, arrays["maps"][chunk], truths[chunk], arrays["classes"][chunk])
            for chunk in chunks
        ]
        # Threads take tasks in order, so the scores are under way when the next task waits for them.
        return self._pool.submit(_store_batch, self._store, batch.number, arrays, facts, thumbnails, scored)

    def _score(self, maps: NDArray[np.float32], truths: Sequence[GroundTruth], classes: NDArray[np.int64]) -> "_Scores":
        protocol = self._config.protocol
        rows, boxes = protocol.score_batch(protocol.view, maps, truths, classes, self._tau_index)
        if self._config.attribution:
            rows["attribution"] = attributions(protocol, protocol.view, maps[:, :1], truths)
        return rows, boxes


@dataclass(frozen=True)
class _LaunchedBatch:
    number: int
    indices: NDArray[np.int64]
    samples: list[Sample]
    frames: list[tuple[int, int]]
    examined: list["_Examined"]
    skipped: list[tuple[int, str]]
    predictions: PendingPredictions | None


@dataclass(frozen=True)
class _Examined:
    """Facts about an image that a worker process finds, besides its pixels.

    Attributes:
        boxes: Ground truth in the protocol's frame, ``(g, 4)``.
        clipped: Number of published boxes that leave the image by up to one pixel.
        thumbnail: JPEG file.
        mask: The pixel annotation, if the protocol uses it.
    """

    boxes: NDArray[np.float64]
    clipped: int
    thumbnail: bytes
    mask: "_PackedMask | None"

    def truth(self, sample: Sample, frame: tuple[int, int]) -> GroundTruth:
        """Return the ground truth of the image, whose mask is in memory."""
        return GroundTruth(replace(sample, mask=self.mask) if self.mask else sample, frame, self.boxes)


@dataclass(frozen=True)
class _Examination:
    """Examines an image in a worker process."""

    protocol: Protocol

    def __call__(self, sample: Sample, frame: tuple[int, int], image: Image.Image) -> _Examined:
        clipped = count_clipped(sample, frame)
        if sample.class_only:
            return _Examined(np.empty((0, 4)), clipped, b"", None)
        mask = sample.mask() if sample.mask and self.protocol.uses_masks else None
        packed = _PackedMask.pack(mask) if mask else None
        boxes = ground_truth_of(self.protocol, sample, frame).boxes
        return _Examined(boxes, clipped, encode_thumbnail(image), packed)


@dataclass(frozen=True)
class _PackedMask:
    """A mask in one bit per pixel, which another process sends; a ``mask`` of a sample."""

    foreground: NDArray[np.uint8]
    ignore: NDArray[np.uint8]
    shape: tuple[int, ...]

    @classmethod
    def pack(cls, mask: Mask) -> "_PackedMask":
        return cls(np.packbits(mask.foreground), np.packbits(mask.ignore), mask.foreground.shape)

    def __call__(self) -> Mask:
        count = self.shape[0] * self.shape[1]
        foreground, ignore = (
            np.unpackbits(bits, count=count).view(np.bool_).reshape(self.shape)
            for bits in (self.foreground, self.ignore)
        )
        return Mask(foreground, ignore)


_Scores = tuple[dict[str, NDArray[Any]], NDArray[np.float64] | None]


def _store_batch(
    store: BatchStore,
    number: int,
    arrays: dict[str, NDArray[Any]],
    facts: dict[str, Any],
    thumbnails: Sequence[bytes],
    scored: Sequence[Future[_Scores]],
) -> None:
    """Store a batch with the scores of its parts; statistics that a part lacks are dropped."""
    stats, boxes = zip(*(each.result() for each in scored), strict=True)
    names = [name for name in stats[0] if all(name in part for part in stats)]
    arrays |= {f"stats.{name}": np.concatenate([part[name] for part in stats]) for name in names}
    if boxes[0] is not None:
        arrays["predicted"] = np.concatenate(boxes)
    store.write(number, StoredBatch(arrays, facts), dict(zip(arrays["indices"].tolist(), thumbnails, strict=True)))
