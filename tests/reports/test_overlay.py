"""The picture of a photo and its maps, and names as text in it."""

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
from wsol.reports.canvas import Picture
from wsol.reports.fonts import FontFallback, truncate_to_width
from wsol.reports.overlay import Panel, Sheet, draw_overlays

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


def panel(name: str = "cat", detail: str = "12.3 %", box: Sequence[float] | None = (10, 5, 40, 25)) -> Panel:
    heat = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    return Panel(name, detail, heat, None if box is None else np.array(box, np.float64))


def sheet(*rows: tuple[str, Sequence[Panel]], size: tuple[int, int] = (100, 50), **changes: object) -> Sheet:
    pixels = np.full((25, 50, 3), (200, 100, 0), np.uint8)
    facts = {"name": "a.jpg", "detail": "100 x 50", "pixels": pixels, "size": size, "truth": np.empty((0, 4))}
    return Sheet(**facts | changes, rows=rows or [("", [panel()])])  # type: ignore[arg-type]


def drawn(*sheets: Sheet, tau: float | None = 0.2, cmap: str = "inferno", alpha: float = 0.6) -> Picture:
    return draw_overlays(sheets, "net · cam", tau, matplotlib.colormaps[cmap], alpha)


def pixels(picture: Picture) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(picture.png({}))))


def texts(picture: Picture) -> list[Text]:
    return list(picture.axes[0].texts)


def images(picture: Picture) -> list[tuple[NDArray[np.uint8], tuple[float, float, float, float]]]:
    """The images with their places: left, top, width, height."""
    found = []
    for image in picture.axes[0].get_images():
        left, right, bottom, top = image.get_extent()
        found.append((np.asarray(image.get_array()), (left, top, right - left, bottom - top)))
    return found


def boxes(picture: Picture) -> Iterator[tuple[Rectangle, tuple[float, float, float, float]]]:
    for patch in picture.axes[0].patches[1:]:  # the first is the paper
        assert isinstance(patch, Rectangle)
        yield patch, (patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height())


@pytest.mark.parametrize("size", [(100, 50), (50, 100), (300, 300), (4000, 1000)])
def test_the_photo_keeps_its_shape_and_boxes_lie_where_they_are(size: tuple[int, int]) -> None:
    width, height = size
    truth = np.array([[0.25 * width, 0.5 * height, 0.75 * width, 0.75 * height]])
    box = np.array([0.5, 0.25, 0.75, 0.5]) * [width, height, width, height]
    picture = drawn(sheet(("", [panel(box=box)]), size=size, truth=truth))
    photo, overlay, _ = (place for _, place in images(picture))
    for _, _, w, h in (photo, overlay):
        assert w / h == pytest.approx(width / height)
    seen = [*boxes(picture)]
    own, other = (0.25, 0.5, 0.75, 0.75), (0.5, 0.25, 0.75, 0.5)
    homes = [(photo, own), (overlay, other), (overlay, own)]  # the truth is above, dashed and green
    for (patch, place), ((x, y, w, h), (x0, y0, x1, y1)) in zip(seen, homes, strict=True):
        assert place == pytest.approx((x + x0 * w, y + y0 * h, (x1 - x0) * w, (y1 - y0) * h))
        assert not patch.get_fill()
    assert [patch.get_linestyle() not in ("-", "solid") for patch, _ in seen] == [True, False, True]
    white, green = (patch.get_edgecolor()[:3] for patch, _ in seen[1:])
    assert white == (1, 1, 1)
    assert green[1] > 2 * max(green[0], green[2])


def test_lines_of_a_box_stay_inside_the_photo() -> None:
    picture = drawn(sheet(("", [panel(box=(0, 0, 100, 50))])))
    (x, y, w, h), (_, (left, top, width, height)) = images(picture)[1][1], next(boxes(picture))
    half = 0.02  # inches, about half of the line with its casing
    assert (left - x, top - y, w - width, h - height) == pytest.approx((half, half, 2 * half, 2 * half), abs=0.005)


def test_an_overlay_is_the_map_in_colours_over_the_photo_in_gray() -> None:
    gray = round(0.299 * 200 + 0.587 * 100)  # ITU-R 601, as PIL has it
    flat = Panel("", "", np.ones((2, 2), np.float32), None)
    top = 255 * np.array(matplotlib.colormaps["inferno"](1.0)[:3])
    for alpha, colour in ((0, np.full(3, gray)), (1, top), (0.6, 0.6 * top + 0.4 * gray)):
        overlay = images(drawn(sheet(("", [flat])), alpha=alpha))[1][0]
        np.testing.assert_allclose(overlay, np.broadcast_to(colour, overlay.shape), atol=1)
    photo = images(drawn(sheet()))[0][0]
    assert (photo == (200, 100, 0)).all()
    overlay = images(drawn(sheet(), cmap="gray", alpha=1))[1][0]
    assert overlay[0, 0, 0] == 0
    assert overlay[-1, -1, 0] == 255
    assert overlay[0, -1, 0] == pytest.approx(255 * 3 / 11, abs=1)  # the first row's end: 3 of 11 steps


def test_the_colour_bar_has_the_threshold_where_it_is() -> None:
    picture = drawn(sheet(), tau=0.25, cmap="jet")
    bar, (x, y, w, h) = images(picture)[-1]
    jet = matplotlib.colormaps["jet"]
    np.testing.assert_allclose(bar[[0, -1], 0], 255 * np.array([jet(1.0), jet(0.0)])[:, :3], atol=1)
    marks = {text.get_text(): text.get_position() for text in texts(picture) if text.get_position()[0] > x + w}
    assert {name: place[1] for name, place in marks.items()} == pytest.approx(
        {"1": y, "0": y + h, "τ 0.25": y + 0.75 * h}
    )
    assert "box at τ = 0.25" in [text.get_text() for text in texts(picture)]
    words = [text.get_text() for text in texts(drawn(sheet(), tau=None))]
    assert "box" in words
    assert not any("τ" in word for word in words)


@pytest.mark.parametrize(("count", "lines"), [(1, [1]), (5, [5]), (6, [3, 3]), (12, [4, 4, 4]), (7, [4, 3])])
def test_many_panels_take_several_lines(count: int, lines: list[int]) -> None:
    tops = [round(place[1], 6) for _, place in images(drawn(sheet(("", [panel()] * count))))[1:-1]]
    assert [tops.count(top) for top in sorted(set(tops))] == lines


def test_rows_and_photos_do_not_lie_on_each_other() -> None:
    rows = [("cam", [panel()] * 3), ("rise:masks=1000,cells=8,keep=0.5,seed=0", [panel()] * 3), ("any", [panel()])]
    picture = drawn(sheet(*rows), sheet(*rows, size=(30, 100)))
    places = [place for _, place in images(picture)]
    assert len(places) == 2 * (1 + 7) + 1
    for i, (x, y, w, h) in enumerate(places):
        for left, top, width, height in places[:i]:
            assert x >= left + width or left >= x + w or y >= top + height or top >= y + h
    words = [text.get_text() for text in texts(picture)]
    assert words.count("cam") == 2
    assert any(word.startswith("rise:masks") and word.endswith("…") for word in words)


def test_the_legend_names_the_ground_truth_where_there_is_some() -> None:
    assert "ground truth" not in [text.get_text() for text in texts(drawn(sheet()))]
    known = drawn(sheet(truth=np.array([[1, 1, 9, 9.0]])))
    assert "ground truth" in [text.get_text() for text in texts(known)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(100, 50), (20, 400)])
def test_names_are_text_that_stays_in_its_place(size: tuple[int, int]) -> None:
    picture = drawn(
        sheet((ODD[0], [panel(name, name) for name in ODD]), size=size, name=ODD[5], detail=ODD[0]),
        sheet(("cam", [panel(name) for name in ODD[::-1]]), size=size, name=ODD[1]),
    )
    pixels(picture)
    renderer = picture.canvas.get_renderer()
    extents = [text.get_window_extent(renderer) for text in texts(picture)]
    paper = picture.bbox
    for i, extent in enumerate(extents):
        assert extent.x0 >= -1
        assert extent.x1 <= paper.x1 + 1
        assert extent.y0 >= -1
        assert extent.y1 <= paper.y1 + 1
        for other in extents[:i]:
            across = min(extent.x1, other.x1) - max(extent.x0, other.x0)
            down = min(extent.y1, other.y1) - max(extent.y0, other.y0)
            assert across < 2 or down < 2  # pixels: letters have room around them
    assert not any(text.get_parse_math() or text.get_usetex() for text in texts(picture))
    words = [text.get_text() for text in texts(picture)]
    whole = [name for name in ODD if len(name) < 20] if size == (100, 50) else []
    assert {*whole} <= {*words}


def test_a_formula_is_not_set() -> None:
    plain, formula = (drawn(sheet(name=name)) for name in ("x^2", "$x^2$"))
    ink = [(pixels(picture)[:, :600] < 128).sum() for picture in (plain, formula)]
    assert ink[1] > ink[0]  # as a formula it has no dollar signs


def test_the_picture_does_not_depend_on_a_users_style() -> None:
    usual = pixels(drawn(sheet()))
    changed = {"text.usetex": True, "image.origin": "lower", "font.family": "serif", "axes.grid": True}
    with plt.style.context(["dark_background", changed]):
        assert (pixels(drawn(sheet())) == usual).all()


def test_a_png_file_carries_texts() -> None:
    file = Image.open(io.BytesIO(drawn(sheet()).png({"signature": "猫|cam\nzwei"})))
    assert file.info["signature"] == "猫|cam\nzwei"
    assert "Software" not in file.info


def test_a_notebook_shows_it_and_pyplot_does_not_know_it() -> None:
    before = plt.get_fignums()
    picture = drawn(sheet())
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert plt.get_fignums() == before


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("tench, Tinca tinca", "tench, Tinca tinca"),
        (" a\n b\t\tc\r\n", "a b c"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("caf\udce9", "caf\\udce9"),  # bytes that are no UTF-8
        ("cafe\u0301", "café"),  # as macOS stores it
        ("a\u2028b\u00a0c", "a b c"),
    ],
)
def test_shown(text: str, line: str) -> None:
    assert printable(text) == line


@given(st.text(st.characters()))
@example("caf\udce9")
def test_whatever_is_shown_is_one_line_that_can_be_written(text: str) -> None:
    line = printable(text)
    assert line.isprintable()
    line.encode()
    assert not line.startswith(" ")
    assert "  " not in line


@given(
    st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=40), st.integers(1, 45), st.integers(0, 9)
)
def test_fitted(text: str, room: int, tail: int) -> None:
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
    letters = FontFallback(["a\U000e0fff", "\u0f00 猫"])
    assert letters.families[0] == "DejaVu Sans"
    assert letters("жa") == "жa"
    if len(letters.families) == 1:  # nothing else is installed here
        assert letters("猫") == "\\u732b"


def test_a_font_of_the_machine_helps_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    letters = FontFallback(["a\U00013000"])
    assert letters.families == ["DejaVu Sans", "AAA Cats"]
    assert letters("a\U00013000") == "a\U00013000"
    pixels(drawn(sheet(name="a\U00013000")))
