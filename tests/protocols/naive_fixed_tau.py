"""The protocols crop224 and tscam written image by image from their definitions, with OpenCV and scikit-image."""

import cv2
import numpy as np
from skimage.measure import label

Box = tuple[float, float, float, float]


def inclusive_iou(a: Box, b: Box) -> float:
    """IoU with + 1."""
    return edge_iou((a[0], a[1], a[2] + 1, a[3] + 1), (b[0], b[1], b[2] + 1, b[3] + 1))


def edge_iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def component_box(mask: np.ndarray) -> Box:
    """Corners x, y, x + w, y + h of the component with the most pixels; the whole crop if there is none."""
    numbers = label(mask, connectivity=2)
    sizes = np.bincount(numbers.ravel())[1:]
    if not len(sizes):
        return 0, 0, mask.shape[1], mask.shape[0]
    rows, columns = np.nonzero(numbers == 1 + sizes.argmax())
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def contour_box(mask: np.ndarray, empty: Box) -> Box:
    """Corners x, y, x + w, y + h of the contour of largest area."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return empty
    x, y, w, h = cv2.boundingRect(max(contours, key=cv2.contourArea))
    return x, y, x + w, y + h


def enlarge(score_map: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(score_map.astype(np.float64), (side, side), interpolation=cv2.INTER_LINEAR)


def crop_iou(paper: str, score_map: np.ndarray, tau: float, truths: list[Box], size: tuple[int, int]) -> float:
    """Best IoU of a raw map of the crop under crop224."""
    low, high = float(score_map.min()), float(score_map.max())
    extra = 1e-5 if paper == "sat" else 0
    unit = (score_map - low) / (high - low + extra) if high > low else np.zeros(score_map.shape)
    mask = enlarge(unit, 224).astype(np.float32) > tau
    width, height = size
    found = []
    for x0, y0, x1, y1 in truths:
        if paper == "bas":
            a = [max(16, x0 * 256 / width) - 16, max(16, y0 * 256 / height) - 16]
            b = [min(240, x1 * 256 / width) - 16, min(240, y1 * 256 / height) - 16]
            found.append(inclusive_iou(component_box(mask), (*a, *b)))
        elif paper == "sat":
            a = [int(max(x0 / width * 256 - 16, 0)), int(max(y0 / height * 256 - 16, 0))]
            b = [int(min(x1 / width * 256 - 16, 223)), int(min(y1 / height * 256 - 16, 223))]
            found.append(inclusive_iou(component_box(mask), (*a, *b)))
        else:
            a = [np.clip(max(x0, 0) / width * 256 - 16, 0, 224), np.clip(max(y0, 0) / height * 256 - 16, 0, 224)]
            b = [np.clip(min(x1, width - 1) / width * 256 - 16, 0, 224)]
            b += [np.clip(min(y1, height - 1) / height * 256 - 16, 0, 224)]
            found.append(edge_iou(contour_box(mask, (0, 0, 0, 0)), (*a, *b)))
    return max(found)


def tscam_iou(score_map: np.ndarray, tau: float, truths: list[Box], size: tuple[int, int], side: int = 224) -> float:
    """Best IoU of a raw map of the squashed image under tscam."""
    large = enlarge(score_map, side)
    low, high = large.min(), large.max()
    unit = ((large - low) / (high - low) if score_map.max() > score_map.min() else 0 * large).astype(np.float32)
    gray = (unit * np.float32(255)).astype(np.uint8)
    box = contour_box(gray > int(tau * gray.max()), (0, 0, 1, 1))
    width, height = size
    last = side - 1
    return max(
        inclusive_iou(
            box,
            (
                int(max(x0 / width * side, 0)),
                int(max(y0 / height * side, 0)),
                int(min(x1 / width * side, last)),
                int(min(y1 / height * side, last)),
            ),
        )
        for x0, y0, x1, y1 in truths
    )
