"""Scoring of several images at once where every threshold gives one box."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.image_stats import boxes_for_display, peak_inside
from wsol.metrics.iou import best_iou_curves
from wsol.protocols._view import View
from wsol.protocols.base import GroundTruth, Protocol


def score_single_boxes(
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
    has_first = protocol.one_box and classes.shape[1] > 1
    firsts = np.empty((n, count, 4)) if has_first else boxes
    predicted, pixels = np.empty((*classes.shape, 4)), []
    for i, truth in enumerate(truths):
        prepared = protocol.prepare_view(view, maps[i, :1], truth.size)
        boxes[i] = protocol.boxes(prepared, protocol.taus)[0]
        peaks[i] = peak_inside(prepared[0], truth.boxes)
        pixels.append(truth.count_pixels(protocol, prepared[0]))
        at_taus = {int(classes[i, 0]): boxes[i]}
        if has_first:
            first = int(classes[i, 1])
            if first not in at_taus:
                other = protocol.prepare_view(view, maps[i, 1:2], truth.size)
                at_taus[first] = protocol.boxes(other, protocol.taus)[0]
            firsts[i] = at_taus[first]
        if tau_index is None:
            continue
        tau, by_class = (
            protocol.taus[tau_index : tau_index + 1],
            {key: each[tau_index] for key, each in at_taus.items()},
        )
        for j, class_id in enumerate(classes[i].tolist()):
            if class_id not in by_class and not (has_first and j > 1):  # those have the first one's box
                other = protocol.prepare_view(view, maps[i, j : j + 1], truth.size)
                by_class[class_id] = protocol.boxes(other, tau)[0, 0]
            predicted[i, j] = by_class.get(class_id, np.nan)
    counts = np.array([len(truth.boxes) for truth in truths])
    of_images = np.concatenate([truth.boxes for truth in truths]), np.cumsum(counts) - counts
    rows: dict[str, NDArray[Any]] = {"curves": best_iou_curves(boxes, *of_images).astype(np.float32), "peaks": peaks}
    if has_first:
        rows["first"] = best_iou_curves(firsts, *of_images).astype(np.float32)
    elif protocol.one_box and protocol.agnostic:
        rows["first"] = rows["curves"]
    known = [each for each in pixels if each is not None]
    if len(known) == n:
        rows["pixels"] = np.stack(known)
    if count > 1:
        rows["boxes"] = boxes_for_display(boxes)
    return rows, None if tau_index is None else protocol.share_box(predicted, classes)
