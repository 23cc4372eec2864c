"""The picture of the CAM papers: a photo, and beside it the map and the box of each class laid over it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, sqrt

import numpy as np
from matplotlib.colors import Colormap
from numpy.typing import NDArray
from PIL import Image

from wsol.reports.canvas import Canvas, Picture, Place

# Inches.
_SIDE = 1.9  # of a square panel; panels of other shapes have its area
_LONGEST = 3.4
_NARROWEST = 1.3  # of a column, however narrow the photo: names need room
_GAP, _MARGIN = 0.14, 0.12
_TITLE = 0.36
_LABEL = 0.24
_BAR, _TICKS = 0.09, 0.5
_FOOT = 0.24  # a line of it
_WIDE = 6.0  # from which on the foot takes one line

_ACROSS = 5  # panels in a line
_PIXELS = 512  # of a panel's longer side, more than its inches have at any usual resolution
_LARGE, _SMALL = 8.5, 7.5  # points
_INK, _GREY = "#1a1a1a", "#606060"
_TRUE, _BOX = "#2fe02f", "white"
_RIGHT = "#0a7d0a"  # the green of the true box, dark enough for letters


@dataclass(frozen=True, eq=False)
class Panel:
    """A map over the photo.

    Attributes:
        name: Of the class.
        detail: What stands below the name.
        heat: float ``(h, w)`` in [0, 1]; it is stretched over the photo.
        box: ``(x0, y0, x1, y1)``, half-open edges in the photo's frame; None if there is none.
        right: Whether the class is the photo's own.
    """

    name: str
    detail: str
    heat: NDArray[np.floating]
    box: NDArray[np.float64] | None
    right: bool = False


@dataclass(frozen=True, eq=False)
class Sheet:
    """A photo and its maps.

    Attributes:
        name: Of the photo.
        detail: What stands below the name.
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
    rows: Sequence[tuple[str, Sequence[Panel]]]

    @property
    def shape(self) -> tuple[float, float]:
        """Width and height of a panel in inches."""
        ratio = sqrt(self.size[0] / self.size[1])
        shrunk = min(1, _LONGEST / (_SIDE * max(ratio, 1 / ratio)))
        return max(0.02, _SIDE * ratio * shrunk), max(0.02, _SIDE / ratio * shrunk)

    @property
    def lines(self) -> list[tuple[str, Sequence[Panel]]]:
        """Label and panels of each line; lines that belong to one row are of about the same length."""
        return [(label, line) for label, panels in self.rows for line in _lines(panels)]

    @property
    def height(self) -> float:
        """Of all lines, in inches."""
        return len(self.lines) * (self.shape[1] + _TITLE + _GAP)

    @property
    def texts(self) -> Iterator[str]:
        """All that is written."""
        yield from (self.name, self.detail)
        for label, panels in self.rows:
            yield label
            for panel in panels:
                yield from (panel.name, panel.detail)


def draw_overlays(sheets: Sequence[Sheet], caption: str, tau: float | None, cmap: Colormap, alpha: float) -> Picture:
    """Draw photos, one below the other, with their maps and boxes.

    Args:
        sheets: The photos.
        caption: Stands below them.
        tau: Has a mark on the colour bar and a word in the legend; None where no threshold enters.
        cmap: Colours of the maps.
        alpha: What a map's colour has of an overlay, in [0, 1]; the photo has the rest.
    """
    cell = max(_NARROWEST, *(sheet.shape[0] for sheet in sheets))
    labelled = any(label for sheet in sheets for label, _ in sheet.rows)
    left = _MARGIN + cell + _GAP + _LABEL * labelled
    across = max(len(line) for sheet in sheets for _, line in sheet.lines)
    right = left + across * (cell + _GAP)
    *tops, bottom = accumulate((sheet.height for sheet in sheets), initial=_MARGIN)
    texts = [caption, _legend(tau), _TRUTH, *(text for sheet in sheets for text in sheet.texts)]
    foot = _FOOT if right > _WIDE else 2 * _FOOT
    canvas = Canvas(right + _BAR + _TICKS, bottom + foot + _MARGIN / 2, texts)
    for sheet, top in zip(sheets, tops, strict=True):
        _draw_sheet(canvas, sheet, top, left, cell, cmap, alpha)
    _draw_bar(canvas, (right, _MARGIN + _TITLE, _BAR, sheets[0].shape[1]), tau, cmap)
    end = _draw_legend(canvas, bottom + _FOOT / 2, tau, any(len(sheet.truth) for sheet in sheets))
    if right > _WIDE:
        room = right - _GAP - end
        canvas.text(caption, right - _GAP, bottom + _FOOT / 2, room, _SMALL, _GREY, ha="right", va="center")
    else:
        canvas.text(caption, _MARGIN, bottom + 3 * _FOOT / 2, right - _GAP - _MARGIN, _SMALL, _GREY, va="center")
    return canvas.figure


def _draw_sheet(
    canvas: Canvas, sheet: Sheet, top: float, left: float, cell: float, cmap: Colormap, alpha: float
) -> None:
    width, height = sheet.shape
    photo = Image.fromarray(sheet.pixels).resize(_pixels(sheet.size), Image.Resampling.BICUBIC)
    gray = photo.convert("L").convert("RGB")  # below a map, so that every colour is the map's

    def titles(name: str, detail: str, x: float, y: float, colour: str, tail: int = 0) -> Place:
        canvas.text(name, x + cell / 2, y + 0.11, cell, _LARGE, _INK, tail, ha="center", va="center")
        canvas.text(detail, x + cell / 2, y + 0.26, cell, _SMALL, colour, ha="center", va="center")
        return x + (cell - width) / 2, y + _TITLE, width, height

    place = titles(sheet.name, sheet.detail, _MARGIN, top, _RIGHT if len(sheet.truth) else _GREY, 12)
    canvas.image(np.asarray(photo), place)
    for box in sheet.truth:
        canvas.box(box, sheet.size, place, _TRUE, dashed=True)
    for i, (label, line) in enumerate(sheet.lines):
        y = top + i * (height + _TITLE + _GAP)
        middle = y + _TITLE + height / 2
        canvas.text(label, left - 0.1, middle, height, _LARGE, _INK, rotation=90, ha="center", va="center")
        for k, panel in enumerate(line):
            x = left + k * (cell + _GAP)
            place = titles(panel.name, panel.detail, x, y, _RIGHT if panel.right else _GREY)
            canvas.image(_blend(gray, panel.heat, cmap, alpha), place)
            if panel.box is not None:
                canvas.box(panel.box, sheet.size, place, _BOX, dashed=False)
            for box in sheet.truth:  # above the other, which is seen between its dashes
                canvas.box(box, sheet.size, place, _TRUE, dashed=True)


def _draw_bar(canvas: Canvas, place: Place, tau: float | None, cmap: Colormap) -> None:
    """Draw the colour bar; where tau is known it has a mark."""
    x, y, width, height = place
    steps = (255 * cmap(np.linspace(1, 0, 256))[:, None, :3]).astype(np.uint8)
    canvas.image(steps, place)
    marks = [(0.0, "0"), (1.0, "1")]
    if tau is not None:
        marks = [mark for mark in marks if abs(mark[0] - tau) * height > 0.13] + [(tau, f"τ {tau:.3g}")]
    for value, text in marks:
        level = y + height * (1 - value)
        canvas.tick(x + width, level)
        canvas.text(text, x + width + 0.06, level, _TICKS, _SMALL, _GREY, va="center")


def _draw_legend(canvas: Canvas, y: float, tau: float | None, truth: bool) -> float:
    """Draw what the lines mean, and returns where that ends."""
    x = _MARGIN
    for text, colour, dashed in [(_legend(tau), _BOX, False), *([(_TRUTH, _TRUE, True)] if truth else [])]:
        canvas.line(x, y, 0.26, colour, dashed)
        x += 0.54 + canvas.text(text, x + 0.34, y, 2, _SMALL, _GREY, va="center")
    return x


_TRUTH = "ground truth"


def _legend(tau: float | None) -> str:
    return "box" if tau is None else f"box at τ = {tau:.6g}"


def _lines(panels: Sequence[Panel]) -> Iterator[Sequence[Panel]]:
    count = ceil(len(panels) / _ACROSS)
    length = ceil(len(panels) / count)
    for start in range(0, len(panels), length):
        yield panels[start : start + length]


def _pixels(size: tuple[int, int]) -> tuple[int, int]:
    scale = _PIXELS / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _blend(gray: Image.Image, heat: NDArray[np.floating], cmap: Colormap, alpha: float) -> NDArray[np.uint8]:
    smooth = Image.fromarray(heat.astype(np.float32)).resize(gray.size, Image.Resampling.BILINEAR)
    colours = Image.fromarray(cmap(np.asarray(smooth), bytes=True)[..., :3])
    return np.asarray(Image.blend(gray, colours, alpha))
