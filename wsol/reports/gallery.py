"""A sheet of images with map and boxes, to see what the numbers are made of."""

import io

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from wsol.boxes.resize import bicubic
from wsol.collect import Collected
from wsol.datasets import read_image

_IMAGES = 12


def draw_gallery(found: Collected, predictions: pd.DataFrame, side: int) -> bytes:
    """Draws twelve images, evenly spaced, each beside the map of its ground-truth class.

    The true boxes are green, the box at the run's threshold is red, or white where it hits.

    Args:
        found: What a run collected.
        predictions: Its predictions; rank 0 is drawn.
        side: Of the protocol's frame.

    Returns:
        A PNG file.
    """
    count = min(_IMAGES, len(found.images))
    chosen = (np.arange(count) * len(found.images) // count).tolist()
    own = predictions[predictions["rank"] == 0]
    columns = 4
    rows = -(-count // columns)
    figure = Figure(figsize=(3.4 * columns, 2.0 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, i in zip(axes, chosen, strict=False):
        sample, guess = found.images.samples[i], own.iloc[i]
        image = np.asarray(read_image(sample)[0].resize((side, side), Image.Resampling.BILINEAR))
        axis.imshow(np.concatenate([image, _overlay(image, found.maps[i, 0])], axis=1))
        hit = guess["error"] == "correct"
        for left in (0, side):
            for box in found.truths[i]:
                _outline(axis, box, left, "#30d030")
            _outline(axis, guess[["x0", "y0", "x1", "y1"]].to_numpy(float), left, "white" if hit else "#ff3030")
        name = found.images.classes[sample.label].replace("$", r"\$")
        axis.set_title(f"{name[:28]}  IoU {guess['iou']:.2f}, {guess['error']}", fontsize=7)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def _overlay(image: NDArray[np.uint8], score_map: NDArray[np.float32]) -> NDArray[np.uint8]:
    large = bicubic(score_map[None], image.shape[:2])[0]
    span = float(large.max() - large.min())
    colours = colormaps["viridis"]((large - large.min()) / span if span > 0 else np.zeros_like(large))[..., :3]
    blended: NDArray[np.uint8] = (0.45 * image + 0.55 * 255 * colours).astype(np.uint8)
    return blended


def _outline(axis: Axes, box: NDArray[np.float64], left: float, colour: str) -> None:
    x0, y0, x1, y1 = (float(v) for v in box)
    corner = (x0 + left - 0.5, y0 - 0.5)
    axis.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.2))
