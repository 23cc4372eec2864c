"""The class probability of an image under its perturbations, on the device of the network."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn import functional

_BLUR_SIDE, _BLUR_SIGMA = 11, 5  # of RISE's published program

Probability = Callable[[Tensor], Tensor]
"""Returns the probability ``(m,)`` of the class in normalized images ``(m, 3, H, W)``."""


@dataclass(frozen=True)
class ImageScores:
    """Probabilities of the class of an image; float64.

    Attributes:
        original: Of the image itself.
        masked: Of the normalized image times the map.
        deletion: ``(steps + 1,)``, from the image to none of it.
        insertion: ``(steps + 1,)``, from the blurred image to the image.
        road: ``(2, percentiles)``, most relevant first and least relevant first.
    """

    original: float
    masked: float | None = None
    deletion: NDArray[np.float64] | None = None
    insertion: NDArray[np.float64] | None = None
    road: NDArray[np.float64] | None = None


def rank_pixels(score_map: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the place of each pixel in descending order, int64 ``(h, w)``; equal ones in raster order."""
    order = np.argsort(-score_map, axis=None, kind="stable")
    ranks = np.empty(order.shape, np.int64)
    ranks[order] = np.arange(len(order))
    return ranks.reshape(score_map.shape)


def step_counts(pixels: int, steps: int) -> NDArray[np.int64]:
    """Return the number of changed pixels after each step, int64 ``(steps + 1,)``, from 0 to all."""
    return np.arange(steps + 1) * pixels // steps


def score_image(
    probability: Probability,
    image: Tensor,
    score_map: NDArray[np.float32],
    parts: Sequence[str],
    steps: int,
    imputed: Callable[[], NDArray[np.float32]],
    at_once: int,
) -> ImageScores:
    """Run the network over the perturbations of an image.

    Args:
        probability: The network's probability of the class.
        image: Normalized image ``(3, H, W)``.
        score_map: ``(H, W)`` in [0, 1].
        parts: Some of ``wsol.perturbation.settings.PARTS``.
        steps: Number of steps of deletion and insertion.
        imputed: Returns the images of ``impute_all``.
        at_once: Images that run at once.
    """
    device = image.device
    ranks = torch.from_numpy(rank_pixels(score_map)).to(device)
    counts = torch.from_numpy(step_counts(ranks.numel(), steps)).to(device)

    def run(images: Iterator[Tensor]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = torch.cat([probability(piece) for piece in images]).cpu().numpy()
        return found

    def mix(first: Tensor, then: Tensor, counts: Tensor) -> Iterator[Tensor]:
        """Yield images that have the pixels of highest rank from ``then``, the others from ``first``."""
        for piece in torch.split(counts, at_once):
            yield torch.where((ranks < piece[:, None, None])[:, None], then, first)

    masked, road, deletion, insertion = None, None, None, None
    # Copied, as the strides of a batch that is a view of one image may be rounded differently.
    batch = image[None].clone(memory_format=torch.channels_last)
    original = float(run(iter([batch]))[0])
    if "drop" in parts:
        masked = float(run(iter([batch * torch.from_numpy(score_map).to(device)]))[0])
    if "deletion" in parts:
        deletion = np.append(original, run(mix(image, torch.zeros_like(image), counts[1:])))
    if "insertion" in parts:
        insertion = np.append(run(mix(blur(image), image, counts[:-1])), original)
    if "road" in parts:
        road = run(iter(torch.split(torch.from_numpy(imputed()).to(device), at_once))).reshape(2, -1)
    return ImageScores(original, masked, deletion, insertion, road)


def blur(image: Tensor) -> Tensor:
    """Blur an image ``(3, H, W)`` as RISE's program does, by a kernel of 11 x 11 pixels; outside it is zero."""
    kernel = _blur_kernel().to(image)
    blurred: Tensor = functional.conv2d(image[:, None], kernel[None, None], padding=_BLUR_SIDE // 2)[:, 0]
    return blurred


@cache
def _blur_kernel() -> Tensor:
    """Return the kernel, which is an impulse in 11 x 11 pixels after a Gaussian filter that mirrors at their border."""
    impulse = np.zeros(_BLUR_SIDE)
    impulse[_BLUR_SIDE // 2] = 1
    row = gaussian_filter1d(impulse, _BLUR_SIGMA)
    with torch.inference_mode(False):
        return torch.from_numpy(np.outer(row, row).astype(np.float32))


def area_under(curve: NDArray[np.float64]) -> float:
    """Return the area under a curve at evenly spaced places of [0, 1], by the trapezoid rule."""
    return float((curve[1:] + curve[:-1]).mean() / 2)


def summarize_image(scores: ImageScores) -> dict[str, float]:
    """Return the metrics of one image, as fractions.

    ``deletion`` and ``insertion`` are areas under the curves (Petsiuk et al., "RISE", BMVC 2018).
    ``average_drop`` is ``max(0, p - p') / p`` and ``increase`` whether ``p' > p``, with the probability p of the image
    and p' of the image times the map (Chattopadhay et al., "Grad-CAM++", WACV 2018). ``road`` is the mean
    over percentiles of ``(LeRF - MoRF) / 2``, the probabilities after the least and the most relevant pixels were
    imputed (Rong et al., ICML 2022, as pytorch-grad-cam combines them).
    """
    out: dict[str, float] = {}
    if scores.deletion is not None:
        out["deletion"] = area_under(scores.deletion)
    if scores.insertion is not None:
        out["insertion"] = area_under(scores.insertion)
    if scores.masked is not None:
        lost = max(0.0, scores.original - scores.masked)
        out["average_drop"] = lost / scores.original if lost else 0.0
        out["increase"] = float(scores.masked > scores.original)
    if scores.road is not None:
        most_first, least_first = scores.road.mean(1)
        out["road"] = float(least_first - most_first) / 2
    return out
