"""Class scores of partly masked images."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from wsol.methods._forward import Forward
from wsol.methods._memory import max_batch_size
from wsol.methods._scale import scale_to_one


def score_masked(forward: Forward, image: int, masks: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Run one image under many masks, as many at once as the memory budget allows.

    Args:
        forward: The forward pass.
        image: Index of the image.
        masks: Masks ``(H, W)``, consumed one by one.

    Yields:
        Masks ``(m, 1, H, W)`` and the scores of all classes under each, ``(m, classes)``.
    """
    size = max_batch_size(forward, gradients=False)
    pending: list[Tensor] = []

    def run() -> tuple[Tensor, Tensor]:
        batch = torch.stack(pending)[:, None]
        pending.clear()
        return batch, forward.scores(forward.images[image] * batch)

    for mask in masks:
        pending.append(mask)
        if len(pending) == size:
            yield run()
    if pending:
        yield run()


def make_channel_masks(forward: Forward, image: int) -> Iterator[Tensor]:
    """Yield each feature map of an image as a mask ``(H, W)``: min-max normalized, then resized (bilinear)."""
    for channels in torch.split(scale_to_one(forward.features[image]), 16):
        yield from functional.interpolate(
            channels[None], size=forward.images.shape[2:], mode="bilinear", align_corners=False
        )[0]


def weights_by_score(
    forward: Forward, classes: Tensor, masks: Callable[[int], Iterable[Tensor]], rounds: int = 1
) -> Tensor:
    """Compute weights of feature maps from the target of the image under each as a mask, by a softmax over the maps.

    Args:
        forward: The forward pass.
        classes: int64 ``(n, k)``.
        masks: Function from the index of an image to its masks: one for each map in order, ``rounds`` times. Scores are
            averaged over rounds.
        rounds: Number of rounds.

    Returns:
        ``(n, k, C)``.
    """
    weights = []
    with torch.no_grad():
        for image, chosen in enumerate(classes):
            parts = [logits for _, logits in score_masked(forward, image, masks(image))]
            scores = torch.cat([forward.target(logits, chosen.expand(len(logits), -1)) for logits in parts])
            weights.append(scores.reshape(rounds, -1, len(chosen)).mean(0).softmax(0).T)
        return torch.stack(weights)
