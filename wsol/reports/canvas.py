"""A sheet of paper in inches, drawn by Matplotlib."""

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

_DPI = 150
_CASING = "#101010"  # lies around lines, so that they are seen on any image
_WIDTH, _CASED = 1.5, 2.8  # points
_HALF = _CASED / 2 / 72  # inches

Place = tuple[float, float, float, float]
"""x, y, width and height in inches, from the top left."""


class Picture(Figure):
    """A figure that a notebook shows, whether or not Pyplot is imported; Pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        return self.png({})

    def png(self, texts: dict[str, str]) -> bytes:
        """Return a PNG file with texts in it, by keyword."""
        file = io.BytesIO()
        options = {"compress_level": 1}  # a tenth larger, several times faster
        self.savefig(file, format="png", metadata={"Software": None, **texts}, pil_kwargs=options)
        return file.getvalue()


class Canvas:
    """One pair of axes that covers a figure; a pair for each image would be slow.

    Args:
        width: In inches.
        height: In inches.
        texts: All that is to be written on it.
    """

    def __init__(self, width: float, height: float, texts: Iterable[str]) -> None:
        self.figure = Picture(figsize=(width, height), dpi=_DPI, facecolor="white")
        self._letters = FontFallback(texts)
        agg: Any = FigureCanvasAgg(self.figure)
        self._renderer = agg.get_renderer()
        self._axes: Axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        self._axes.set_axis_off()
        self._axes.add_patch(Rectangle((0, 0), width, height, color="white", zorder=-1))  # paper, under whatever style

    def text(
        self, text: str, x: float, y: float, room: float, points: float, colour: str, tail: int = 0, **settings: Any
    ) -> float:
        """Write a line, shortened to the room (inches) that it has, and returns its width.

        The text is taken as it is: no formula begins with a dollar sign.
        """
        if not text:
            return 0
        font = FontProperties(family=self._letters.families, size=points)

        def width(part: str) -> float:
            return float(self._renderer.get_text_width_height_descent(part, font, False)[0]) / _DPI

        line = truncate_to_width(self._letters(text), room, width, tail)
        plain: dict[str, Any] = {"parse_math": False, "usetex": False}
        self._axes.text(x, y, line, fontproperties=font, color=colour, **plain, **settings)
        return width(line)

    def image(self, pixels: NDArray[np.uint8], place: Place) -> None:
        """Lay an image ``(h, w, 3)`` into a place, whatever its shape."""
        x, y, width, height = place
        extent = (x, x + width, y + height, y)
        self._axes.imshow(pixels, extent=extent, aspect="auto", origin="upper", interpolation="antialiased")

    def box(self, box: NDArray[np.float64], size: tuple[int, int], place: Place, colour: str, dashed: bool) -> None:
        """Draw a box of a frame of some size (width, height) that fills a place; its lines stay inside the place."""
        x, y, width, height = place
        scaled = box / [*size, *size] * [width, height, width, height]
        x0, y0, x1, y1 = np.clip(scaled, _HALF, [width - _HALF, height - _HALF] * 2).tolist()
        self._axes.add_patch(Rectangle((x + x0, y + y0), x1 - x0, y1 - y0, fill=False, **_line(colour, dashed)))

    def line(self, x: float, y: float, length: float, colour: str, dashed: bool) -> None:
        """Draw a horizontal line that looks like the sides of a box."""
        self._axes.add_line(Line2D([x, x + length], [y, y], **_line(colour, dashed)))

    def tick(self, x: float, y: float) -> None:
        """Draw a short horizontal line, to the right."""
        self._axes.add_line(Line2D([x, x + 0.03], [y, y], color="#909090", linewidth=0.8))


def _line(colour: str, dashed: bool) -> dict[str, Any]:
    casing = withStroke(linewidth=_CASED, foreground=_CASING)
    style = (0, (3, 1.6)) if dashed else "-"
    return {"color": colour, "linewidth": _WIDTH, "linestyle": style, "path_effects": [casing]}
