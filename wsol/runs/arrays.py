"""The arrays of a run folder: one table of name, file, dtype and shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.attribution import COLUMNS
from wsol.metrics.image_stats import kept_tau_indices
from wsol.protocols import Protocol

HEAT_MAP_SIDE = 28
"""Side of the small maps that are kept for display."""


@dataclass(frozen=True)
class RunArray:
    """One array.

    Attributes:
        name: Attribute of ``LocalizationStats``; ``boxes`` and ``heat_maps`` are of ``LocalizationResults``, and
            ``maps`` of the network.
        file: File in the run folder.
        dtype: NumPy dtype.
        shape: Length of each axis: a number, or its name, see ``axis_lengths``. An axis ``crops`` is there only if the
            protocol takes several.
        required: Whether every run has it.
    """

    name: str
    file: str
    dtype: type[np.generic]
    shape: tuple[int | str, ...]
    required: bool = False

    def fits(self, array: NDArray[Any], lengths: Mapping[str, int]) -> bool:
        """Return whether an array has this dtype and shape; axes that ``lengths`` does not name may have any length."""
        axes = [axis for axis in self.shape if axis != "crops" or lengths.get("crops", 1) > 1]
        return (
            array.dtype == self.dtype
            and array.ndim == len(axes)
            and all(
                length == (axis if isinstance(axis, int) else lengths.get(axis, length))
                for axis, length in zip(axes, array.shape, strict=True)
            )
        )


ARRAYS = (
    RunArray("curves", "curves.npy", np.float32, ("n", "taus"), required=True),
    RunArray("contours", "curves_v2.npy", np.float32, ("n", "taus")),
    RunArray("second", "curves_second.npy", np.float32, ("n", "taus")),
    RunArray("first", "curves_first.npy", np.float32, ("n", "taus")),
    RunArray("peaks", "peaks.npy", np.bool_, ("n",)),
    RunArray("class_only_ranks", "class_only_ranks.npy", np.int64, ("class_only",)),
    RunArray("attribution", "attribution.npy", np.float32, ("n", len(COLUMNS))),
    RunArray("pixels", "pixels.npy", np.uint32, ("n", "bins", 2)),
    RunArray("boxes", "boxes.npy", np.uint16, ("n", "kept_taus", 4)),
    RunArray("heat_maps", "heat_maps.npy", np.uint8, ("n", HEAT_MAP_SIDE, HEAT_MAP_SIDE)),
    RunArray("maps", "maps.npy", np.float32, ("n", "k", "crops", "h", "w")),
)


def axis_lengths(protocol: Protocol, n: int, curves: NDArray[Any]) -> dict[str, int]:
    """Return the lengths of the named axes.

    Args:
        protocol: The protocol.
        n: Number of images.
        curves: The IoU curves, ``(n, taus)``, with a single column where boxes have no threshold.

    Returns:
        ``n``; ``taus``, the thresholds of a curve; ``kept_taus``, those whose boxes are stored; ``bins``, score bins of
        the pixel counts; ``crops``, crops that the network sees of an image.
    """
    taus = len(protocol.taus)
    return {
        "n": n,
        "taus": taus if curves.shape[1:] == (taus,) else 1,
        "kept_taus": len(kept_tau_indices(taus)),
        "bins": int((protocol.taus < 1).sum()) + 1,
        "crops": protocol.view.count,
    }
