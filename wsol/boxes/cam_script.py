"""The boxes of the CAM paper's released script."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_THRESHOLDS = (20, 100, 110)
_DISTANCE = 10  # pixels
_EIGHT_CONNECTED = np.ones((3, 3), bool)


def cam_script_boxes(gray: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the boxes of the bright regions of a heat map, the largest first.

    Each of the three masks ``heat map > threshold`` keeps the pixels that are more than ten pixels away from its
    background. The bounding rectangles of all contours of what remains, including those of holes, are sorted by area;
    one is dropped if its intersection with a larger one that was kept exceeds half of the larger one's area. The border
    of the map does not count as background. Ties in area go to the lower threshold, then to outer contours, then to
    raster order.

    Source: the bounding-box script released with Zhou et al., "Learning Deep Features for Discriminative
    Localization", CVPR 2016.

    Args:
        gray: uint8 ``(h, w)``.

    Returns:
        ``(n, 4)``, half-open edges ``(x0, y0, x1, y1)``; none if no pixel remains.
    """
    rectangles = [box for threshold in _THRESHOLDS for box in _contour_boxes(_erode(gray > threshold))]
    boxes = np.array(rectangles, np.float64).reshape(-1, 4)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept: list[int] = []
    for i in np.argsort(-areas, kind="stable"):
        larger = boxes[kept]
        sides = np.minimum(larger[:, 2:], boxes[i, 2:]) - np.maximum(larger[:, :2], boxes[i, :2])
        if not (np.clip(sides, 0, None).prod(1) > 0.5 * areas[kept]).any():
            kept.append(int(i))
    return boxes[kept]


def _erode(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the pixels that are more than ``_DISTANCE`` pixels away from the background."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows) or mask.all():
        return mask
    # The nearest background pixel is at most one pixel outside the extent of the mask.
    window = tuple(slice(max(0, indices[0] - 1), indices[-1] + 2) for indices in (rows, columns))
    eroded = np.zeros_like(mask)
    crop = mask[window]
    eroded[window] = crop if crop.all() else ndimage.distance_transform_edt(crop) > _DISTANCE
    return eroded


def _contour_boxes(mask: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Return the bounding rectangles of outer contours, then of holes, whose contours run around the hole."""
    outer = ndimage.find_objects(ndimage.label(mask, _EIGHT_CONNECTED)[0])
    background = ndimage.label(~np.pad(mask, 1))[0]
    holes = ndimage.find_objects(np.where(background == background[0, 0], 0, background))
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in outer]
    # In the padded map a hole starts one pixel later, and its contour one pixel before the hole.
    return boxes + [(x.start - 2, y.start - 2, x.stop, y.stop) for y, x in filter(None, holes)]
