"""What a network says of images: classes, best first, their probabilities, and the raw map of each."""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsol.datasets import Sample
from wsol.errors import InputError
from wsol.methods import Forward, Method, Precision, forward
from wsol.models import Model
from wsol.protocols import View
from wsol.runtime.cost import Clock


def forward_crops(
    model: Model, crops: Sequence[NDArray[np.uint8]], memory: int, precision: Precision = "float32"
) -> list[Forward]:
    """Run the network once over each crop of a batch.

    Args:
        model: The network and what its weights expect.
        crops: uint8 ``(n, side, side, 3)`` each, as ``View.crops`` cuts them.
        memory: Bytes that a method may use afterwards.
        precision: Of the layers below the target layer.
    """
    device = next(model.network.parameters()).device
    images = [model.preprocessing.normalize(crop, device) for crop in crops]
    return [forward(model.network, image, memory, precision) for image in images]


def rank_classes(model: Model, passed: Sequence[Forward], first: Tensor, top: int, where: str) -> tuple[Tensor, Tensor]:
    """Rank classes by their mean softmax probability over the crops.

    Args:
        model: The network.
        passed: Its passes over the crops of a batch.
        first: int64 ``(n, g)``, classes that stand before the predictions, such as the ground truth.
        top: Number of predictions.
        where: What the batch is, for the message.

    Returns:
        Classes int64 and probabilities float32 ``(n, g + top)``, on the network's device, with as many predictions as
        there are classes. Of a network that does not classify ``first`` alone, and NaN.

    Raises:
        InputError: Scores are not finite.
    """
    first = first.to(passed[0].images.device)
    if not model.classes:
        return first, torch.full(first.shape, math.nan)
    # The mean probability over the crops, as its logarithm: in double precision it keeps the order of logits.
    logs = torch.stack([one.logits.double().log_softmax(1) for one in passed]).logsumexp(0) - math.log(len(passed))
    if not bool(torch.isfinite(logs).all()):
        raise InputError(
            f"{model.name} gives scores that are not finite in {where}; check the weights ({model.weights})"
        )
    # Of equal scores the smaller class comes first, on every device; a ReLU behind the last layer makes such.
    order = logs.sort(descending=True, stable=True).indices
    classes = torch.cat([first, order[:, :top]], 1)
    return classes, logs.gather(1, classes).exp().float()


def score_maps(method: Method, passed: Sequence[Forward], classes: Tensor, where: str) -> NDArray[np.float32]:
    """Make the maps of some classes.

    Args:
        method: Makes them.
        passed: The passes over the crops of a batch.
        classes: int64 ``(n, k)``.
        where: What the batch is, for the message.

    Returns:
        float32 ``(n, k, h, w)``, or ``(n, k, crops, h, w)`` of several crops.

    Raises:
        InputError: Maps are not finite.
    """
    maps = torch.stack([method.maps(one, classes) for one in passed], 2)
    if not bool(torch.isfinite(maps).all()):
        raise InputError(f"{method.signature} gives maps that are not finite in {where}; check settings and weights")
    made: NDArray[np.float32] = maps.float().cpu().numpy()
    return made[:, :, 0] if len(passed) == 1 else made


TOP = 5  # predictions that are kept beside the ground-truth class
_IMAGES = 2  # in a pass of a thread: more leave the cache, one repeats too much
_THREADS = 16


@dataclass(frozen=True)
class BatchPredictions:
    """What a network says of some images; ``k`` classes an image: the ground truth's, then the predictions.

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

    On a CPU the sum inside a layer may be divided among torch's threads, and its bits then depend on how many there
    are. Here each thread computes a pair of images by itself, so that they do not, and it is faster. As many threads
    work as torch would take, which has one in each of them meanwhile. Elsewhere the batch is run as it is.

    A context.

    Args:
        model: The network and what its weights expect.
        method: Makes the score maps.
        view: What the network sees of an image.
        memory: Bytes that the method may use.
        precision: Of the layers below the target layer.
    """

    def __init__(self, model: Model, method: Method, view: View, memory: int, precision: Precision) -> None:
        self._model, self._method, self._view, self._precision = model, method, view, precision
        self._on_gpu = next(model.network.parameters()).device.type != "cpu"
        self._memory = memory if self._on_gpu else memory // _THREADS  # the same for any number of threads
        self._torch_threads = torch.get_num_threads()
        self._threads = min(_THREADS, self._torch_threads)

    def __enter__(self) -> "BatchInference":
        if not self._on_gpu:
            torch.set_num_threads(1)
        self._pool = ThreadPoolExecutor(self._threads)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._torch_threads)

    def predict(self, samples: Sequence[Sample], pixels: NDArray[np.uint8], clock: Clock) -> BatchPredictions:
        """Look at a batch.

        Args:
            samples: The images.
            pixels: uint8 ``(n, side, side, 3)``.
            clock: Gets the seconds of ``forward`` and ``maps``.

        Raises:
            InputError: Scores or maps are not finite.
        """
        where = f"the batch that begins with {samples[0].image_id}"
        labels = [sample.label for sample in samples]
        if self._on_gpu:
            found = [self._predict_chunk(labels, pixels, where)]
        else:
            starts = range(0, len(samples), _IMAGES)
            some = [(labels[i : i + _IMAGES], pixels[i : i + _IMAGES]) for i in starts]
            futures = [self._pool.submit(self._predict_chunk, *each, where) for each in some]
            found = [future.result() for future in futures]
        for station in ("forward", "maps"):
            seconds = sum(times[station] for _, times in found)
            clock.add({station: seconds / min(len(found), self._threads)})
        guesses = [each for each, _ in found]
        return BatchPredictions(
            np.concatenate([each.classes for each in guesses]),
            np.concatenate([each.scores for each in guesses]),
            np.concatenate([each.maps for each in guesses]),
        )

    def _predict_chunk(
        self, labels: list[int], pixels: NDArray[np.uint8], where: str
    ) -> tuple[BatchPredictions, dict[str, float]]:
        begin = time.perf_counter()
        passed = forward_crops(self._model, self._view.crops(pixels), self._memory, self._precision)
        classes, scores = rank_classes(self._model, passed, torch.tensor(labels)[:, None], TOP, where)
        known, chosen = classes.cpu().numpy(), scores.cpu().numpy()  # waits for a GPU
        between = time.perf_counter()
        maps = score_maps(self._method, passed, classes, where)
        return BatchPredictions(known, chosen, maps), {
            "forward": between - begin,
            "maps": time.perf_counter() - between,
        }
