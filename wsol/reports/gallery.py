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
from PIL.PngImagePlugin import PngInfo

from wsol.boxes.thresholds import normalize
from wsol.datasets import read_image
from wsol.protocols import Protocol
from wsol.protocols.base import GroundTruth
from wsol.runs.results import LocalizationResults
from wsol.runs.store import ScoreMapReader

_IMAGES, _COLUMNS = 12, 3
_SIDE = 224  # of a picture
_LINE = 18  # height of a title
_TRUE, _HIT, _MISS = "#40e040", "white", "#ff4040"


def draw_gallery(
    found: LocalizationResults,
    protocol: Protocol,
    maps: ScoreMapReader,
    predictions: pd.DataFrame,
    signature: str,
    pool: Executor,
) -> bytes:
    """Draw twelve images, evenly spaced, each beside the map of its ground-truth class.

    True boxes are green; the box at the run's threshold is white where it hits and red where it does not.

    Args:
        found: What a run collected.
        protocol: Its conventions.
        maps: Its raw maps, as ``merge`` returns them.
        predictions: Its predictions; rank 0 is drawn.
        signature: Of the run; it goes into the file as a text chunk.
        pool: Threads that draw.

    Returns:
        A PNG file.
    """
    count = min(_IMAGES, len(found.images))
    chosen = (np.arange(count) * len(found.images) // count).tolist()
    own = predictions[predictions["rank"] == 0].to_dict("records")
    width, height = 2 * _SIDE + 8, _SIDE + _LINE + 8
    sheet = Image.new("RGB", (width * min(count, _COLUMNS), height * -(-count // _COLUMNS)), "black")

    def cell(i: int) -> Image.Image:
        truth = found.truths[i]
        score_map = protocol.prepare(protocol.view.assemble(maps[i][:1]), truth.size)[0]
        return _cell(truth, found.images.classes[truth.sample.label], score_map, own[i])

    cells = pool.map(cell, chosen)
    for place, picture in enumerate(cells):
        sheet.paste(picture, (place % _COLUMNS * width + 4, place // _COLUMNS * height + 4))
    file = io.BytesIO()
    text = PngInfo()
    text.add_text("signature", signature)
    sheet.save(file, "PNG", compress_level=1, pnginfo=text)
    return file.getvalue()


def _cell(truth: GroundTruth, name: str, score_map: NDArray[np.float32], guess: Mapping[Any, Any]) -> Image.Image:
    image = read_image(truth.sample)[0].resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    cell = Image.new("RGB", (2 * _SIDE, _SIDE + _LINE), "black")
    cell.paste(image, (0, _LINE))
    cell.paste(_overlay(image, score_map), (_SIDE, _LINE))
    pen = ImageDraw.Draw(cell)
    colour = _HIT if guess["error"] == "correct" else _MISS
    guessed = np.array([guess[corner] for corner in ("x0", "y0", "x1", "y1")])
    scale = _SIDE / np.array(score_map.shape[::-1] * 2)
    for left in (0, _SIDE):
        for box, ink in [*((box, _TRUE) for box in truth.boxes), (guessed, colour)]:
            x0, y0, x1, y1 = (round(v) for v in (box * scale).tolist())
            if x1 > x0 and y1 > y0:
                pen.rectangle((x0 + left, y0 + _LINE, x1 - 1 + left, y1 - 1 + _LINE), outline=ink, width=2)
    title = f"{name}   IoU {guess['iou']:.2f}   {guess['error']}"
    pen.text((2, 2), title.encode("latin-1", "replace").decode("latin-1"), fill="white", font=ImageFont.load_default())
    return cell


def _overlay(image: Image.Image, score_map: NDArray[np.float32]) -> Image.Image:
    colours = (255 * colormaps["viridis"](normalize(score_map[None])[0])[..., :3]).astype(np.uint8)
    return Image.blend(image, Image.fromarray(colours).resize(image.size), 0.55)
