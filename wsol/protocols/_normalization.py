"""The settings ``norm`` and ``percentile`` of protocols that normalize maps."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.normalization import IVR_PERCENTILE, NORMS, Norm, upsample_and_normalize
from wsol.boxes.resize import Taps
from wsol.boxes.thresholds import FloatArray
from wsol.protocols._view import View
from wsol.protocols.base import Protocol, Size

_GRID = np.arange(20) / 20
"""Percentiles that a rule chooses from: 0, 0.05, ..., 0.95."""

_TEXT = re.compile(r"(?:(val|oracle)(?:=(?=.)|$))?([0-9.e-]*)")


@dataclass(frozen=True)
class Percentile:
    """Percentile of ``norm=ivr``: a number, a rule that chooses it, or a rule and the number that it chose.

    Attributes:
        text: ``0.45``, ``val``, ``oracle``, ``val=0.45`` or ``oracle=0.45``.
    """

    text: str

    def __post_init__(self) -> None:
        match = _TEXT.fullmatch(self.text)
        if not match or not any(match.groups()):
            raise ValueError(self.text)
        rule, number = match.groups()
        if number:
            value = float(number)
            if not 0 <= value < 1:
                raise ValueError(self.text)
            number = f"{value:g}" if float(f"{value:g}") == value else repr(value)
        object.__setattr__(self, "text", "=".join(filter(None, (rule, number))))

    def __str__(self) -> str:
        return self.text

    @property
    def rule(self) -> Literal["val", "oracle"] | None:
        """The rule; None for a number."""
        rule = self.text.partition("=")[0]
        return cast(Literal["val", "oracle"], rule) if rule in ("val", "oracle") else None

    @property
    def value(self) -> float | None:
        """The number; None where the rule has not chosen it yet."""
        number = self.text.rpartition("=")[2]
        return None if number in ("val", "oracle") else float(number)


DEFAULT_PERCENTILE = Percentile(str(IVR_PERCENTILE))


class NormalizingProtocol(Protocol):
    """A protocol with the settings ``norm`` and ``percentile``, which a subclass declares as its last fields.

    Attributes:
        norm: ``minmax``, ``max``, ``pas`` or ``ivr``, see ``wsol.boxes.normalization.normalize_maps``.
        percentile: Share of the pixels that ``ivr`` maps to 0, as a number from 0 up to but not including 1; ``val`` or
            ``oracle`` chooses it; for ``norm=ivr``.
    """

    norm: str
    percentile: Percentile

    def check_settings(self) -> None:
        """Check ``norm`` and ``percentile``, and that no setting is changed that would be ignored.

        Raises:
            ValueError: A setting cannot be used.
        """
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}")
        super().check_settings()

    @property
    def ignored_settings(self) -> dict[str, str]:
        """``percentile``, unless it applies."""
        return {} if self.norm == "ivr" else {"percentile": f"norm={self.norm}"}

    def normalize(self, maps: FloatArray, size: tuple[int, int], taps: Taps) -> NDArray[np.float32]:
        """Resize and normalize raw maps ``(k, h, w)`` to ``(k, height, width)``; ``size`` is ``(height, width)``."""
        percentile = self.percentile.value if self.norm == "ivr" else None
        return upsample_and_normalize(maps, size, taps, cast(Norm, self.norm), percentile)

    def prepare_view(self, view: View, maps: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
        """Prepare the raw maps of what the network saw; nothing around a single crop is above the lowest score."""
        return self.prepare(view.assemble(maps, lowest=self.norm != "max"), size)

    @property
    def chosen_on(self) -> Literal["val", "oracle"] | None:
        """The rule that has to choose the percentile before maps can be scored."""
        is_open = self.norm == "ivr" and self.percentile.value is None
        return self.percentile.rule if is_open else None

    @property
    def candidates(self) -> Sequence[Protocol]:
        """The protocols with the percentiles that the rule chooses from, ascending."""
        settings: Any = self
        return [replace(settings, percentile=Percentile(f"{self.percentile.rule}={p:g}")) for p in _GRID.tolist()]

    @property
    def family(self) -> str:
        """The signature with ``*`` in place of a percentile that a rule chose."""
        rule, signature = self.percentile.rule, self.signature
        return signature.replace(f"percentile={self.percentile}", f"percentile={rule}=*") if rule else signature
