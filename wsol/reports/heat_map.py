"""The common look of maps and boxes over photos, in the gallery of a run and in the figures of ``wsol.explain``."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:  # slow to import
    from matplotlib.colors import Colormap

DEFAULT_COLORMAP, DEFAULT_ALPHA = "inferno", 0.6
TRUTH_COLOR, BOX_COLOR, MISS_COLOR = "#2fe02f", "#ffffff", "#ff4040"
CASING_COLOR = "#101010"  # drawn around the lines, so that they stand out on any image
_DASH, _PERIOD = 6, 9  # pixels


def overlay_heat_map(
    photo: Image.Image, heat: NDArray[np.floating], colormap: "Colormap", alpha: float
) -> NDArray[np.uint8]:
    """Blend a heat map over a photo in gray, so that every color is the map's.

    Args:
        photo: The photo; its size is that of the result.
        heat: float ``(h, w)`` in [0, 1], stretched over the photo bilinearly.
        colormap: Colors of the map.
        alpha: Weight of the map's color, in [0, 1]; the photo has the rest.

    Returns:
        uint8 ``(height, width, 3)``.
    """
    smooth = Image.fromarray(heat.astype(np.float32)).resize(photo.size, Image.Resampling.BILINEAR)
    colors = Image.fromarray(colormap(np.asarray(smooth), bytes=True)[..., :3])
    return np.asarray(Image.blend(photo.convert("L").convert("RGB"), colors, alpha))


def draw_box(pixels: NDArray[np.uint8], box: NDArray[np.float64], color: str, dashed: bool) -> None:
    """Draw the outline of a box into an image: two pixels inside the box, with a casing of one pixel on either side.

    Args:
        pixels: uint8 ``(h, w, 3)``; changed in place.
        box: ``(x0, y0, x1, y1)``, half-open edges in pixels, rounded; nothing is drawn of an empty box or of NaN.
        color: ``#rrggbb``.
        dashed: Whether to leave gaps.
    """
    edges = np.rint(box)
    if not (edges[2:] > edges[:2]).all():
        return
    x0, y0, x1, y1 = edges.astype(int).tolist()
    y, x = (np.arange(side, dtype=np.int32) for side in pixels.shape[:2])
    depth = np.minimum.outer(np.minimum(y - y0, y1 - 1 - y), np.minimum(x - x0, x1 - 1 - x))  # 0 on the outer pixels
    rows, columns = np.nonzero((depth >= -1) & (depth <= 2))
    visible = (rows + columns) % _PERIOD < _DASH if dashed else np.ones(len(rows), bool)
    for least, most, each in ((-1, 2, CASING_COLOR), (0, 1, color)):
        drawn = visible & (depth[rows, columns] >= least) & (depth[rows, columns] <= most)
        pixels[rows[drawn], columns[drawn]] = _rgb(each)


def _rgb(color: str) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(color[1:]), np.uint8)
