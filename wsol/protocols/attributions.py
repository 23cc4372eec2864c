"""Attributions under a protocol: score maps compared with the region of the object in the protocol's frame."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.thresholds import FloatArray
from wsol.metrics.attribution import attribution_values
from wsol.protocols._external_maps import validate
from wsol.protocols._view import View
from wsol.protocols.base import GroundTruth, Protocol


def attributions(
    protocol: Protocol, view: View, maps: NDArray[np.float32], truths: Sequence[GroundTruth]
) -> NDArray[np.float32]:
    """Compare the raw maps of the ground-truth class of some images with the regions of their objects.

    Args:
        protocol: The protocol.
        view: What the network saw of an image.
        maps: ``(n, 1, h, w)``, or ``(n, 1, crops, h, w)`` for several crops.
        truths: Ground truth of each image.

    Returns:
        float32 ``(n, 6)``, see ``attribution_values``.
    """
    rows = []
    for own, truth in zip(maps, truths, strict=True):
        prepared = protocol.prepare_view(view, own, truth.size)[0]
        relevance = protocol.upsample(view, _scale_to_unit(own), truth.size)[0]
        rows.append(compare_with_region(protocol, truth, prepared, relevance))
    return np.stack(rows)


def external_attribution(
    protocol: Protocol, score_map: NDArray[np.generic], prepared: FloatArray, truth: GroundTruth
) -> NDArray[np.float32]:
    """Compare a map ``(h, w)`` that another program computed with the region; ``prepared`` is the map prepared."""
    own = _scale_to_unit(validate(score_map)[None])
    relevance = protocol.upsample(protocol.external_view, own, truth.size)[0]
    return compare_with_region(protocol, truth, prepared, relevance)


def compare_with_region(
    protocol: Protocol,
    truth: GroundTruth,
    prepared: FloatArray,
    relevance: FloatArray,
    peak: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Compare a map with the region of the object: its mask, or the union of its boxes if it has none.

    The boxes also are the region where the protocol ignores masks. A pixel is in a box if its center is. Pixels that a
    mask ignores do not count, unless they are foreground.

    Args:
        protocol: The protocol.
        truth: The boxes, and the mask if there is one.
        prepared: Prepared map ``(h, w)``.
        relevance: As in ``attribution_values``.
        peak: As in ``attribution_values``.
    """
    if truth.sample.mask is not None and protocol.uses_masks:
        annotation = protocol.resize_mask(truth.sample.mask(), prepared.shape)
        region, counted = annotation.foreground, annotation.foreground | ~annotation.ignore
    else:
        y, x = (np.arange(length) + 0.5 for length in prepared.shape)
        region, counted = np.zeros(prepared.shape, bool), np.ones(prepared.shape, bool)
        for x0, y0, x1, y1 in truth.boxes:
            region |= np.outer((y0 <= y) & (y < y1), (x0 <= x) & (x < x1))
    return attribution_values(prepared, relevance, region, counted, peak)


def _scale_to_unit(maps: FloatArray) -> NDArray[np.float32]:
    """Divide maps by their largest absolute value, so that no sum of them overflows."""
    highest = np.abs(maps).max()
    scaled: NDArray[np.float32] = (maps / (highest if highest > 0 else 1)).astype(np.float32)
    return scaled
