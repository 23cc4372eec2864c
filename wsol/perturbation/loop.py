"""The loop of a measurement: every image through the network once for its map, then under all perturbations."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsol.boxes.resize import linear_taps, resize_and_normalize
from wsol.datasets import Dataset, Sample, read_batches
from wsol.errors import ImageError
from wsol.evaluation.inference import ClassIndices, check_maps, check_scores, forward_crops, rank_classes, score_maps
from wsol.evaluation.plan import InferenceConfig
from wsol.perturbation.imputation import impute_all
from wsol.perturbation.result import ImageResult
from wsol.perturbation.scores import rank_pixels, score_image
from wsol.perturbation.settings import Settings
from wsol.perturbation.stored import StoredMaps
from wsol.runtime.precision import arithmetic
from wsol.runtime.progress import Progress

_CPU_BATCH = 8  # images; more leave the cache
_CPU_SHARE = 16  # of the memory budget, which each thread gets, whatever their number


@dataclass(frozen=True)
class _Target:
    """An image and the class that is measured.

    Attributes:
        sample: The image and its annotation.
        image: Normalized, ``(3, H, W)``.
        class_id: The class of the data set, or for an output that is none of them, their number plus its index.
        column: Its index among the outputs that take part.
        score_map: ``(H, W)`` in [0, 1]; zeros where the map is constant.
    """

    sample: Sample
    image: Tensor
    class_id: int
    column: int
    score_map: NDArray[np.float32]


class Measurement:
    """Measures images: on a CPU each in a thread of its own, on other devices one after the other.

    On a CPU no bit depends on the number of threads or the batch size, as in ``BatchInference``.

    Args:
        inference: Network, method and data.
        settings: What is measured.
        stored: Maps of a run to use instead of the method; None without a run.
        workers: Number of threads.
    """

    def __init__(self, inference: InferenceConfig, settings: Settings, stored: StoredMaps | None, workers: int) -> None:
        self._inference, self._settings, self._stored, self._workers = inference, settings, stored, workers
        self._model, class_map = inference.model, inference.class_map
        device = self._model.network.device
        self._on_cpu = _is_cpu(device)
        self._indices = None if class_map is None else ClassIndices(class_map, device)
        self._outputs: Tensor | None = None
        if class_map is not None and class_map.rank_among == "dataset":
            self._outputs = torch.tensor(class_map.outputs, device=device)

    def run(self, images: Dataset) -> tuple[list[ImageResult], dict[str, str]]:
        """Return the results of the images in order, and the reasons why others were skipped.

        Raises:
            InputError: Scores or maps are not finite, an image is unreadable, or a stored map is of another class.
        """
        inference, samples = self._inference, images.samples
        title = f"{images.name} {images.split}, {self._model.name}, {inference.method.signature}, perturbed"
        side, size, skip_bad = inference.protocol.view.side, inference.batch_size, inference.skip_bad_images
        batches = read_batches(samples, side, size, self._workers, skip_bad)
        rows: list[ImageResult] = []
        skipped: dict[str, str] = {}
        with (
            arithmetic("float32"),
            _one_torch_thread(self._on_cpu),
            ThreadPoolExecutor(self._workers) as pool,
            Progress(title, len(images), leave=True) as progress,
        ):
            try:
                for batch in batches:
                    skipped |= {samples[i].image_id: reason for i, reason in batch.skipped}
                    progress.update(len(batch.skipped))
                    for result in self._start(pool, [samples[i] for i in batch.indices], batch.pixels):
                        rows.append(result())
                        progress.update()
            except ImageError as error:
                raise ImageError(f"{error}, or give --skip-bad-images to count it and continue") from error
            finally:
                batches.close()
        return rows, skipped

    def _start(
        self, pool: ThreadPoolExecutor, samples: Sequence[Sample], pixels: NDArray[np.uint8]
    ) -> list[Callable[[], ImageResult]]:
        """Start a batch; return functions that compute the result of each image, or wait for it."""
        step = 1 if self._on_cpu else max(1, len(samples))
        parts = [slice(i, i + step) for i in range(0, len(samples), step)]
        found = [pool.submit(self._look, samples[part], pixels[part]) for part in parts]
        targets = [target for future in found for target in future.result()]
        imputations: list[Callable[[], NDArray[np.float32]]] = [_nothing] * len(targets)
        if "road" in self._settings.parts:  # threads take tasks in order, so these begin before those that need them
            std, seed = self._model.preprocessing.std, self._settings.seed
            imputations = [
                pool.submit(
                    impute_all, each.image.cpu().numpy(), rank_pixels(each.score_map), std, each.sample.image_id, seed
                ).result
                for each in targets
            ]
        scores = [partial(self._score, *pair) for pair in zip(targets, imputations, strict=True)]
        return [pool.submit(score).result for score in scores] if self._on_cpu else [*scores]

    def _look(self, samples: Sequence[Sample], pixels: NDArray[np.uint8]) -> list[_Target]:
        """Run the network once, choose the class of each image, and prepare its map."""
        model, inference, where = self._model, self._inference, f"the batch that begins with {samples[0].image_id}"
        memory = inference.memory // (_CPU_SHARE if self._on_cpu else 1)
        passes = forward_crops(model, [pixels], memory)
        labels = torch.tensor([[sample.label] for sample in samples])
        if self._indices is None:
            classes, _, finite = rank_classes(model, passes, labels, 1)
            outputs = classes
        else:
            classes, outputs, _, finite = self._indices.rank(model, passes, labels)
        check_scores(model, bool(finite), where)
        place = 0 if self._settings.target == "truth" else 1
        chosen, outputs = classes[:, place].tolist(), outputs[:, [place]]
        if self._stored is None:
            maps = score_maps(inference.method, passes, outputs).cpu().numpy()[:, 0]
            check_maps(inference.method, maps, where)
        else:
            maps = np.stack(
                [
                    self._stored.map_of(sample.image_id, place, label)
                    for sample, label in zip(samples, chosen, strict=True)
                ]
            )
        columns = chosen if self._outputs is not None else outputs[:, 0].tolist()
        prepared = resize_and_normalize(maps, pixels.shape[1:3], linear_taps)
        images = passes[0].images
        return [_Target(*each) for each in zip(samples, images, chosen, columns, prepared, strict=True)]

    def _score(self, target: _Target, imputed: Callable[[], NDArray[np.float32]]) -> ImageResult:
        network = self._model.network

        def probability(images: Tensor) -> Tensor:
            with torch.inference_mode(False), torch.no_grad():
                logits: Tensor = network(images)
            taking_part = logits if self._outputs is None else logits[:, self._outputs]
            return taking_part.double().softmax(1)[:, target.column]

        at_once = _CPU_BATCH if self._on_cpu else self._inference.batch_size
        parts, steps = [*self._settings.parts], self._settings.steps
        scores = score_image(probability, target.image, target.score_map, parts, steps, imputed, at_once)
        is_constant = not target.score_map.any()
        return ImageResult(target.sample.image_id, target.sample.label, target.class_id, is_constant, scores)


def _is_cpu(device: torch.device) -> bool:
    return device.type == "cpu"


def _nothing() -> NDArray[np.float32]:
    return np.empty((0, 0, 0, 0), np.float32)


@contextmanager
def _one_torch_thread(needed: bool) -> Iterator[None]:
    """Let torch use one thread in each of this process's own, where the network runs on the CPU."""
    before = torch.get_num_threads()
    if needed:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
