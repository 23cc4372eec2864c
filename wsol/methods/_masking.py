"""Class scores of images of which parts are hidden."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from wsol.methods._memory import max_batch_size
from wsol.methods.base import Forward
from wsol.methods.cam import weighted_sum


def score_masked(forward: Forward, image: int, masks: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Run one image under many masks, as many at once as the memory allows.

    Args:
        forward: Names the network, the images and the budget.
        image: Which of the images.
        masks: Each ``(H, W)``, made when it is needed.

    Yields:
        Masks ``(m, 1, H, W)`` and the scores of all classes under each, ``(m, classes)``.
    """
    size = max_batch_size(forward, gradients=False)
    waiting: list[Tensor] = []

    def run() -> tuple[Tensor, Tensor]:
        stacked = torch.stack(waiting)[:, None]
        waiting.clear()
        return stacked, forward.scores(forward.images[image] * stacked)

    for mask in masks:
        waiting.append(mask)
        if len(waiting) == size:
            yield run()
    if waiting:
        yield run()


def channel_masks(forward: Forward, image: int) -> Iterator[Tensor]:
    """Yield each feature map of an image as a mask ``(H, W)``: min-max normalised, then resized (bilinear)."""
    features = forward.features[image]
    low, high = features.amin((1, 2), keepdim=True), features.amax((1, 2), keepdim=True)
    span = high - low
    for scaled in torch.split((features - low) / span.masked_fill(span == 0, 1), 16):
        yield from functional.interpolate(
            scaled[None], size=forward.images.shape[2:], mode="bilinear", align_corners=False
        )[0]


def weigh_by_score(
    forward: Forward, classes: Tensor, masks: Callable[[int], Iterable[Tensor]], rounds: int = 1
) -> Tensor:
    """Weigh feature maps by the class score that each of them as a mask leaves, softmax over the maps.

    Args:
        forward: The forward pass.
        classes: int64 ``(n, k)``.
        masks: Gives those of an image: all of the maps in order, ``rounds`` times; scores are averaged over rounds.
        rounds: How often.

    Returns:
        ``relu(sum_k w_k A_k)``, ``(n, k, h, w)``.
    """
    weights = []
    with torch.no_grad():
        for image, chosen in enumerate(classes):
            scores = torch.cat([found[:, chosen] for _, found in score_masked(forward, image, masks(image))])
            weights.append(scores.reshape(rounds, -1, len(chosen)).mean(0).softmax(0).T)
        return weighted_sum(torch.stack(weights), forward.features).relu()
