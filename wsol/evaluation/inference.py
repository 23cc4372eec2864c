"""Inference: predicted classes, their probabilities, and raw score maps of batches of images."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsol.datasets import Sample
from wsol.errors import NotFiniteError
from wsol.methods import Forward, Method, forward
from wsol.models import Model
from wsol.models.base import upload
from wsol.models.class_map import ClassMap
from wsol.runtime.cost import Clock
from wsol.runtime.precision import Precision, arithmetic

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
        class_map: The outputs of the data set's classes; None if label ``i`` is output ``i``.
    """

    def __init__(
        self,
        model: Model,
        method: Method,
        view: "View",
        memory: int,
        precision: Precision,
        class_map: ClassMap | None = None,
    ) -> None:
        self._model, self._method, self._view, self._precision = model, method, view, precision
        self._device = model.network.device
        self._classes = None if class_map is None else ClassIndices(class_map, self._device)
        self._whole_batch = self._device.type != "cpu"
        self._memory = memory if self._whole_batch else memory // _MAX_THREADS  # the same for any number of threads
        self._torch_threads = torch.get_num_threads()
        self._threads = min(_MAX_THREADS, self._torch_threads)
        # Where all passes have one arithmetic, it is set once and not for each; threads would wait for another.
        self._arithmetic = contextlib.nullcontext() if precision == "tf32" else arithmetic("float32")

    def __enter__(self) -> "BatchInference":
        self._arithmetic.__enter__()
        if not self._whole_batch:
            torch.set_num_threads(1)
        self._pool = ThreadPoolExecutor(self._threads)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._torch_threads)
        self._arithmetic.__exit__(kind, error, trace)

    def predict(self, samples: Sequence[Sample], pixels: NDArray[np.uint8]) -> "PendingPredictions":
        """Start to predict classes and score maps of a batch; a GPU is not waited for.

        Args:
            samples: The images.
            pixels: uint8 ``(n, side, side, 3)``, which must not change until the predictions are there.
        """
        where = f"the batch that begins with {samples[0].image_id}"
        labels = torch.tensor([[sample.label] for sample in samples])
        if self._whole_batch:
            chunk = self._launch(labels, pixels)
            return PendingPredictions([lambda: chunk], 1, self._model, self._method, where)
        pieces = [slice(i, i + _IMAGES_PER_THREAD) for i in range(0, len(samples), _IMAGES_PER_THREAD)]
        futures = [self._pool.submit(self._launch, labels[piece], pixels[piece]) for piece in pieces]
        waits = [future.result for future in futures]
        return PendingPredictions(waits, self._threads, self._model, self._method, where)

    def _launch(self, labels: Tensor, pixels: NDArray[np.uint8]) -> "_Chunk":
        network, device = self._model.network, self._device
        before, times = network.passes_of_thread, [_now(device)]
        passes = forward_crops(self._model, self._view.crops(pixels), self._memory, self._precision)
        if self._classes is None:
            classes, scores, finite = rank_classes(self._model, passes, labels, TOP)
            outputs = classes
        else:
            classes, outputs, scores, finite = self._classes.rank(self._model, passes, labels)
        times.append(_now(device))
        maps = score_maps(self._method, passes, outputs)
        classes, scores, finite, maps = (_to_cpu(tensor) for tensor in (classes, scores, finite, maps))
        times.append(_now(device))
        return _Chunk(classes, scores, finite, maps, times, network.passes_of_thread - before)


class ClassIndices:
    """The way from labels to outputs of a network and back, on its device.

    Args:
        class_map: The outputs of the data set's classes.
        device: The device.
    """

    def __init__(self, class_map: ClassMap, device: torch.device) -> None:
        self._among_all = class_map.rank_among == "all"
        with torch.inference_mode(False):
            self._on_cpu = torch.tensor(class_map.outputs)
            self._outputs, self._labels = self._on_cpu.to(device), torch.tensor(class_map.labels(), device=device)

    def rank(self, model: Model, passes: Sequence[Forward], labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rank classes as ``rank_classes`` does; return class ids, the outputs that they are, and what it returns."""
        if self._among_all:
            outputs, scores, finite = rank_classes(model, passes, self._on_cpu[labels], TOP)
            return self._labels[outputs], outputs, scores, finite
        classes, scores, finite = rank_classes(model, passes, labels, TOP, self._outputs)
        return classes, self._outputs[classes], scores, finite


@dataclass(frozen=True)
class _Chunk:
    """Predictions of a part of a batch, which a GPU may still be computing.

    Attributes:
        classes: As in ``BatchPredictions``, and so are ``scores`` and ``maps``; in CPU memory.
        finite: bool, whether all class scores are finite.
        times: Begin, end of the ranking, end of the maps.
        passes: Number of images that have passed through the network.
    """

    classes: Tensor
    scores: Tensor
    finite: Tensor
    maps: Tensor
    times: list[Any]
    passes: int


class PendingPredictions:
    """Predictions of a batch that are being computed.

    Args:
        waits: Return the parts of the batch once the device has been told what to compute.
        threads: Number of threads that compute the parts.
        model: The model.
        method: The method.
        where: Name of the batch, for messages.
    """

    def __init__(
        self, waits: Sequence[Callable[[], _Chunk]], threads: int, model: Model, method: Method, where: str
    ) -> None:
        self._waits, self._threads = waits, threads
        self._model, self._method, self._where = model, method, where

    def result(self, clock: Clock) -> tuple[BatchPredictions, int]:
        """Wait for the predictions; return them and the number of images that have passed through the network.

        Args:
            clock: Gets the seconds of the stages ``forward`` and ``maps``.

        Raises:
            NotFiniteError: Scores or maps are not finite.
        """
        chunks = [wait() for wait in self._waits]
        for stage, place in (("forward", 0), ("maps", 1)):
            seconds = sum(_seconds_between(*chunk.times[place : place + 2]) for chunk in chunks)
            clock.add({stage: seconds / min(len(chunks), self._threads)})
        check_scores(self._model, all(bool(chunk.finite) for chunk in chunks), self._where)
        classes, scores, maps = (
            np.concatenate([getattr(chunk, name).numpy() for chunk in chunks]) for name in ("classes", "scores", "maps")
        )
        check_maps(self._method, maps, self._where)
        return BatchPredictions(classes, scores, maps), sum(chunk.passes for chunk in chunks)


def _now(device: torch.device) -> Any:
    """Return the time, on a GPU as an event of its stream."""
    if device.type != "cuda":
        return time.perf_counter()
    event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's stub lacks types
    event.record(torch.cuda.current_stream(device))
    return event


def _seconds_between(start: Any, end: Any) -> float:
    """Return the seconds between two times; wait for the second one."""
    if isinstance(end, float):
        return end - float(start)
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


def _to_cpu(tensor: Tensor) -> Tensor:
    """Copy a tensor to CPU memory; from a GPU without waiting, into pinned memory."""
    return tensor.to("cpu", non_blocking=tensor.is_cuda)


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


def rank_classes(
    model: Model, passes: Sequence[Forward], first: Tensor, top: int, outputs: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Rank classes by their mean softmax probability over the crops; nothing waits for the device.

    Args:
        model: The network.
        passes: Its forward passes over the crops of a batch.
        first: int64 ``(n, g)``, classes that come before the predictions, such as the ground truth.
        top: Number of predictions.
        outputs: int64 ``(c,)`` on the network's device, the outputs that take part, as if there were no others; classes
            are then indices of it. None for all.

    Returns:
        Classes int64 and probabilities float32 ``(n, g + top)``, with at most as many predictions as there are classes,
        and whether all scores are finite, a bool, see ``check_scores``; all on the network's device. For a network that
        does not classify, ``first`` alone, and NaN.
    """
    first = upload(first, passes[0].images.device)
    if not model.classes:
        return first, torch.full_like(first, math.nan, dtype=torch.float32), torch.ones((), dtype=torch.bool)
    # The mean probability over the crops, as its logarithm: in double precision it keeps the order of logits.
    logits = [one.logits if outputs is None else one.logits[:, outputs] for one in passes]
    logs = logits[0].double().log_softmax(1)
    if len(passes) > 1:
        others = [each.double().log_softmax(1) for each in logits[1:]]
        logs = torch.stack([logs, *others]).logsumexp(0) - math.log(len(passes))
    # Ties go to the smaller class index, on every device; a ReLU behind the last layer makes ties.
    order = logs.sort(descending=True, stable=True).indices
    classes = torch.cat([first, order[:, :top]], 1)
    return classes, logs.gather(1, classes).exp().float(), torch.isfinite(logs).all()


def check_scores(model: Model, finite: bool, where: str) -> None:
    """Raise NotFiniteError if the class scores of the batch ``where`` are not finite."""
    if not finite:
        raise NotFiniteError(
            f"{model.name} gives scores that are not finite in {where}; check the weights ({model.weights})"
        )


def score_maps(method: Method, passes: Sequence[Forward], classes: Tensor) -> Tensor:
    """Compute the raw score maps of some classes.

    Args:
        method: The method.
        passes: The forward passes over the crops of a batch.
        classes: int64 ``(n, k)``.

    Returns:
        float32 ``(n, k, h, w)``, or ``(n, k, crops, h, w)`` for several crops, on the device of the passes.
    """
    maps = [method.maps(one, classes) for one in passes]
    return (maps[0] if len(maps) == 1 else torch.stack(maps, 2)).float()


def check_maps(method: Method, maps: NDArray[np.float32], where: str) -> None:
    """Raise NotFiniteError if the maps of the batch ``where`` are not finite."""
    if not np.isfinite(maps).all():
        raise NotFiniteError(
            f"{method.signature} gives maps that are not finite in {where}; check settings and weights"
        )
