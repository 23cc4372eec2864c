"""The gallery of a run: a PNG file of images with score maps and boxes."""

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from wsol.datasets import read_image
from wsol.metrics.hits import are_hits
from wsol.protocols import Protocol, Window
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
from wsol.runtime.threads import processor_count

_IMAGES, _COLUMNS = 12, 3
_SIDE = 224  # pixels of an image
_TITLE = 18  # pixels, height of a title


def draw_gallery(
    results: LocalizationResults,
    protocol: Protocol,
    maps: ScoreMapReader,
    predictions: pd.DataFrame,
    signature: str,
) -> bytes:
    """Draw twelve images, evenly spaced over the data set, each next to the score map of its ground-truth class.

    True boxes are dashed and green. The box of the ground-truth class at the run's threshold is white if its IoU
    reaches delta and red if not. The title has its IoU and, as on the page, the error type of the first prediction, and
    the predicted class if it is wrong.

    Args:
        results: Results of the run.
        protocol: Protocol of the run.
        maps: Raw score maps of the run, as ``merge`` returns them.
        predictions: Predictions of the run; the boxes of rank 0 are drawn.
        signature: Signature of the run, stored in the file as a text chunk.

    Returns:
        A PNG file.
    """
    count = min(_IMAGES, len(results.images))
    chosen = (np.arange(count) * len(results.images) // count).tolist()
    own, first = (
        dict(zip(chosen, predictions[predictions["rank"] == rank].iloc[chosen].to_dict("records"), strict=True))
        for rank in (0, 1 if results.classifies else 0)
    )
    classes = results.images.classes
    width, height = 2 * _SIDE + 8, _SIDE + _TITLE + 8
    sheet = Image.new("RGB", (width * min(count, _COLUMNS), height * -(-count // _COLUMNS)), "black")

    def cell(i: int) -> Image.Image:
        truth = results.truths[i]
        score_map = protocol.prepare_view(protocol.view, maps[i : i + 1][0, :1], truth.size)[0]
        label, top = truth.sample.label, int(first[i]["class_id"])
        wrong = f" -> {classes[top] if top < len(classes) else f'class {top}'}" if top != label else ""
        found = f"IoU {_truncate(own[i]['iou'])}   {first[i]['error']}" if len(truth.boxes) else "no object"
        title = f"{classes[label]}   {found}{wrong}"
        is_hit = bool(are_hits(np.array(own[i]["iou"]), protocol.delta, protocol.strict == "all"))
        return _draw_cell(truth, score_map, own[i], is_hit, title, protocol.window)

    with ThreadPoolExecutor(min(count, processor_count())) as pool:
        for place, image in enumerate(pool.map(cell, chosen)):
            sheet.paste(image, (place % _COLUMNS * width + 4, place // _COLUMNS * height + 4))
    file = io.BytesIO()
    text = PngInfo()
    text.add_text("signature", signature)
    sheet.save(file, "PNG", compress_level=1, pnginfo=text)
    return file.getvalue()


def _truncate(iou: float) -> str:
    """Return two digits of an IoU; one below delta never looks as if it reached it."""
    return f"{int(1e4 * iou + 1e-3) // 100 / 100:.2f}"


def _draw_cell(
    truth: GroundTruth,
    score_map: NDArray[np.float32],
    row: Mapping[Any, Any],
    is_hit: bool,
    title: str,
    window: Window,
) -> Image.Image:
    """Draw the window of an image without and with its prepared score map, below a title."""
    from matplotlib import colormaps  # noqa: PLC0415  # slow to import, and needed after the last batch only

    photo = read_image(truth.sample)[0]
    left, top, right, bottom = window.to_image(np.array([0.0, 0, 1, 1]), (1, 1), photo.size).tolist()
    image = photo.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, (left, top, right, bottom))
    heat = overlay_heat_map(image, np.clip(score_map, 0, 1), colormaps[DEFAULT_COLORMAP], DEFAULT_ALPHA)
    pixels = np.stack([np.asarray(image), heat])
    box = np.array([row[corner] for corner in ("x0", "y0", "x1", "y1")])
    scale = _SIDE / np.array(score_map.shape[::-1] * 2)
    cell = Image.new("RGB", (2 * _SIDE, _SIDE + _TITLE), "black")
    for k, panel in enumerate(pixels):
        draw_box(panel, box * scale, BOX_COLOR if is_hit else MISS_COLOR, dashed=False)
        for true_box in truth.boxes:  # on top: the other box is visible between the dashes
            draw_box(panel, true_box * scale, TRUTH_COLOR, dashed=True)
        cell.paste(Image.fromarray(panel), (k * _SIDE, _TITLE))
    latin = title.encode("latin-1", "replace").decode("latin-1")
    ImageDraw.Draw(cell).text((2, 2), latin, fill="white", font=ImageFont.load_default())
    return cell
