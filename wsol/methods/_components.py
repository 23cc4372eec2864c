"""Connected components of masks of patches, of all images at once."""

import torch
from torch import Tensor
from torch.nn import functional


def label_components(masks: Tensor) -> Tensor:
    """Label the 4-connected components of masks.

    Each patch takes the smallest label of its neighbors, then the label of the patch that this label names, until
    nothing changes. On a GPU the masks are not copied to the processor.

    Args:
        masks: bool ``(n, h, w)``.

    Returns:
        int64 ``(n, h, w)``: 0 outside the mask; elsewhere 1 + position, row by row, of the component's first patch. In
        this order ``scipy.ndimage.label`` counts components.
    """
    n, h, w = masks.shape
    outside = h * w + 1
    own = torch.arange(1, outside, device=masks.device).reshape(1, h, w)
    labels = torch.where(masks, own, outside)
    while True:
        before = labels
        padded = functional.pad(labels, (1, 1, 1, 1), value=outside)
        shifted = (padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
        labels = torch.where(masks, torch.stack([labels, *shifted]).amin(0), outside)
        flat = functional.pad(labels.flatten(1), (1, 1), value=outside)  # position 0 and `outside` are no patches
        labels = torch.where(masks, flat.gather(1, labels.flatten(1)).reshape(n, h, w), outside)
        if torch.equal(labels, before):
            return torch.where(masks, labels, 0)


def select_component(masks: Tensor, seeds: Tensor) -> Tensor:
    """Return the component that contains a patch, bool ``(n, h, w)``; empty where the patch is outside the mask.

    Args:
        masks: bool ``(n, h, w)``.
        seeds: int64 ``(n,)``, positions of patches, row by row.
    """
    labels = label_components(masks)
    chosen = labels.flatten(1).gather(1, seeds[:, None])[:, :, None]
    return (labels == chosen) & masks


def select_largest_component(masks: Tensor) -> Tensor:
    """Return the component of most patches, the first one of several, bool ``(n, h, w)``; empty for an empty mask.

    Args:
        masks: bool ``(n, h, w)``.
    """
    labels = label_components(masks).flatten(1)
    sizes = torch.zeros(len(labels), labels.shape[1] + 1, dtype=torch.int64, device=labels.device)
    sizes.scatter_add_(1, labels, torch.ones_like(labels))
    sizes[:, 0] = 0
    # The first maximum, since argmax may return any.
    largest = (sizes == sizes.amax(1, keepdim=True)).int().cumsum(1).eq(1).int().argmax(1)
    return (labels == largest[:, None]).reshape(masks.shape) & masks
