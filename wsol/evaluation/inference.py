"""Inference: predicted classes, their probabilities, and raw score maps of batches of images."""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsol.datasets import Sample
from wsol.errors import InputError
from wsol.methods import Forward, Method, Precision, forward
from wsol.models import Model
from wsol.runtime.cost import Clock

if TYPE_CHECKING:  # protocols import Numba, which takes a second that wsol.explain need not wait for
    from wsol.protocols import View

TOP = 5  # predictions that are kept in addition to the ground-truth class
_IMAGES_PER_THREAD = 2  # more leave the cache, one repeats too much
_MAX_THREADS = 16


@dataclass(frozen=True)
class BatchPredictions:
    """Predictions for some images; ``k`` classes per image: the ground truth's, then the predicted ones.

    Attributes:
        classes: int64 ``(n, k)``.
        scores: float32 ``(n, k)``, softmax probabilities.
        maps: float32 ``(n, k, h, w)`` or ``(n, k, crops, h, w)``, raw.
    """

    classes: NDArray[np.int64]
    scores: NDArray[np.float32]
    maps: NDArray[np.float32]


class BatchInference:
    """Runs a network and a method over batches.

    On a CPU, torch may divide the sum inside a layer among its threads, and its bits then depend on their number. Here
    each thread computes two images by itself, so that they do not, which is also faster. There are as many threads as
    torch would use; inside each, torch uses one. On other devices the batch is run as it is.

    A context.

    Args:
        model: The network and its preprocessing.
        method: Makes the score maps.
        view: What the network sees of an image.
        memory: Memory budget of the method in bytes.
        precision: Precision of the layers up to the target layer.
    """

    def __init__(self, model: Model, method: Method, view: "View", memory: int, precision: Precision) -> None:
        self._model, self._method, self._view, self._precision = model, method, view, precision
        self._whole_batch = model.network.device.type != "cpu"
        self._memory = memory if self._whole_batch else memory // _MAX_THREADS  # the same for any number of threads
        self._torch_threads = torch.get_num_threads()
        self._threads = min(_MAX_THREADS, self._torch_threads)

    def __enter__(self) -> "BatchInference":
        if not self._whole_batch:
            torch.set_num_threads(1)
        self._pool = ThreadPoolExecutor(self._threads)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._torch_threads)

    def predict(self, samples: Sequence[Sample], pixels: NDArray[np.uint8], clock: Clock) -> BatchPredictions:
        """Predict classes and score maps of a batch.

        Args:
            samples: The images.
            pixels: uint8 ``(n, side, side, 3)``.
            clock: Gets the seconds of the stages ``forward`` and ``maps``.

        Raises:
            InputError: Scores or maps are not finite.
        """
        where = f"the batch that begins with {samples[0].image_id}"
        labels = [sample.label for sample in samples]
        if self._whole_batch:
            results = [self._predict_chunk(labels, pixels, where)]
        else:
            starts = range(0, len(samples), _IMAGES_PER_THREAD)
            chunks = [(labels[i : i + _IMAGES_PER_THREAD], pixels[i : i + _IMAGES_PER_THREAD]) for i in starts]
            futures = [self._pool.submit(self._predict_chunk, *chunk, where) for chunk in chunks]
            results = [future.result() for future in futures]
        for stage in ("forward", "maps"):
            seconds = sum(times[stage] for _, times in results)
            clock.add({stage: seconds / min(len(results), self._threads)})
        predictions = [each for each, _ in results]
        return BatchPredictions(
            np.concatenate([each.classes for each in predictions]),
            np.concatenate([each.scores for each in predictions]),
            np.concatenate([each.maps for each in predictions]),
        )

    def _predict_chunk(
        self, labels: list[int], pixels: NDArray[np.uint8], where: str
    ) -> tuple[BatchPredictions, dict[str, float]]:
        start = time.perf_counter()
        passes = forward_crops(self._model, self._view.crops(pixels), self._memory, self._precision)
        classes, scores = rank_classes(self._model, passes, torch.tensor(labels)[:, None], TOP, where)
        class_array, score_array = classes.cpu().numpy(), scores.cpu().numpy()  # waits for a GPU
        middle = time.perf_counter()
        maps = score_maps(self._method, passes, classes, where)
        seconds = {"forward": middle - start, "maps": time.perf_counter() - middle}
        return BatchPredictions(class_array, score_array, maps), seconds


def forward_crops(
    model: Model, crops: Sequence[NDArray[np.uint8]], memory: int, precision: Precision = "float32"
) -> list[Forward]:
    """Run the network once over each crop of a batch.

    Args:
        model: The network and its preprocessing.
        crops: One uint8 array ``(n, side, side, 3)`` per crop, as ``View.crops`` returns them.
        memory: Bytes that a method may use afterwards.
        precision: Precision of the layers up to the target layer.
    """
    device = model.network.device
    images = [model.preprocessing.normalize(crop, device) for crop in crops]
    passes = [forward(model.network, image, memory, precision) for image in images]
    return [replace(each, classes_checked=True) for each in passes]


def rank_classes(model: Model, passes: Sequence[Forward], first: Tensor, top: int, where: str) -> tuple[Tensor, Tensor]:
    """Rank classes by their mean softmax probability over the crops.

    Args:
        model: The network.
        passes: Its forward passes over the crops of a batch.
        first: int64 ``(n, g)``, classes that come before the predictions, such as the ground truth.
        top: Number of predictions.
        where: Name of the batch, for the message.

    Returns:
        Classes int64 and probabilities float32 ``(n, g + top)``, on the network's device, with at most as many
        predictions as there are classes. For a network that does not classify, ``first`` alone, and NaN.

    Raises:
        InputError: Scores are not finite.
    """
    first = first.to(passes[0].images.device)
    if not model.classes:
        return first, torch.full(first.shape, math.nan)
    # The mean probability over the crops, as its logarithm: in double precision it keeps the order of logits.
    logs = torch.stack([one.logits.double().log_softmax(1) for one in passes]).logsumexp(0) - math.log(len(passes))
    if not bool(torch.isfinite(logs).all()):
        raise InputError(
            f"{model.name} gives scores that are not finite in {where}; check the weights ({model.weights})"
        )
    # Ties go to the smaller class index, on every device; a ReLU behind the last layer makes ties.
    order = logs.sort(descending=True, stable=True).indices
    classes = torch.cat([first, order[:, :top]], 1)
    return classes, logs.gather(1, classes).exp().float()


def score_maps(method: Method, passes: Sequence[Forward], classes: Tensor, where: str) -> NDArray[np.float32]:
    """Compute the raw score maps of some classes.

    Args:
        method: The method.
        passes: The forward passes over the crops of a batch.
        classes: int64 ``(n, k)``.
        where: Name of the batch, for the message.

    Returns:
        float32 ``(n, k, h, w)``, or ``(n, k, crops, h, w)`` for several crops.

    Raises:
        InputError: Maps are not finite.
    """
    maps = torch.stack([method.maps(one, classes) for one in passes], 2)
    if not bool(torch.isfinite(maps).all()):
        raise InputError(f"{method.signature} gives maps that are not finite in {where}; check settings and weights")
    array: NDArray[np.float32] = maps.float().cpu().numpy()
    return array[:, :, 0] if len(passes) == 1 else array
