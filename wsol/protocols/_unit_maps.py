"""Protocols that take maps of another program as their authors hand them in: ready for thresholds."""

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.thresholds import FloatArray
from wsol.protocols._external_maps import validate, validate_unit
from wsol.protocols._normalization import NormalizingProtocol
from wsol.protocols.base import Size


class UnitMapsProtocol(NormalizingProtocol):
    """A protocol whose frame is a square, and whose external maps have its size and are in [0, 1], unless raw."""

    def prepare_external(self, score_map: NDArray[np.generic], size: Size, raw: bool) -> FloatArray:
        """Return a map of the frame, in [0, 1], unchanged; prepare a raw one.

        Raises:
            ValueError: The map has another shape or range, or values that are not finite.
        """
        values, (side, _) = validate(score_map), self.frame(size)
        prepared: FloatArray = self.prepare(values[None], size)[0] if raw else validate_unit(values, side)
        return prepared

    def unsupported_reason(self, raw: bool) -> str | None:
        """Return why the normalization would be ignored: maps that are not raw are used unchanged."""
        if raw or self.norm == "minmax":
            return None
        return (
            f"{self.name} uses maps of another program unchanged, so norm={self.norm} would be ignored; leave that "
            "out, or give --raw if they are a network's own output"
        )
