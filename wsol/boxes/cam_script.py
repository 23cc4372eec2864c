"""The boxes of the CAM paper's released script."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_LEVELS = (20, 100, 110)
_DISTANCE = 10  # pixels
_EIGHT = np.ones((3, 3), bool)


def cam_script_boxes(gray: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Box the bright regions of a heat map, the largest first.

    Of each of three masks ``heat map > level`` the pixels stay that lie more than ten pixels from its background; the
    bounding rectangles of all contours of what stays, those of holes too, are sorted by area, and one whose
    intersection with a larger one that was kept exceeds half of the larger's area is dropped. The border of the map
    is no background. Of equal areas that of the lower level, then outer contours, then raster order come first.

    Source: the bounding-box script released with Zhou et al., "Learning Deep Features for Discriminative
    Localization", CVPR 2016.

    Args:
        gray: uint8 ``(h, w)``.

    Returns:
        ``(n, 4)``, half-open edges ``(x0, y0, x1, y1)``; none where no pixel stays.
    """
    rectangles = [box for level in _LEVELS for box in _contour_boxes(_eroded(gray > level))]
    boxes = np.array(rectangles, np.float64).reshape(-1, 4)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept: list[int] = []
    for i in np.argsort(-areas, kind="stable"):
        larger = boxes[kept]
        sides = np.minimum(larger[:, 2:], boxes[i, 2:]) - np.maximum(larger[:, :2], boxes[i, :2])
        if not (np.clip(sides, 0, None).prod(1) > 0.5 * areas[kept]).any():
            kept.append(int(i))
    return boxes[kept]


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows) or mask.all():
        return mask
    # All that is nearest lies at most a pixel beyond the mask's extent.
    around = tuple(slice(max(0, where[0] - 1), where[-1] + 2) for where in (rows, columns))
    kept = np.zeros_like(mask)
    part = mask[around]
    kept[around] = part if part.all() else ndimage.distance_transform_edt(part) > _DISTANCE
    return kept


def _contour_boxes(mask: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Return the bounding rectangles of outer contours, then of holes: those lie on the pixels around the hole."""
    outer = ndimage.find_objects(ndimage.label(mask, _EIGHT)[0])
    background = ndimage.label(~np.pad(mask, 1))[0]
    holes = ndimage.find_objects(np.where(background == background[0, 0], 0, background))
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in outer]
    # In the padded map a hole starts one pixel later, and its contour one earlier.
    return boxes + [(x.start - 2, y.start - 2, x.stop, y.stop) for y, x in filter(None, holes)]
