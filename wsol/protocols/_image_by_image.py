"""Scoring of several images one by one, for any protocol."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.image_stats import stack_stats
from wsol.protocols._view import View

if TYPE_CHECKING:  # which import this
    from wsol.protocols.base import GroundTruth, Protocol


def score_image_by_image(
    protocol: "Protocol",
    view: View,
    maps: NDArray[np.float32],
    truths: Sequence["GroundTruth"],
    classes: NDArray[np.int64],
    tau_index: int | None,
) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64] | None]:
    """Score the maps of some images; arguments and result as those of ``Protocol.score_batch``."""
    stats, boxes = [], []
    for image_maps, truth, image_classes in zip(maps, truths, classes, strict=True):
        # Map by map: one prepared map stays in the cache, those of all classes do not.
        prepared = protocol.prepare_view(view, image_maps[:1], truth.size)
        own = truth.score_map_stats(protocol, prepared[0])
        if protocol.one_box:
            own = replace(own, first=_first_curve(protocol, view, image_maps, own.curve, truth, image_classes))
        stats.append(own)
        if tau_index is not None:
            boxes.append(_boxes_by_class(protocol, view, image_maps, prepared, truth.size, image_classes, tau_index))
    return stack_stats(stats), protocol.share_box(np.stack(boxes), classes) if boxes else None


def _first_curve(
    protocol: "Protocol",
    view: View,
    maps: NDArray[np.float32],
    own: NDArray[np.float32],
    truth: "GroundTruth",
    classes: NDArray[np.int64],
) -> NDArray[np.float32] | None:
    """Return ``ImageStats.first`` of an image, whose ground-truth class's map has the curve ``own``."""
    if len(classes) < 2:
        return own if protocol.agnostic else None
    if classes[1] == classes[0]:
        return own
    prepared = protocol.prepare_view(view, maps[1:2], truth.size)[0]
    return protocol.score_map_stats(prepared, truth.boxes).curve


def _boxes_by_class(
    protocol: "Protocol",
    view: View,
    maps: NDArray[np.float32],
    first_prepared: NDArray[np.float32],
    size: tuple[int, int],
    classes: NDArray[np.int64],
    tau_index: int,
) -> NDArray[np.float64]:
    """Return the box of every map of an image, ``(k, 4)``, computed once per class."""
    tau, found = protocol.taus[tau_index : tau_index + 1], {}
    for j, class_id in enumerate(classes.tolist()):
        if class_id not in found:
            prepared = first_prepared if j == 0 else protocol.prepare_view(view, maps[j : j + 1], size)
            found[class_id] = protocol.boxes(prepared, tau)[0, 0]
    return np.stack([found[class_id] for class_id in classes.tolist()])
