"""The boxes of the CAM paper's released program."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_THRESHOLDS = (20, 100, 110)
_DISTANCE = 10  # of 255, the largest distance in the mask
_MARGIN = 5  # pixels between a rectangle and the right and bottom border
_EIGHT_CONNECTED = np.ones((3, 3), bool)


def cam_script_boxes(gray: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the boxes of the bright regions of a heat map, the largest first.

    Each of the three masks ``heat map > threshold`` is shrunk: its Euclidean distance transform, scaled to a maximum of
    255 and rounded to 8 bit, has to be above 10. Outer contours and contours of holes give rectangles; the outermost
    pixels of the map count as background there, as in OpenCV 2.4. Rectangles end at least 5 pixels before the right and
    the bottom border. They are sorted by area, and a later one whose intersection with an earlier one exceeds half of
    the earlier one's area is removed; the one after a removed one is not compared with the same earlier one, since the
    program deletes from the list that it walks through. Equal areas stay in the order of the thresholds, then outer
    contours first, then raster order.

    The program hands ``x, y, x + width, y + height`` to the ILSVRC devkit, which reads them as inclusive corners, so
    the boxes are a pixel wider and taller than the rectangles.

    Source: the program released with Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016,
    whose sample heat map has the same boxes here.

    Args:
        gray: uint8 ``(h, w)``.

    Returns:
        ``(n, 4)``, half-open edges ``(x0, y0, x1, y1)``; none if no pixel remains.
    """
    found = [box for threshold in _THRESHOLDS for box in _contour_boxes(_shrink(gray > threshold))]
    rectangles = np.array(found, np.float64).reshape(-1, 4)
    height, width = gray.shape
    rectangles[:, 2:] = np.minimum(rectangles[:, 2:], [width - _MARGIN, height - _MARGIN])
    rectangles = rectangles[(rectangles[:, 2:] >= rectangles[:, :2]).all(1)]
    boxes: NDArray[np.float64] = np.add(_merge(rectangles), [0, 0, 1, 1])
    return boxes


def _shrink(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the pixels whose distance from the background is above a share of the largest."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows) or mask.all():
        return mask
    # The nearest background pixel is at most one pixel outside the extent of the mask.
    window = tuple(slice(max(0, indices[0] - 1), indices[-1] + 2) for indices in (rows, columns))
    shrunk = np.zeros_like(mask)
    distance = ndimage.distance_transform_edt(mask[window])
    shrunk[window] = np.rint(255 * distance / distance.max()) > _DISTANCE
    return shrunk


def _contour_boxes(mask: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Return the bounding rectangles of outer contours, then of holes, whose contours run around the hole."""
    inner = np.pad(mask[1:-1, 1:-1], 1)
    outer = ndimage.find_objects(ndimage.label(inner, _EIGHT_CONNECTED)[0])
    background = ndimage.label(~inner)[0]
    holes = ndimage.find_objects(np.where(background == background[0, 0], 0, background))
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in outer]
    return boxes + [(x.start - 1, y.start - 1, x.stop + 1, y.stop + 1) for y, x in filter(None, holes)]


def _merge(rectangles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sort rectangles by area, and remove those that overlap a larger one, in the order of the released program."""
    areas = (rectangles[:, 2:] - rectangles[:, :2]).prod(1)
    order = np.argsort(-areas, kind="stable")
    remaining, areas = rectangles[order], areas[order]
    place = 0
    while place < len(remaining):
        larger, later = remaining[place], remaining[place + 1 :]
        sides = np.minimum(larger[2:], later[:, 2:]) - np.maximum(larger[:2], later[:, :2])
        overlaps = np.clip(sides, 0, None).prod(1) > 0.5 * areas[place]
        # After a removal the next one is skipped, so of consecutive overlapping ones every second is removed.
        indices = np.arange(len(later))
        previous = np.maximum.accumulate(np.where(overlaps, -1, indices))
        removed = overlaps & ((indices - previous) % 2 == 1)
        kept = np.concatenate([np.ones(place + 1, bool), ~removed])
        remaining, areas = remaining[kept], areas[kept]
        place += 1
    return remaining
