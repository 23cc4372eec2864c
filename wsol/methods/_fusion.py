"""Fusion of the maps of several layers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from wsol.methods._forward import Forward

FUSIONS = ("mean", "product")
_COPIES = 5  # of the features of all layers, for each class


def fuse_layers(
    maps_of_layer: Callable[[Forward, Tensor], Tensor], forward: Forward, classes: Tensor, fusion: str, by_class: bool
) -> Tensor:
    """Return the fused maps of a pass that is read at several layers, in [0, 1].

    Args:
        maps_of_layer: Computes the maps ``(n, k, h, w)`` of a pass that is read at one layer, in [0, 1].
        forward: The pass.
        classes: int64 ``(n, k)``.
        fusion: One of ``FUSIONS``, see ``fuse_maps``.
        by_class: Whether the cost of maps grows with the number of classes, so that only as many are computed at once
            as the memory budget allows.
    """
    at_once = classes.shape[1]
    if by_class:
        size = sum(maps.numel() * maps.element_size() for maps, _ in forward.layers)
        at_once = max(1, int(forward.memory / (_COPIES * size)))
    parts = [
        fuse_maps([maps_of_layer(each, columns) for each in forward.at_layers(columns)], fusion)
        for columns in torch.split(classes, at_once, 1)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def fuse_maps(maps: Sequence[Tensor], fusion: str) -> Tensor:
    """Return the mean or the product of the maps of several layers.

    Maps are resized to the largest height and width of all (bilinear, corners not aligned) first.

    Args:
        maps: Maps ``(n, k, h, w)`` of each layer, in [0, 1]; height and width may differ.
        fusion: ``mean`` or ``product``.
    """
    size = max(each.shape[2] for each in maps), max(each.shape[3] for each in maps)
    fused: Tensor | None = None
    with torch.no_grad():
        for each in maps:
            if each.shape[2:] != size:
                each = functional.interpolate(each, size=size, mode="bilinear", align_corners=False)  # noqa: PLW2901
            fused = each if fused is None else fused + each if fusion == "mean" else fused * each
    assert fused is not None  # there are several layers
    return fused / len(maps) if fusion == "mean" else fused
