"""Statistics of one image for the metrics, and their arrays over all images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import CURVES
from wsol.metrics.iou import reduce_by_image


@dataclass(frozen=True)
class ImageStats:
    """Comparison of one score map with the ground truth at every threshold.

    Attributes:
        boxes: ``(taus, 4)``, the box at each threshold, half-open edges; one row if the protocol has no threshold.
        curve: float32 ``(taus,)``, the IoU that the box reaches.
        peak_inside: Whether the map's highest pixel, the first in raster order, is in a ground-truth box.
        contours: float32 ``(taus,)``, the IoU that the best box of any contour reaches, if the protocol uses all
            contours.
        second: float32 ``(taus,)``, the IoU of the second box, if the protocol has one.
        pixels: uint32 ``(taus + 1, 2)``, foreground and background pixels with a score from each tau up to the next;
            the last row from 1 on. None without a mask.
        attribution: float32 ``(6,)``, see ``wsol.metrics.attribution``, if it was asked for.
        first: float32 ``(taus,)``, the IoU that the box of the first prediction's map reaches, if the protocol has one
            box for all predictions and that map is known.
    """

    boxes: NDArray[np.float64]
    curve: NDArray[np.float32]
    peak_inside: bool
    contours: NDArray[np.float32] | None = None
    second: NDArray[np.float32] | None = None
    pixels: NDArray[np.uint32] | None = None
    attribution: NDArray[np.float32] | None = None
    first: NDArray[np.float32] | None = None


_OPTIONAL = ("contours", "second", "pixels", "attribution", "first")
_KEPT_BOXES = 100  # per image, for display


def kept_tau_indices(count: int) -> NDArray[np.int64]:
    """Return the indices of the taus whose boxes are kept: evenly spaced, about a hundred, including the first.

    Args:
        count: Number of taus.
    """
    return np.arange(0, count, max(1, count // _KEPT_BOXES))


def stack_stats(stats: Sequence[ImageStats]) -> dict[str, NDArray[Any]]:
    """Stack the statistics of several images into arrays ``(m, ...)`` by name, without fields that an image lacks.

    Only the boxes at ``kept_tau_indices`` are kept, as uint16.
    """
    arrays: dict[str, NDArray[Any]] = {
        "curves": np.stack([image.curve for image in stats]),
        "peaks": np.array([image.peak_inside for image in stats]),
    }
    for name in _OPTIONAL:
        values = [value for image in stats if (value := getattr(image, name)) is not None]
        if len(values) == len(stats):
            arrays[name] = np.stack(values)
    if len(stats[0].boxes) > 1:
        arrays["boxes"] = boxes_for_display(np.stack([image.boxes for image in stats]))
    return arrays


def boxes_for_display(boxes: NDArray[np.float64] | NDArray[np.int32]) -> NDArray[np.uint16]:
    """Return the boxes of several images ``(n, taus, 4)`` at ``kept_tau_indices``, as uint16 ``(n, kept, 4)``."""
    return np.clip(np.rint(boxes[:, kept_tau_indices(boxes.shape[1])]), 0, 65535).astype(np.uint16)


class StatsAccumulator:
    """Arrays over all images, filled as the images arrive; no memory is used in addition to the arrays.

    Args:
        n: Maximum number of images.
        taus: Number of columns of a curve; a curve of one column is broadcast.
    """

    def __init__(self, n: int, taus: int) -> None:
        self._n = n
        self._taus = taus
        self._count = 0
        self._arrays: dict[str, NDArray[Any]] = {}

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Add the ``stack_stats`` of the next images; a field that any image lacks is dropped for all."""
        if not self._count:
            self._arrays = {name: np.empty((self._n, *part.shape[1:]), part.dtype) for name, part in rows.items()}
        self._arrays = {name: array for name, array in self._arrays.items() if name in rows}
        for name, array in self._arrays.items():
            array[self._count : self._count + len(rows[name])] = rows[name]
        self._count += len(rows["curves"])

    @property
    def boxes(self) -> NDArray[np.uint16] | None:
        """Boxes at ``kept_tau_indices``, uint16 ``(n, kept, 4)``, half-open edges; None without a threshold."""
        boxes = self._arrays.get("boxes")
        return None if boxes is None else boxes[: self._count]

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays of the images so far, by attribute of ``LocalizationStats``."""
        arrays = {name: array[: self._count] for name, array in self._arrays.items() if name != "boxes"}
        curves = {name: np.broadcast_to(arrays[name], (self._count, self._taus)) for name in CURVES if name in arrays}
        return arrays | curves


def peak_inside(score_map: NDArray[np.floating], ground_truth: NDArray[np.float64]) -> bool:
    """Return whether the center of the highest pixel is in a box; false for a map without a positive value.

    Args:
        score_map: ``(h, w)``; ties go to the first pixel in raster order.
        ground_truth: ``(g, 4)``, half-open edges.
    """
    y, x = np.unravel_index(int(score_map.argmax()), score_map.shape)
    center = np.array([x, y]) + 0.5
    return score_map[y, x] > 0 and bool(((ground_truth[:, :2] <= center) & (center < ground_truth[:, 2:])).all(1).any())


def are_peaks_inside(
    peaks: NDArray[np.int64], width: int, ground_truth: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return ``peak_inside`` of several maps.

    Args:
        peaks: int64 ``(m,)``, index of the highest pixel of each map, row by row; negative without a positive value.
        width: Width of the maps.
        ground_truth: ``(g, 4)``, boxes of all maps in turn, half-open edges.
        counts: int64 ``(m,)``, number of boxes of each map.
    """
    center = np.repeat(np.stack([peaks % width, peaks // width], 1) + 0.5, counts, axis=0)
    inside: NDArray[np.bool_] = np.all((ground_truth[:, :2] <= center) & (center < ground_truth[:, 2:]), axis=1)
    return reduce_by_image(np.logical_or, inside, counts) & (peaks >= 0)


def count_pixels_by_tau(
    tau_indices: NDArray[np.int16],
    full: NDArray[np.bool_],
    foreground: NDArray[np.bool_],
    ignore: NDArray[np.bool_],
    count: int,
) -> NDArray[np.uint32]:
    """Count foreground and background pixels by the highest tau that their score reaches.

    Args:
        tau_indices: int16 ``(h, w)``, the index of that tau; -1 if there is none.
        full: bool ``(h, w)``, whether the score is 1 or more.
        foreground: bool ``(h, w)``.
        ignore: bool ``(h, w)``, pixels that are not counted unless they are foreground.
        count: Number of taus below 1.

    Returns:
        uint32 ``(count + 1, 2)``.
    """
    bins = tau_indices.astype(np.int64) + full
    counted = (foreground | ~ignore) & (bins >= 0)
    flat = (2 * bins + ~foreground)[counted]
    return np.bincount(flat, minlength=2 * count + 2).reshape(count + 1, 2).astype(np.uint32)
