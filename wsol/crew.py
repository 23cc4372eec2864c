"""Networks on a CPU: a few images at a time in each of several threads."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray

from wsol._clock import Clock
from wsol.cams import Method, Precision
from wsol.datasets import Sample
from wsol.localize import passes, ranked, raw_maps
from wsol.models import Model
from wsol.protocols import View

TOP = 5  # predictions that are kept beside the ground-truth class
_IMAGES = 2  # in a pass of a thread: more leave the cache, one repeats too much
_THREADS = 16


@dataclass(frozen=True)
class Guesses:
    """What a network says of some images; ``k`` classes an image: the ground truth's, then the predictions.

    Attributes:
        classes: int64 ``(n, k)``.
        scores: float32 ``(n, k)``, softmax probabilities.
        maps: float32 ``(n, k, h, w)`` or ``(n, k, crops, h, w)``, raw.
    """

    classes: NDArray[np.int64]
    scores: NDArray[np.float32]
    maps: NDArray[np.float32]


class Crew:
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
        self._alone = next(model.network.parameters()).device.type != "cpu"
        self._memory = memory if self._alone else memory // _THREADS  # the same for any number of threads
        self._torch_threads = torch.get_num_threads()
        self._threads = min(_THREADS, self._torch_threads)

    def __enter__(self) -> "Crew":
        if not self._alone:
            torch.set_num_threads(1)
        self._pool = ThreadPoolExecutor(self._threads)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._torch_threads)

    def guess(self, samples: Sequence[Sample], pixels: NDArray[np.uint8], clock: Clock) -> Guesses:
        """Looks at a batch.

        Args:
            samples: The images.
            pixels: uint8 ``(n, side, side, 3)``.
            clock: Gets the seconds of ``forward`` and ``maps``.

        Raises:
            InputError: Scores or maps are not finite.
        """
        where = f"the batch that begins with {samples[0].image_id}"
        labels = [sample.label for sample in samples]
        if self._alone:
            found = [self._some(labels, pixels, where)]
        else:
            starts = range(0, len(samples), _IMAGES)
            some = [(labels[i : i + _IMAGES], pixels[i : i + _IMAGES]) for i in starts]
            futures = [self._pool.submit(self._some, *each, where) for each in some]
            found = [future.result() for future in futures]
        for station in ("forward", "maps"):
            seconds = sum(times[station] for _, times in found)
            clock.add({station: seconds / min(len(found), self._threads)})
        guesses = [each for each, _ in found]
        return Guesses(
            np.concatenate([each.classes for each in guesses]),
            np.concatenate([each.scores for each in guesses]),
            np.concatenate([each.maps for each in guesses]),
        )

    def _some(self, labels: list[int], pixels: NDArray[np.uint8], where: str) -> tuple[Guesses, dict[str, float]]:
        begin = time.perf_counter()
        passed = passes(self._model, self._view.crops(pixels), self._memory, self._precision)
        classes, scores = ranked(self._model, passed, torch.tensor(labels)[:, None], TOP, where)
        known, chosen = classes.cpu().numpy(), scores.cpu().numpy()  # waits for a GPU
        between = time.perf_counter()
        maps = raw_maps(self._method, passed, classes, where)
        return Guesses(known, chosen, maps), {"forward": between - begin, "maps": time.perf_counter() - between}
