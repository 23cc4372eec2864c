"""The figure of photos and their maps, and any string as a name in it."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib import font_manager
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from wsol.io.display import printable
from wsol.reports.canvas import PngFigure
from wsol.reports.fonts import FontFallback, truncate_to_width
from wsol.reports.overlay import MapPanel, PhotoPanels, draw_overlays

ODD = [
    "$\\frac{1}{0}$ and $x",
    '<script>alert("1")</script>',
    "'single' \"double\"",
    "a_b^c%#~{}\\",
    "café, naïve, жук, λ",
    "x" * 300,
    "wide " * 60,
    "\\N{no such name}",
]


def panel(name: str = "cat", detail: str = "12.3 %", box: Sequence[float] | None = (10, 5, 40, 25)) -> MapPanel:
    heat = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    return MapPanel(name, detail, heat, None if box is None else np.array(box, np.float64))


def photo_panels(
    *rows: tuple[str, Sequence[MapPanel]], size: tuple[int, int] = (100, 50), **changes: object
) -> PhotoPanels:
    pixels = np.full((25, 50, 3), (200, 100, 0), np.uint8)
    defaults = {"name": "a.jpg", "detail": "100 x 50", "pixels": pixels, "size": size, "truth": np.empty((0, 4))}
    return PhotoPanels(**defaults | changes, rows=rows or [("", [panel()])])  # type: ignore[arg-type]


def draw(*photos: PhotoPanels, tau: float | None = 0.2, cmap: str = "inferno", alpha: float = 0.6) -> PngFigure:
    return draw_overlays(photos, "net · cam", tau, matplotlib.colormaps[cmap], alpha)


def pixels(figure: PngFigure) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(figure.to_png({}))))


def texts(figure: PngFigure) -> list[Text]:
    return list(figure.axes[0].texts)


def images(figure: PngFigure) -> list[tuple[NDArray[np.uint8], tuple[float, float, float, float]]]:
    """The images with their places: left, top, width, height."""
    placed = []
    for image in figure.axes[0].get_images():
        left, right, bottom, top = image.get_extent()
        placed.append((np.asarray(image.get_array()), (left, top, right - left, bottom - top)))
    return placed


def boxes(figure: PngFigure) -> Iterator[tuple[Rectangle, tuple[float, float, float, float]]]:
    for patch in figure.axes[0].patches[1:]:  # the first is the paper
        assert isinstance(patch, Rectangle)
        yield patch, (patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height())


@pytest.mark.parametrize("size", [(100, 50), (50, 100), (300, 300), (4000, 1000)])
def test_the_photo_keeps_its_shape_and_boxes_their_place(size: tuple[int, int]) -> None:
    width, height = size
    truth = np.array([[0.25 * width, 0.5 * height, 0.75 * width, 0.75 * height]])
    box = np.array([0.5, 0.25, 0.75, 0.5]) * [width, height, width, height]
    figure = draw(photo_panels(("", [panel(box=box)]), size=size, truth=truth))
    photo, overlay, _ = (place for _, place in images(figure))
    for _, _, w, h in (photo, overlay):
        assert w / h == pytest.approx(width / height)
    drawn = [*boxes(figure)]
    own, other = (0.25, 0.5, 0.75, 0.75), (0.5, 0.25, 0.75, 0.5)
    homes = [(photo, own), (overlay, other), (overlay, own)]  # the ground truth is on top, dashed and green
    for (patch, place), ((x, y, w, h), (x0, y0, x1, y1)) in zip(drawn, homes, strict=True):
        assert place == pytest.approx((x + x0 * w, y + y0 * h, (x1 - x0) * w, (y1 - y0) * h))
        assert not patch.get_fill()
    assert [patch.get_linestyle() not in ("-", "solid") for patch, _ in drawn] == [True, False, True]
    white, green = (patch.get_edgecolor()[:3] for patch, _ in drawn[1:])
    assert white == (1, 1, 1)
    assert green[1] > 2 * max(green[0], green[2])


def test_lines_of_a_box_stay_inside_the_photo() -> None:
    figure = draw(photo_panels(("", [panel(box=(0, 0, 100, 50))])))
    (x, y, w, h), (_, (left, top, width, height)) = images(figure)[1][1], next(boxes(figure))
    half = 0.02  # inches, about half of the line with its casing
    assert (left - x, top - y, w - width, h - height) == pytest.approx((half, half, 2 * half, 2 * half), abs=0.005)


def test_an_overlay_is_the_map_in_colors_over_the_photo_in_gray() -> None:
    gray = round(0.299 * 200 + 0.587 * 100)  # ITU-R 601, as PIL has it
    flat = MapPanel("", "", np.ones((2, 2), np.float32), None)
    top = 255 * np.array(matplotlib.colormaps["inferno"](1.0)[:3])
    for alpha, color in ((0, np.full(3, gray)), (1, top), (0.6, 0.6 * top + 0.4 * gray)):
        overlay = images(draw(photo_panels(("", [flat])), alpha=alpha))[1][0]
        np.testing.assert_allclose(overlay, np.broadcast_to(color, overlay.shape), atol=1)
    photo = images(draw(photo_panels()))[0][0]
    assert (photo == (200, 100, 0)).all()
    overlay = images(draw(photo_panels(), cmap="gray", alpha=1))[1][0]
    assert overlay[0, 0, 0] == 0
    assert overlay[-1, -1, 0] == 255
    assert overlay[0, -1, 0] == pytest.approx(255 * 3 / 11, abs=1)  # the first row's end: 3 of 11 steps


def test_the_color_bar_marks_the_threshold() -> None:
    figure = draw(photo_panels(), tau=0.25, cmap="jet")
    bar, (x, y, w, h) = images(figure)[-1]
    jet = matplotlib.colormaps["jet"]
    np.testing.assert_allclose(bar[[0, -1], 0], 255 * np.array([jet(1.0), jet(0.0)])[:, :3], atol=1)
    marks = {text.get_text(): text.get_position() for text in texts(figure) if text.get_position()[0] > x + w}
    assert {name: place[1] for name, place in marks.items()} == pytest.approx(
        {"1": y, "0": y + h, "τ 0.25": y + 0.75 * h}
    )
    assert "box at τ = 0.25" in [text.get_text() for text in texts(figure)]
    words = [text.get_text() for text in texts(draw(photo_panels(), tau=None))]
    assert "box" in words
    assert not any("τ" in word for word in words)


@pytest.mark.parametrize(("count", "lines"), [(1, [1]), (5, [5]), (6, [3, 3]), (12, [4, 4, 4]), (7, [4, 3])])
def test_many_panels_take_several_lines(count: int, lines: list[int]) -> None:
    tops = [round(place[1], 6) for _, place in images(draw(photo_panels(("", [panel()] * count))))[1:-1]]
    assert [tops.count(top) for top in sorted(set(tops))] == lines


def test_rows_and_photos_do_not_lie_on_each_other() -> None:
    rows = [("cam", [panel()] * 3), ("rise:masks=1000,cells=8,keep=0.5,seed=0", [panel()] * 3), ("any", [panel()])]
    figure = draw(photo_panels(*rows), photo_panels(*rows, size=(30, 100)))
    places = [place for _, place in images(figure)]
    assert len(places) == 2 * (1 + 7) + 1
    for i, (x, y, w, h) in enumerate(places):
        for left, top, width, height in places[:i]:
            assert x >= left + width or left >= x + w or y >= top + height or top >= y + h
    words = [text.get_text() for text in texts(figure)]
    assert words.count("cam") == 2
    assert any(word.startswith("rise:masks") and word.endswith("…") for word in words)


def test_the_legend_includes_ground_truth_only_if_there_is_some() -> None:
    assert "ground truth" not in [text.get_text() for text in texts(draw(photo_panels()))]
    with_truth = draw(photo_panels(truth=np.array([[1, 1, 9, 9.0]])))
    assert "ground truth" in [text.get_text() for text in texts(with_truth)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(100, 50), (20, 400)])
def test_names_are_text_that_stays_in_its_place(size: tuple[int, int]) -> None:
    figure = draw(
        photo_panels((ODD[0], [panel(name, name) for name in ODD]), size=size, name=ODD[5], detail=ODD[0]),
        photo_panels(("cam", [panel(name) for name in ODD[::-1]]), size=size, name=ODD[1]),
    )
    pixels(figure)
    renderer = figure.canvas.get_renderer()
    extents = [text.get_window_extent(renderer) for text in texts(figure)]
    paper = figure.bbox
    for i, extent in enumerate(extents):
        assert extent.x0 >= -1
        assert extent.x1 <= paper.x1 + 1
        assert extent.y0 >= -1
        assert extent.y1 <= paper.y1 + 1
        for other in extents[:i]:
            across = min(extent.x1, other.x1) - max(extent.x0, other.x0)
            down = min(extent.y1, other.y1) - max(extent.y0, other.y0)
            assert across < 2 or down < 2  # pixels: letters have room around them
    assert not any(text.get_parse_math() or text.get_usetex() for text in texts(figure))
    words = [text.get_text() for text in texts(figure)]
    whole = [name for name in ODD if len(name) < 20] if size == (100, 50) else []
    assert {*whole} <= {*words}


def test_a_formula_is_not_set() -> None:
    plain, formula = (draw(photo_panels(name=name)) for name in ("x^2", "$x^2$"))
    ink = [(pixels(figure)[:, :600] < 128).sum() for figure in (plain, formula)]
    assert ink[1] > ink[0]  # as a formula it has no dollar signs


def test_the_figure_ignores_the_users_style() -> None:
    usual = pixels(draw(photo_panels()))
    changed = {"text.usetex": True, "image.origin": "lower", "font.family": "serif", "axes.grid": True}
    with plt.style.context(["dark_background", changed]):
        assert (pixels(draw(photo_panels())) == usual).all()


def test_a_png_file_carries_texts() -> None:
    file = Image.open(io.BytesIO(draw(photo_panels()).to_png({"signature": "猫|cam\nzwei"})))
    assert file.info["signature"] == "猫|cam\nzwei"
    assert "Software" not in file.info


def test_a_notebook_shows_it_and_pyplot_does_not_manage_it() -> None:
    before = plt.get_fignums()
    figure = draw(photo_panels())
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert plt.get_fignums() == before


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("tench, Tinca tinca", "tench, Tinca tinca"),
        (" a\n b\t\tc\r\n", "a b c"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("caf\udce9", "caf\\udce9"),  # bytes that are not UTF-8
        ("cafe\u0301", "café"),  # as macOS stores it
        ("a\u2028b\u00a0c", "a b c"),
    ],
)
def test_printable(text: str, line: str) -> None:
    assert printable(text) == line


@given(st.text(st.characters()))
@example("caf\udce9")
def test_printable_strings_are_one_line_that_can_be_encoded(text: str) -> None:
    line = printable(text)
    assert line.isprintable()
    line.encode()
    assert not line.startswith(" ")
    assert "  " not in line


@given(
    st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=40), st.integers(1, 45), st.integers(0, 9)
)
def test_truncate_to_width(text: str, room: int, tail: int) -> None:
    line = truncate_to_width(text, room, len, tail)
    assert len(line) <= room
    if len(text) <= room:
        assert line == text
    else:
        head, end = line.split("…")
        assert text.startswith(head)
        assert text.endswith(end)
        assert len(end) == (tail if tail + 1 < room else 0) or not head
        spare = room - len(line)
        assert not spare or text[len(head)] == " "  # nothing more would fit


def test_characters_that_no_font_has_become_their_escape() -> None:
    fonts = FontFallback(["a\U000e0fff", "\u0f00 猫"])
    assert fonts.families[0] == "DejaVu Sans"
    assert fonts.escape("жa") == "жa"
    if len(fonts.families) == 1:  # nothing else is installed here
        assert fonts.escape("猫") == "\\u732b"


def test_installed_fonts_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({0x13000: "cat"})
    glyph = TTGlyphPen(None)
    for point in ((0, 0), (0, 700), (700, 700), (700, 0)):
        (glyph.lineTo if glyph.points else glyph.moveTo)(point)
    glyph.closePath()
    shape = glyph.glyph()
    builder.setupGlyf({".notdef": shape, "cat": shape})
    builder.setupHorizontalMetrics({".notdef": (800, 0), "cat": (800, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "AAA Cats", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800)
    builder.setupPost()
    builder.save(tmp_path / "cats.ttf")
    known = font_manager.fontManager.ttflist
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*known])
    font_manager.fontManager.addfont(tmp_path / "cats.ttf")
    fonts = FontFallback(["a\U00013000"])
    assert fonts.families == ["DejaVu Sans", "AAA Cats"]
    assert fonts.escape("a\U00013000") == "a\U00013000"
    pixels(draw(photo_panels(name="a\U00013000")))
