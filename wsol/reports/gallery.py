"""The gallery of a run: a PNG file of images with score maps and boxes."""

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

from wsol.datasets import read_image
from wsol.protocols import Protocol
from wsol.protocols.base import GroundTruth
from wsol.reports.heat_map import (
    BOX_COLOR,
    DEFAULT_ALPHA,
    DEFAULT_COLORMAP,
    MISS_COLOR,
    TRUTH_COLOR,
    draw_box,
    overlay_heat_map,
)
from wsol.runs.results import LocalizationResults
from wsol.runs.score_maps import ScoreMapReader

_IMAGES, _COLUMNS = 12, 3
_SIDE = 224  # pixels of an image
_TITLE = 18  # pixels, height of a title


def draw_gallery(
    results: LocalizationResults,
    protocol: Protocol,
    maps: ScoreMapReader,
    predictions: pd.DataFrame,
    signature: str,
    pool: Executor,
) -> bytes:
    """Draw twelve images, evenly spaced over the data set, each next to the score map of its ground-truth class.

    True boxes are dashed and green. The box at the run's threshold is white if it is correct and red if not.

    Args:
        results: Results of the run.
        protocol: Protocol of the run.
        maps: Raw score maps of the run, as ``merge`` returns them.
        predictions: Predictions of the run; the rows of rank 0 are drawn.
        signature: Signature of the run, stored in the file as a text chunk.
        pool: Threads that draw.

    Returns:
        A PNG file.
    """
    count = min(_IMAGES, len(results.images))
    chosen = (np.arange(count) * len(results.images) // count).tolist()
    rows = predictions[predictions["rank"] == 0].to_dict("records")
    width, height = 2 * _SIDE + 8, _SIDE + _TITLE + 8
    sheet = Image.new("RGB", (width * min(count, _COLUMNS), height * -(-count // _COLUMNS)), "black")

    def cell(i: int) -> Image.Image:
        truth = results.truths[i]
        score_map = protocol.prepare(protocol.view.assemble(maps[i][:1]), truth.size)[0]
        return _draw_cell(truth, results.images.classes[truth.sample.label], score_map, rows[i])

    cells = pool.map(cell, chosen)
    for place, image in enumerate(cells):
        sheet.paste(image, (place % _COLUMNS * width + 4, place // _COLUMNS * height + 4))
    file = io.BytesIO()
    text = PngInfo()
    text.add_text("signature", signature)
    sheet.save(file, "PNG", compress_level=1, pnginfo=text)
    return file.getvalue()


def _draw_cell(
    truth: GroundTruth, class_name: str, score_map: NDArray[np.float32], row: Mapping[Any, Any]
) -> Image.Image:
    """Draw an image without and with its prepared score map, below a title."""
    image = read_image(truth.sample)[0].resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    heat = overlay_heat_map(image, np.clip(score_map, 0, 1), colormaps[DEFAULT_COLORMAP], DEFAULT_ALPHA)
    pixels = np.stack([np.asarray(image), heat])
    box = np.array([row[corner] for corner in ("x0", "y0", "x1", "y1")])
    scale = _SIDE / np.array(score_map.shape[::-1] * 2)
    cell = Image.new("RGB", (2 * _SIDE, _SIDE + _TITLE), "black")
    for k, panel in enumerate(pixels):
        draw_box(panel, box * scale, BOX_COLOR if row["error"] == "correct" else MISS_COLOR, dashed=False)
        for true_box in truth.boxes:  # on top: the other box is visible between the dashes
            draw_box(panel, true_box * scale, TRUTH_COLOR, dashed=True)
        cell.paste(Image.fromarray(panel), (k * _SIDE, _TITLE))
    title = f"{class_name}   IoU {row['iou']:.2f}   {row['error']}".encode("latin-1", "replace").decode("latin-1")
    ImageDraw.Draw(cell).text((2, 2), title, fill="white", font=ImageFont.load_default())
    return cell
