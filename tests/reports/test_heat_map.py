"""Heat maps and boxes over photos, worked out by hand, and the gallery of a run."""

import math
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import wsol
from wsol.models import Model
from wsol.reports.heat_map import BOX_COLOR, CASING_COLOR, MISS_COLOR, TRUTH_COLOR, draw_box, overlay_heat_map
from wsol.runs.read import read_run


def rgb(color: str) -> list[int]:
    return list(bytes.fromhex(color[1:]))


def mask(pixels: NDArray[np.uint8], color: str) -> NDArray[np.bool_]:
    return np.asarray((pixels == rgb(color)).all(-1))


def ring(shape: tuple[int, int], box: tuple[int, int, int, int], outside: int, inside: int) -> NDArray[np.bool_]:
    """Return the pixels up to ``outside`` outside and ``inside`` inside the edges of a box."""
    x0, y0, x1, y1 = box
    pixels = np.zeros(shape, bool)
    pixels[max(y0 - outside, 0) : y1 + outside, max(x0 - outside, 0) : x1 + outside] = True
    if x1 - x0 > 2 * inside and y1 - y0 > 2 * inside:
        pixels[y0 + inside : y1 - inside, x0 + inside : x1 - inside] = False
    return pixels


@pytest.mark.parametrize("alpha", [0, 0.25, 1])
def test_an_overlay_is_the_map_in_colors_over_the_photo_in_gray(alpha: float) -> None:
    photo = Image.new("RGB", (4, 2), (200, 100, 0))
    heat = np.array([[0, 1]], np.float32)
    colormap = matplotlib.colormaps["viridis"]
    overlay = overlay_heat_map(photo, heat, colormap, alpha)
    assert overlay.shape == (2, 4, 3)
    gray = round(0.299 * 200 + 0.587 * 100)  # ITU-R 601
    for k, value in enumerate((0.0, 0.25, 0.75, 1.0)):  # bilinear
        color = 255 * np.array(colormap(value)[:3])
        np.testing.assert_allclose(overlay[:, k], [alpha * color + (1 - alpha) * gray] * 2, atol=1.5)


@pytest.mark.parametrize("box", [(3, 4, 15, 12), (0, 0, 20, 16), (5, 5, 6, 6), (5, 5, 8, 9), (14, 2, 30, 40)])
def test_the_outline_of_a_box(box: tuple[int, int, int, int]) -> None:
    solid, dashed = np.full((2, 16, 20, 3), 128, np.uint8)
    draw_box(solid, np.array(box) + 0.3, MISS_COLOR, dashed=False)
    line, casing = ring((16, 20), box, 0, 2), ring((16, 20), box, 1, 3)
    np.testing.assert_array_equal(mask(solid, MISS_COLOR), line)
    np.testing.assert_array_equal(mask(solid, CASING_COLOR), casing & ~line)
    assert (solid[~casing] == 128).all()
    draw_box(dashed, np.array(box, float), MISS_COLOR, dashed=True)
    y, x = np.indices((16, 20))
    gaps = (x + y) % 9 >= 6
    assert (dashed[gaps] == 128).all()
    np.testing.assert_array_equal(dashed[~gaps], solid[~gaps])


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 5, 5, 9), (np.nan,) * 4])
def test_no_outline_of_a_box_without_pixels(box: tuple[float, ...]) -> None:
    pixels = np.full((16, 20, 3), 128, np.uint8)
    draw_box(pixels, np.array(box), BOX_COLOR, dashed=False)
    assert (pixels == 128).all()


@pytest.mark.slow
def test_the_gallery_of_a_run(tmp_path: Path, synthetic_model: Model) -> None:
    wsol.evaluate(synthetic_model, limit=5, device="cpu", out=tmp_path / "run")
    run = read_run(tmp_path / "run")
    with Image.open(tmp_path / "run" / "gallery.png") as file:
        assert file.info["signature"] == run.signature
        sheet = np.asarray(file)
    assert sheet.shape == (2 * (224 + 18 + 8), 3 * (2 * 224 + 8), 3)  # five cells in rows of three
    rows = run.tables.predictions.query("rank == 0")
    first = run.tables.predictions.query("rank == 1")
    names = run.results.images.classes
    for i, (own, top) in enumerate(zip(rows.itertuples(), first.itertuples(), strict=True)):
        wrong = f" -> {names[top.class_id]}" if top.class_id != top.label else ""
        title = f"{names[own.label]}   IoU {math.floor(100 * own.iou) / 100:.2f}   {top.error}{wrong}"
        strip = Image.new("RGB", (448, 18))
        ImageDraw.Draw(strip).text((2, 2), title, fill="white", font=ImageFont.load_default())
        y, x = i // 3 * 250 + 4, i % 3 * 456 + 4
        np.testing.assert_array_equal(sheet[y : y + 18, x : x + 448], np.asarray(strip))
    assert set(first.error) >= {"class"}  # although some boxes of the true class may be correct
    for i, row in enumerate(rows.itertuples()):
        top, left = i // 3 * 250 + 4 + 18, i % 3 * 456 + 4
        color, other = (BOX_COLOR, MISS_COLOR) if row.iou >= 0.5 else (MISS_COLOR, BOX_COLOR)
        truth = np.zeros((224, 224), bool)
        for box in run.results.truths[i].boxes:
            truth |= ring((224, 224), tuple(np.rint(box).astype(int)), 0, 2)
        predicted = ring((224, 224), tuple(np.rint([row.x0, row.y0, row.x1, row.y1]).astype(int)), 0, 2)
        for panel in (sheet[top : top + 224, left : left + 224], sheet[top : top + 224, left + 224 : left + 448]):
            assert mask(panel, TRUTH_COLOR)[truth].mean() > 0.5
            assert mask(panel, color)[predicted & ~truth].mean() > 0.5
            assert mask(panel, other)[predicted].mean() < 0.1
