"""The loop over the batches of a split: from image files to IoU curves, in one forward pass per image."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Batch, count_clipped, read_batches
from wsol.errors import ImageError, InputError
from wsol.evaluation.inference import BatchInference
from wsol.evaluation.plan import InferenceConfig, Plan, SplitPlan
from wsol.metrics.classification import ranks_of
from wsol.metrics.image_stats import ImageStats, stack_stats
from wsol.protocols import Protocol
from wsol.protocols.base import GroundTruth, ground_truth_of
from wsol.runs.batches import BATCHES, BatchStore, StoredBatch
from wsol.runs.thumbnails import encode_thumbnail
from wsol.runtime.cost import Clock
from wsol.runtime.distributed import ProcessGroup
from wsol.runtime.progress import Progress

_MAX_PENDING = 2  # batches whose boxes are computed while the next goes through the network


def run_batches(plan: Plan, split: SplitPlan, folder: Path, threads: int, group: ProcessGroup) -> None:
    """Run this process's share of the missing batches of a split; store each as soon as it is finished.

    Args:
        plan: The run.
        split: The split.
        folder: The run folder.
        threads: Threads that decode images and compute boxes.
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
            inference.model, inference.method, inference.protocol.view, inference.memory, inference.precision
        ) as network,
        ThreadPoolExecutor(threads) as pool,
    ):
        _BatchLoop(inference, split, store, network, pool).run(numbers, group)


class _BatchLoop:
    """Decodes, infers, computes boxes and stores, each stage working ahead of the next."""

    def __init__(
        self, config: InferenceConfig, split: SplitPlan, store: BatchStore, network: BatchInference, pool: Executor
    ) -> None:
        self._config, self._images, self._store = config, split.images, store
        self._network, self._pool, self._clock = network, pool, Clock()

    def run(self, numbers: Sequence[int], group: ProcessGroup) -> None:
        size, images, protocol = self._config.batch_size, self._images, self._config.protocol
        places = [i for number in numbers for i in range(number * size, min(len(images), (number + 1) * size))]
        samples = [images.samples[i] for i in places]
        batches = read_batches(samples, protocol.view.side, size, self._pool, self._config.skip_bad_images)
        pending: deque[Future[None]] = deque()
        try:
            with self._progress(len(places), group) as progress:
                for number in numbers:
                    batch = self._next_batch(batches)
                    pending.append(self._submit_batch(number, batch, places))
                    if len(pending) > _MAX_PENDING:
                        with self._clock("boxes"):
                            pending.popleft().result()
                    progress.update(len(batch.indices) + len(batch.skipped))
                    if group.size > 1 and self._store.stopped:
                        break
                for each in pending:
                    each.result()
        except BaseException:
            if group.size > 1:
                self._store.stop()
            raise

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

    def _submit_batch(self, number: int, batch: Batch, places: Sequence[int]) -> Future[None]:
        """Run the network over a batch, and hand the rest to the threads."""
        indices = [places[i] for i in batch.indices]
        facts: dict[str, Any] = {"skipped": [[places[i], reason] for i, reason in batch.skipped]}
        if not indices:
            facts |= {"clipped": 0, "passes": 0, "class_only_ranks": [], "seconds": self._clock.lap()}
            return self._pool.submit(self._store.write, number, StoredBatch({}, facts))
        samples, protocol = [self._images.samples[i] for i in indices], self._config.protocol
        counter, before = self._config.model.network, self._config.model.network.passes
        facts["clipped"] = sum(map(count_clipped, samples, batch.frames))
        predictions = self._network.predict(samples, batch.pixels, self._clock)
        facts |= {"passes": counter.passes - before, "seconds": self._clock.lap()}
        arrays = {"indices": np.array(indices), "frames": np.array(batch.frames), **vars(predictions)}
        localized = [i for i, sample in enumerate(samples) if not sample.class_only]
        others = [i for i, sample in enumerate(samples) if sample.class_only]
        ranks = ranks_of(predictions.classes)
        facts["class_only_ranks"] = [] if ranks is None else ranks[others].tolist()
        if others:
            arrays = {name: array[localized] for name, array in arrays.items()}
        if not localized:
            return self._pool.submit(self._store.write, number, StoredBatch({}, facts))
        truths = [ground_truth_of(protocol, samples[i], batch.frames[i]) for i in localized]
        images = [
            self._pool.submit(_score_image, protocol, *each)
            for each in zip(arrays["maps"][:, :1], truths, batch.pixels[localized], strict=True)
        ]
        # Threads take tasks in order, so the images are under way when the next task waits for them.
        return self._pool.submit(_store_batch, self._store, number, arrays, facts, images)


def _score_image(
    protocol: Protocol, own_map: NDArray[np.float32], truth: GroundTruth, pixels: NDArray[np.uint8]
) -> tuple[ImageStats, bytes]:
    prepared = protocol.prepare_view(protocol.view, own_map, truth.size)[0]
    return truth.score_map_stats(protocol, prepared), encode_thumbnail(pixels)


def _store_batch(
    store: BatchStore,
    number: int,
    arrays: dict[str, NDArray[Any]],
    facts: dict[str, Any],
    images: Sequence[Future[tuple[ImageStats, bytes]]],
) -> None:
    stats, thumbnails = zip(*(each.result() for each in images), strict=True)
    rows = {f"stats.{name}": array for name, array in stack_stats(stats).items()}
    pictures = {
        "thumbnails": np.frombuffer(b"".join(thumbnails), np.uint8),
        "thumbnail_ends": np.cumsum([len(each) for each in thumbnails]),
    }
    store.write(number, StoredBatch({**arrays, **rows, **pictures}, facts))
