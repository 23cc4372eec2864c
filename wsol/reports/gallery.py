"""A sheet of images with map and boxes, to see what the numbers are made of."""

import io
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from wsol.boxes.resize import bicubic
from wsol.collect import Collected
from wsol.datasets import read_image

_IMAGES, _COLUMNS = 12, 3
_LINE = 18  # height of a title
_TRUE, _HIT, _MISS = "#40e040", "white", "#ff4040"


def draw_gallery(found: Collected, predictions: pd.DataFrame, side: int, pool: Executor) -> bytes:
    """Draws twelve images, evenly spaced, each beside the map of its ground-truth class.

    True boxes are green; the box at the run's threshold is white where it hits and red where it does not.

    Args:
        found: What a run collected.
        predictions: Its predictions; rank 0 is drawn.
        side: Of the protocol's frame.
        pool: Threads that draw.

    Returns:
        A PNG file.
    """
    count = min(_IMAGES, len(found.images))
    chosen = (np.arange(count) * len(found.images) // count).tolist()
    own = predictions[predictions["rank"] == 0].to_dict("records")
    width, height = 2 * side + 8, side + _LINE + 8
    sheet = Image.new("RGB", (width * min(count, _COLUMNS), height * -(-count // _COLUMNS)), "black")
    cells = pool.map(lambda i: _cell(found, own[i], i, side), chosen)
    for place, cell in enumerate(cells):
        sheet.paste(cell, (place % _COLUMNS * width + 4, place // _COLUMNS * height + 4))
    file = io.BytesIO()
    sheet.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _cell(found: Collected, guess: Mapping[Any, Any], i: int, side: int) -> Image.Image:
    sample = found.images.samples[i]
    image = read_image(sample)[0].resize((side, side), Image.Resampling.BILINEAR)
    cell = Image.new("RGB", (2 * side, side + _LINE), "black")
    cell.paste(image, (0, _LINE))
    cell.paste(_overlay(image, found.maps[i, 0]), (side, _LINE))
    pen = ImageDraw.Draw(cell)
    colour = _HIT if guess["error"] == "correct" else _MISS
    guessed = np.array([guess[corner] for corner in ("x0", "y0", "x1", "y1")])
    for left in (0, side):
        for box, ink in [*((box, _TRUE) for box in found.truths[i]), (guessed, colour)]:
            x0, y0, x1, y1 = (round(v) for v in box.tolist())
            if x1 > x0 and y1 > y0:
                pen.rectangle((x0 + left, y0 + _LINE, x1 - 1 + left, y1 - 1 + _LINE), outline=ink, width=2)
    title = f"{found.images.classes[sample.label]}   IoU {guess['iou']:.2f}   {guess['error']}"
    pen.text((2, 2), title.encode("latin-1", "replace").decode("latin-1"), fill="white", font=ImageFont.load_default())
    return cell


def _overlay(image: Image.Image, score_map: NDArray[np.float32]) -> Image.Image:
    large = bicubic(score_map[None], (image.height, image.width))[0]
    span = float(large.max() - large.min())
    scaled = (large - large.min()) / span if span > 0 else np.zeros_like(large)
    colours = (255 * colormaps["viridis"](scaled)[..., :3]).astype(np.uint8)
    return Image.blend(image, Image.fromarray(colours), 0.55)
