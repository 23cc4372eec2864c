"""A canvas measured in inches, drawn by Matplotlib."""

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from wsol.reports.fonts import FontFallback, truncate_to_width
from wsol.reports.heat_map import CASING_COLOR

_DPI = 150
_LINE_WIDTH, _CASED_WIDTH = 1.5, 2.8  # points
_HALF = _CASED_WIDTH / 2 / 72  # inches

Place = tuple[float, float, float, float]
"""x, y, width and height in inches, from the top left."""


class PngFigure(Figure):
    """A figure that a notebook displays whether or not Pyplot is imported, and that Pyplot does not manage."""

    def _repr_png_(self) -> bytes:
        return self.to_png({})

    def to_png(self, texts: dict[str, str]) -> bytes:
        """Return a PNG file with text chunks, given by keyword."""
        file = io.BytesIO()
        options = {"compress_level": 1}  # a tenth larger, several times faster
        self.savefig(file, format="png", metadata={"Software": None, **texts}, pil_kwargs=options)
        return file.getvalue()


class Canvas:
    """A figure with a single pair of axes over all of it; a pair for each image would be slow.

    Args:
        width: In inches.
        height: In inches.
        texts: All strings that will be written on it.
    """

    def __init__(self, width: float, height: float, texts: Iterable[str]) -> None:
        self.figure = PngFigure(figsize=(width, height), dpi=_DPI, facecolor="white")
        self._fonts = FontFallback(texts)
        agg: Any = FigureCanvasAgg(self.figure)
        self._renderer = agg.get_renderer()
        self._axes: Axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        self._axes.set_axis_off()
        self._axes.add_patch(Rectangle((0, 0), width, height, color="white", zorder=-1))  # white under any style

    def draw_text(
        self, text: str, x: float, y: float, room: float, points: float, color: str, tail: int = 0, **settings: Any
    ) -> float:
        """Write one line, truncated to ``room`` inches, and return its width in inches.

        The string is taken literally: a dollar sign does not begin a formula.
        """
        if not text:
            return 0
        font = FontProperties(family=self._fonts.families, size=points)

        def width(string: str) -> float:
            return float(self._renderer.get_text_width_height_descent(string, font, False)[0]) / _DPI

        line = truncate_to_width(self._fonts.escape(text), room, width, tail)
        plain: dict[str, Any] = {"parse_math": False, "usetex": False}
        self._axes.text(x, y, line, fontproperties=font, color=color, **plain, **settings)
        return width(line)

    def draw_image(self, pixels: NDArray[np.uint8], place: Place) -> None:
        """Stretch an image ``(h, w, 3)`` over a place."""
        x, y, width, height = place
        extent = (x, x + width, y + height, y)
        self._axes.imshow(pixels, extent=extent, aspect="auto", origin="upper", interpolation="antialiased")

    def draw_box(self, box: NDArray[np.float64], size: tuple[int, int], place: Place, color: str, dashed: bool) -> None:
        """Draw a box given in a frame of ``size`` (width, height) that fills the place; lines stay inside the place."""
        x, y, width, height = place
        scaled = box / [*size, *size] * [width, height, width, height]
        x0, y0, x1, y1 = np.clip(scaled, _HALF, [width - _HALF, height - _HALF] * 2).tolist()
        self._axes.add_patch(Rectangle((x + x0, y + y0), x1 - x0, y1 - y0, fill=False, **_line_style(color, dashed)))

    def draw_line(self, x: float, y: float, length: float, color: str, dashed: bool) -> None:
        """Draw a horizontal line in the style of the sides of a box."""
        self._axes.add_line(Line2D([x, x + length], [y, y], **_line_style(color, dashed)))

    def draw_tick(self, x: float, y: float) -> None:
        """Draw a short horizontal line to the right of a point."""
        self._axes.add_line(Line2D([x, x + 0.03], [y, y], color="#909090", linewidth=0.8))


def _line_style(color: str, dashed: bool) -> dict[str, Any]:
    casing = withStroke(linewidth=_CASED_WIDTH, foreground=CASING_COLOR)
    dashes = (0, (3, 1.6)) if dashed else "-"
    return {"color": color, "linewidth": _LINE_WIDTH, "linestyle": dashes, "path_effects": [casing]}
