"""What one image leaves for the metrics, and the stack of it over images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import LocalizationStats


@dataclass(frozen=True)
class ImageStats:
    """One score map held against ground truth at every threshold.

    Attributes:
        boxes: ``(levels, 4)``, the box at each threshold, half-open edges. One level where no threshold enters.
        curve: float32 ``(levels,)``, the IoU that the box reaches.
        peak_inside: Whether the map's highest pixel, the first in raster order, lies in a ground-truth box.
        contours: float32 ``(levels,)``, the IoU that the best of all contours' boxes reaches, where the protocol looks
            at all.
        second: float32 ``(levels,)``, the IoU of the second box, where the protocol has one.
        pixels: uint32 ``(levels + 1, 2)``, foreground and background pixels whose score lies from each tau up to the
            next, the last row from 1 on; where there is a mask.
    """

    boxes: NDArray[np.float64]
    curve: NDArray[np.float32]
    peak_inside: bool
    contours: NDArray[np.float32] | None = None
    second: NDArray[np.float32] | None = None
    pixels: NDArray[np.uint32] | None = None


_OPTIONAL = ("contours", "second", "pixels")
_SHOWN = 100  # boxes of an image that are kept to look at


def kept_tau_indices(levels: int) -> NDArray[np.int64]:
    """Return which of a grid's levels have their boxes kept: evenly spaced, about a hundred, the first among them."""
    return np.arange(0, levels, max(1, levels // _SHOWN))


def stack_stats(traces: Sequence[ImageStats]) -> dict[str, NDArray[Any]]:
    """Lay the traces of some images out as arrays ``(m, ...)`` by name; a field that any of them lacks is left out.

    Of the boxes, those at ``shown_levels`` are kept, uint16.
    """
    rows: dict[str, NDArray[Any]] = {
        "curves": np.stack([trace.curve for trace in traces]),
        "peaks": np.array([trace.peak_inside for trace in traces]),
    }
    for name in _OPTIONAL:
        parts = [part for trace in traces if (part := getattr(trace, name)) is not None]
        if len(parts) == len(traces):
            rows[name] = np.stack(parts)
    if (levels := len(traces[0].boxes)) > 1:
        boxes = np.stack([trace.boxes[kept_tau_indices(levels)] for trace in traces])
        rows["boxes"] = np.clip(np.rint(boxes), 0, 65535).astype(np.uint16)
    return rows


class StatsAccumulator:
    """Stacks traces as they come; memory is that of the arrays.

    Args:
        n: At most this many come.
        levels: Of a curve; one of a single level stands for as many equal ones.
    """

    def __init__(self, n: int, levels: int) -> None:
        self._n = n
        self._levels = levels
        self._count = 0
        self._arrays: dict[str, NDArray[Any]] = {}

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Add what ``stacked`` made of the next images; a field that any image lacks is left out for all."""
        if not self._count:
            self._arrays = {name: np.empty((self._n, *part.shape[1:]), part.dtype) for name, part in rows.items()}
        self._arrays = {name: array for name, array in self._arrays.items() if name in rows}
        for name, array in self._arrays.items():
            array[self._count : self._count + len(rows[name])] = rows[name]
        self._count += len(rows["curves"])

    @property
    def boxes(self) -> NDArray[np.uint16] | None:
        """The boxes at ``shown_levels``, uint16 ``(n, shown, 4)``, half-open edges; None where no threshold enters."""
        kept = self._arrays.get("boxes")
        return None if kept is None else kept[: self._count]

    def stats(self, delta: float, labels: NDArray[np.int64], ranks: NDArray[np.int64] | None) -> LocalizationStats:
        """Return what came so far, ``(n, ...)`` each; arguments as the attributes of ``Evidence``."""
        arrays = {name: array[: self._count] for name, array in self._arrays.items() if name != "boxes"}
        for name in ("curves", "contours", "second"):
            if name in arrays:
                arrays[name] = np.broadcast_to(arrays[name], (self._count, self._levels))
        return LocalizationStats(delta=delta, labels=labels, ranks=ranks, **arrays)  # type: ignore[arg-type]  # by name


def peak_inside(score_map: NDArray[np.floating], truth: NDArray[np.float64]) -> bool:
    """Return whether the centre of the highest pixel lies in a box.

    Args:
        score_map: ``(h, w)``; of equally high pixels the first in raster order counts.
        truth: ``(g, 4)``, half-open edges.
    """
    y, x = np.unravel_index(int(score_map.argmax()), score_map.shape)
    point = np.array([x, y]) + 0.5
    return bool(((truth[:, :2] <= point) & (point < truth[:, 2:])).all(1).any())


def count_pixels(
    reached: NDArray[np.int16],
    full: NDArray[np.bool_],
    foreground: NDArray[np.bool_],
    ignore: NDArray[np.bool_],
    n: int,
) -> NDArray[np.uint32]:
    """Count foreground and background pixels by the highest tau that their score reaches.

    Args:
        reached: int16 ``(h, w)``, the level of that tau.
        full: bool ``(h, w)``, whether the score is 1 or more.
        foreground: bool ``(h, w)``.
        ignore: bool ``(h, w)``, pixels left out where they are not foreground.
        n: Number of taus below 1.

    Returns:
        uint32 ``(n + 1, 2)``.
    """
    bins = reached.astype(np.int64) + full
    counted = foreground | ~ignore
    flat = (2 * bins + ~foreground)[counted & (bins >= 0)]
    return np.bincount(flat, minlength=2 * n + 2).reshape(n + 1, 2).astype(np.uint32)
