"""Holds the box sweep against the field's way: OpenCV's findContours for each of 1,000 thresholds, then IoU.

    python benchmarks/boxes.py [--maps 5] [--rounds 3] [--peer DIR]

Both sides get the same 224 x 224 8-bit maps and ground truth and give the IoU at every threshold, on one core, in turn.
``smooth`` maps are noise of 14 x 14 upsampled, as a network's maps are; ``noise`` has no neighbour like another. With
--peer the evaluator in DIR, a checkout of clovaai/wsolevaluation, is timed itself where it has the same rule.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from wsol.boxes.components import best_contour_ious, largest_component_boxes
from wsol.boxes.contours import largest_contour_boxes
from wsol.boxes.resize import bicubic
from wsol.boxes.thresholds import highest_threshold_below, normalize, tau_grid, to_uint8, uint8_thresholds
from wsol.metrics.iou import best_iou

TRUTH = np.array([[30.0, 40, 150, 180]])
TAUS = tau_grid(0.001)
# What a pass over all thresholds has to be faster by, on smooth maps and on noise.
LIMITS = {"pixel count": (25, 500), "contourArea, V1": (8, 20), "every contour, V2": (5, 20)}


def pixel_count(gray: np.ndarray) -> np.ndarray:
    """Ours: the component of most pixels."""
    entries = highest_threshold_below(gray[None], uint8_thresholds(TAUS, gray.max(keepdims=True).ravel()))[0]
    return best_iou(largest_component_boxes(entries, len(TAUS)).astype(float), TRUTH)


def contour_area(gray: np.ndarray) -> np.ndarray:
    """Ours: the contour of largest area."""
    limits = uint8_thresholds(TAUS, gray.max(keepdims=True).ravel())
    return best_iou(largest_contour_boxes(gray[None], limits)[0].astype(float), TRUTH)


def every_contour(gray: np.ndarray) -> np.ndarray:
    """Ours: every contour."""
    entries = highest_threshold_below(gray[None], uint8_thresholds(TAUS, gray.max(keepdims=True).ravel()))[0]
    return best_contour_ious(entries, len(TAUS), TRUTH)


def field(gray: np.ndarray, every: bool) -> np.ndarray:
    """Theirs: threshold, findContours, boundingRect of the largest or of all, IoU; a thousand times."""
    out = []
    for limit in uint8_thresholds(TAUS, gray.max(keepdims=True).ravel())[0]:
        _, mask = cv2.threshold(gray, int(limit), 255, cv2.THRESH_BINARY)
        contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        chosen = contours if every or not contours else [max(contours, key=cv2.contourArea)]
        corners = np.array([cv2.boundingRect(c) for c in chosen] or [(0, 0, 0, 0)], float)
        corners[:, 2:] += corners[:, :2]
        out.append(best_iou(corners, TRUTH).max())
    return np.array(out)


def peer(folder: Path) -> Callable[[np.ndarray, bool], np.ndarray]:
    """Theirs, in their own code: boxes at every threshold, and their IoU."""
    for alias in (float, int, bool):  # names that NumPy has dropped since that code was written
        if not hasattr(np, alias.__name__):
            setattr(np, alias.__name__, alias)
    sys.path.insert(0, str(folder))
    try:
        evaluation = importlib.import_module("evaluation")
    except ImportError as error:
        raise SystemExit(f"{folder}: its evaluation.py cannot be imported ({error}); install what it needs") from error
    truth = np.subtract(TRUTH, [0, 0, 1, 1]).astype(int)  # inclusive corners

    def ious(scores: np.ndarray, every: bool) -> np.ndarray:
        boxes, counts = evaluation.compute_bboxes_from_scoremaps(scores.astype(np.float64), TAUS, every)
        best = evaluation.calculate_multiple_iou(np.concatenate(boxes), truth).max(1)
        return np.maximum.reduceat(best, np.cumsum([0, *counts[:-1]]))

    return ious


def main() -> int:
    """Times both sides and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", type=Path, metavar="DIR", help="a checkout of clovaai/wsolevaluation")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    theirs = peer(options.peer) if options.peer else None
    rng = np.random.default_rng(0)
    kinds = {"smooth": 14, "noise": 224}
    ours: dict[str, tuple[Callable[[np.ndarray], np.ndarray], bool]] = {
        "pixel count": (pixel_count, False),
        "contourArea, V1": (contour_area, False),
        "every contour, V2": (every_contour, True),
    }
    held = True
    for column, (kind, grain) in enumerate(kinds.items()):
        scores = normalize(bicubic(rng.random((options.maps, grain, grain)).astype(np.float32), (224, 224)))
        maps = to_uint8(scores)
        for name, (function, every) in ours.items():
            function(maps[0])  # compiled
            ratios, mine = [], []
            by_them = theirs is not None and name != "pixel count"
            for _ in range(options.rounds):
                start = time.perf_counter()
                for gray in maps:
                    function(gray)
                middle = time.perf_counter()
                for gray, score_map in zip(maps, scores, strict=True):
                    theirs(score_map, every) if theirs and by_them else field(gray, every)
                end = time.perf_counter()
                ratios.append((end - middle) / (middle - start))
                mine.append(1000 * (middle - start) / len(maps))
            ratio, limit = statistics.median(ratios), LIMITS[name][column]
            held &= ratio >= limit
            print(
                f"{kind:7} {name:18} {statistics.median(mine):7.2f} ms a map, {ratio:6.1f} times faster than "
                f"{'the peer' if by_them else 'OpenCV'} (limit {limit})"
            )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
