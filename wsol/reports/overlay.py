"""The figure of the CAM papers: a photo, and next to it the map and the box of each class laid over it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, sqrt

import numpy as np
from matplotlib.colors import Colormap
from numpy.typing import NDArray
from PIL import Image

from wsol.reports.canvas import Canvas, Place, PngFigure
from wsol.reports.heat_map import BOX_COLOR, TRUTH_COLOR, overlay_heat_map

# Inches.
_SIDE = 1.9  # of a square panel; panels of other shapes have its area
_MAX_SIDE = 3.4
_MIN_COLUMN = 1.3  # width of a column, however narrow the photo: names need room
_GAP, _MARGIN = 0.14, 0.12
_TITLE = 0.36
_LABEL = 0.24
_BAR, _TICKS = 0.09, 0.5
_FOOTER = 0.24  # height of one line
_WIDE = 6.0  # figures wider than this have a footer of one line, others of two

_MAX_PANELS = 5  # in a line
_PIXELS = 512  # of a panel's longer side, more than its inches have at any usual resolution
_LARGE, _SMALL = 8.5, 7.5  # points
_INK, _GRAY = "#1a1a1a", "#606060"
_CORRECT = "#0a7d0a"  # the green of the true box, dark enough for letters


@dataclass(frozen=True, eq=False)
class MapPanel:
    """A heat map over the photo, and its box.

    Attributes:
        name: Name of the class.
        detail: Text below the name.
        heat: float ``(h, w)`` in [0, 1]; stretched over the photo.
        box: ``(x0, y0, x1, y1)``, half-open edges in the photo's frame; None if there is none.
        correct: Whether the class is the photo's own.
    """

    name: str
    detail: str
    heat: NDArray[np.floating]
    box: NDArray[np.float64] | None
    correct: bool = False


@dataclass(frozen=True, eq=False)
class PhotoPanels:
    """A photo and the panels next to it.

    Attributes:
        name: Name of the photo.
        detail: Text below the name.
        pixels: uint8 ``(h, w, 3)``, in any resolution.
        size: ``(width, height)`` of the frame of all boxes, which gives the photo its shape.
        truth: ``(g, 4)``, ground-truth boxes.
        rows: Label and panels of each row; a row of many panels takes several lines.
    """

    name: str
    detail: str
    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    truth: NDArray[np.float64]
    rows: Sequence[tuple[str, Sequence[MapPanel]]]

    @property
    def panel_size(self) -> tuple[float, float]:
        """Width and height of a panel in inches."""
        ratio = sqrt(self.size[0] / self.size[1])
        scale = min(1, _MAX_SIDE / (_SIDE * max(ratio, 1 / ratio)))
        return max(0.02, _SIDE * ratio * scale), max(0.02, _SIDE / ratio * scale)

    @property
    def lines(self) -> list[tuple[str, Sequence[MapPanel]]]:
        """Label and panels of each line; the lines of one row are of about the same length."""
        return [(label, line) for label, panels in self.rows for line in _split_lines(panels)]

    @property
    def height(self) -> float:
        """Height of all lines in inches."""
        return len(self.lines) * (self.panel_size[1] + _TITLE + _GAP)

    @property
    def texts(self) -> Iterator[str]:
        """All strings that are written."""
        yield from (self.name, self.detail)
        for label, panels in self.rows:
            yield label
            for panel in panels:
                yield from (panel.name, panel.detail)


def draw_overlays(
    photos: Sequence[PhotoPanels], caption: str, tau: float | None, colormap: Colormap, alpha: float
) -> PngFigure:
    """Draw photos with their maps and boxes, one photo below the other.

    Args:
        photos: The photos and their panels.
        caption: Text below the photos.
        tau: Threshold, marked on the color bar and named in the legend; None if no threshold is used.
        colormap: Colors of the maps.
        alpha: Weight of the map's color in an overlay, in [0, 1]; the photo has the rest.
    """
    column = max(_MIN_COLUMN, *(photo.panel_size[0] for photo in photos))
    has_labels = any(label for photo in photos for label, _ in photo.rows)
    left = _MARGIN + column + _GAP + _LABEL * has_labels
    right = left + max(len(line) for photo in photos for _, line in photo.lines) * (column + _GAP)
    *tops, bottom = accumulate((photo.height for photo in photos), initial=_MARGIN)
    texts = [caption, _box_label(tau), _TRUTH_LABEL, *(text for photo in photos for text in photo.texts)]
    footer = _FOOTER if right > _WIDE else 2 * _FOOTER
    canvas = Canvas(right + _BAR + _TICKS, bottom + footer + _MARGIN / 2, texts)
    for photo, top in zip(photos, tops, strict=True):
        _draw_photo(canvas, photo, top, left, column, colormap, alpha)
    _draw_color_bar(canvas, (right, _MARGIN + _TITLE, _BAR, photos[0].panel_size[1]), tau, colormap)
    end = _draw_legend(canvas, bottom + _FOOTER / 2, tau, any(len(photo.truth) for photo in photos))
    if right > _WIDE:
        room = right - _GAP - end
        canvas.draw_text(caption, right - _GAP, bottom + _FOOTER / 2, room, _SMALL, _GRAY, ha="right", va="center")
    else:
        room = right - _GAP - _MARGIN
        canvas.draw_text(caption, _MARGIN, bottom + 3 * _FOOTER / 2, room, _SMALL, _GRAY, va="center")
    return canvas.figure


def _draw_photo(
    canvas: Canvas, photo: PhotoPanels, top: float, left: float, column: float, colormap: Colormap, alpha: float
) -> None:
    width, height = photo.panel_size
    image = Image.fromarray(photo.pixels).resize(_pixel_size(photo.size), Image.Resampling.BICUBIC)

    def draw_titles(name: str, detail: str, x: float, y: float, color: str, tail: int = 0) -> Place:
        canvas.draw_text(name, x + column / 2, y + 0.11, column, _LARGE, _INK, tail, ha="center", va="center")
        canvas.draw_text(detail, x + column / 2, y + 0.26, column, _SMALL, color, ha="center", va="center")
        return x + (column - width) / 2, y + _TITLE, width, height

    place = draw_titles(photo.name, photo.detail, _MARGIN, top, _CORRECT if len(photo.truth) else _GRAY, 12)
    canvas.draw_image(np.asarray(image), place)
    for box in photo.truth:
        canvas.draw_box(box, photo.size, place, TRUTH_COLOR, dashed=True)
    for i, (label, line) in enumerate(photo.lines):
        y = top + i * (height + _TITLE + _GAP)
        middle = y + _TITLE + height / 2
        canvas.draw_text(label, left - 0.1, middle, height, _LARGE, _INK, rotation=90, ha="center", va="center")
        for k, panel in enumerate(line):
            x = left + k * (column + _GAP)
            place = draw_titles(panel.name, panel.detail, x, y, _CORRECT if panel.correct else _GRAY)
            canvas.draw_image(overlay_heat_map(image, panel.heat, colormap, alpha), place)
            if panel.box is not None:
                canvas.draw_box(panel.box, photo.size, place, BOX_COLOR, dashed=False)
            for box in photo.truth:  # on top: the other box is visible between the dashes
                canvas.draw_box(box, photo.size, place, TRUTH_COLOR, dashed=True)


def _draw_color_bar(canvas: Canvas, place: Place, tau: float | None, colormap: Colormap) -> None:
    """Draw the color bar, with a mark at tau."""
    x, y, width, height = place
    steps = (255 * colormap(np.linspace(1, 0, 256))[:, None, :3]).astype(np.uint8)
    canvas.draw_image(steps, place)
    marks = [(0.0, "0"), (1.0, "1")]
    if tau is not None:
        marks = [mark for mark in marks if abs(mark[0] - tau) * height > 0.13] + [(tau, f"τ {tau:.3g}")]
    for value, text in marks:
        level = y + height * (1 - value)
        canvas.draw_tick(x + width, level)
        canvas.draw_text(text, x + width + 0.06, level, _TICKS, _SMALL, _GRAY, va="center")


def _draw_legend(canvas: Canvas, y: float, tau: float | None, has_truth: bool) -> float:
    """Draw the legend of the boxes, and return the x where it ends."""
    x = _MARGIN
    truth = [(_TRUTH_LABEL, TRUTH_COLOR, True)] if has_truth else []
    for text, color, dashed in [(_box_label(tau), BOX_COLOR, False), *truth]:
        canvas.draw_line(x, y, 0.26, color, dashed)
        x += 0.54 + canvas.draw_text(text, x + 0.34, y, 2, _SMALL, _GRAY, va="center")
    return x


_TRUTH_LABEL = "ground truth"


def _box_label(tau: float | None) -> str:
    return "box" if tau is None else f"box at τ = {tau:.6g}"


def _split_lines(panels: Sequence[MapPanel]) -> Iterator[Sequence[MapPanel]]:
    count = ceil(len(panels) / _MAX_PANELS)
    length = ceil(len(panels) / count)
    for start in range(0, len(panels), length):
        yield panels[start : start + length]


def _pixel_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = _PIXELS / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
