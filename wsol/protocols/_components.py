"""Scoring of several images at once where the largest component gives the box."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.components import largest_component_boxes
from wsol.boxes.thresholds import highest_tau_below
from wsol.metrics.image_stats import boxes_for_display, peak_inside
from wsol.metrics.iou import best_iou_curves
from wsol.protocols._view import View
from wsol.protocols.base import GroundTruth, Protocol


def score_components(
    protocol: Protocol,
    view: View,
    maps: NDArray[np.float32],
    truths: Sequence[GroundTruth],
    classes: NDArray[np.int64],
    tau_index: int | None,
) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64] | None]:
    """Score the maps of some images; arguments and result as those of ``Protocol.score_batch``."""
    n, count = len(truths), len(protocol.taus)
    boxes, peaks = np.empty((n, count, 4)), np.empty(n, bool)
    predicted, pixels = np.empty((*classes.shape, 4)), []
    for i, truth in enumerate(truths):
        prepared = protocol.prepare_view(view, maps[i, :1], truth.size)[0]
        boxes[i] = largest_component_boxes(highest_tau_below(prepared, protocol.taus), count)
        peaks[i] = peak_inside(prepared, truth.boxes)
        pixels.append(truth.count_pixels(protocol, prepared))
        if tau_index is None:
            continue
        tau, by_class = protocol.taus[tau_index : tau_index + 1], {int(classes[i, 0]): boxes[i, tau_index]}
        for j, class_id in enumerate(classes[i].tolist()):
            if class_id not in by_class:
                other = protocol.prepare_view(view, maps[i, j : j + 1], truth.size)
                by_class[class_id] = protocol.boxes(other, tau)[0, 0]
            predicted[i, j] = by_class[class_id]
    counts = np.array([len(truth.boxes) for truth in truths])
    curves = best_iou_curves(boxes, np.concatenate([truth.boxes for truth in truths]), np.cumsum(counts) - counts)
    rows: dict[str, NDArray[Any]] = {"curves": curves.astype(np.float32), "peaks": peaks}
    known = [each for each in pixels if each is not None]
    if len(known) == n:
        rows["pixels"] = np.stack(known)
    if count > 1:
        rows["boxes"] = boxes_for_display(boxes)
    return rows, None if tau_index is None else predicted
