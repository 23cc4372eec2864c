"""Compare the box sweep with the usual implementation: OpenCV's findContours at each of 1,000 thresholds, then IoU.

    python benchmarks/boxes.py [--maps 5] [--rounds 3] [--peer DIR]

Both sides compute the IoU at every threshold from the same 224 x 224 8-bit maps and ground truth, alternating on one
core. ``smooth`` maps are 14 x 14 noise, upsampled like the maps of a network; ``noise`` maps have independent pixels.
With --peer, the evaluator in DIR, a checkout of clovaai/wsolevaluation, replaces OpenCV where it has the same rule.
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
from wsol.boxes.resize import cubic_taps, resize_and_normalize
from wsol.boxes.thresholds import highest_threshold_below, tau_grid, to_uint8, uint8_thresholds
from wsol.metrics.iou import best_iou

TRUTH = np.array([[30.0, 40, 150, 180]])
TAUS = tau_grid(0.001)
# Minimum speedup of a pass over all thresholds, on smooth maps and on noise.
LIMITS = {"pixel count": (25, 500), "contourArea, V1": (8, 20), "every contour, V2": (5, 20)}


def sweep_pixel_count(gray: np.ndarray) -> np.ndarray:
    """Return the IoU of the component with the most pixels at every threshold, by wsol."""
    entries = highest_threshold_below(gray[None], uint8_thresholds(TAUS, gray.max(keepdims=True).ravel()))[0]
    return best_iou(largest_component_boxes(entries, len(TAUS)).astype(float), TRUTH)


def sweep_contour_area(gray: np.ndarray) -> np.ndarray:
    """Return the IoU of the contour with the largest area at every threshold, by wsol."""
    limits = uint8_thresholds(TAUS, gray.max(keepdims=True).ravel())
    return best_iou(largest_contour_boxes(gray[None], limits)[0].astype(float), TRUTH)


def sweep_every_contour(gray: np.ndarray) -> np.ndarray:
    """Return the IoU of the best contour at every threshold, by wsol."""
    entries = highest_threshold_below(gray[None], uint8_thresholds(TAUS, gray.max(keepdims=True).ravel()))[0]
    return best_contour_ious(entries, len(TAUS), TRUTH)


def sweep_opencv(gray: np.ndarray, every: bool) -> np.ndarray:
    """Return the IoU at every threshold: threshold, findContours, boundingRect of the largest or of all contours."""
    ious = []
    for limit in uint8_thresholds(TAUS, gray.max(keepdims=True).ravel())[0]:
        _, mask = cv2.threshold(gray, int(limit), 255, cv2.THRESH_BINARY)
        contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        chosen = contours if every or not contours else [max(contours, key=cv2.contourArea)]
        corners = np.array([cv2.boundingRect(c) for c in chosen] or [(0, 0, 0, 0)], float)
        corners[:, 2:] += corners[:, :2]
        ious.append(best_iou(corners, TRUTH).max())
    return np.array(ious)


def load_peer(folder: Path) -> Callable[[np.ndarray, bool], np.ndarray]:
    """Return a function that computes the IoU at every threshold with the code of a checkout."""
    for alias in (float, int, bool):  # names that NumPy has removed since that code was written
        if not hasattr(np, alias.__name__):
            setattr(np, alias.__name__, alias)
    sys.path.insert(0, str(folder))
    try:
        evaluation = importlib.import_module("evaluation")
    except ImportError as error:
        raise SystemExit(f"{folder}: its evaluation.py cannot be imported ({error}); install what it needs") from error
    truth = np.subtract(TRUTH, [0, 0, 1, 1]).astype(int)  # inclusive corners

    def sweep(scores: np.ndarray, every: bool) -> np.ndarray:
        boxes, counts = evaluation.compute_bboxes_from_scoremaps(scores.astype(np.float64), TAUS, every)
        best = evaluation.calculate_multiple_iou(np.concatenate(boxes), truth).max(1)
        return np.maximum.reduceat(best, np.cumsum([0, *counts[:-1]]))

    return sweep


def main() -> int:
    """Time both sides and print the ratios; return 1 if one is below its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=5, help="number of maps of each kind (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each side (default: %(default)s)")
    parser.add_argument("--peer", type=Path, metavar="DIR", help="checkout of clovaai/wsolevaluation")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    peer = load_peer(options.peer) if options.peer else None
    rng = np.random.default_rng(0)
    kinds = {"smooth": 14, "noise": 224}
    sweeps: dict[str, tuple[Callable[[np.ndarray], np.ndarray], bool]] = {
        "pixel count": (sweep_pixel_count, False),
        "contourArea, V1": (sweep_contour_area, False),
        "every contour, V2": (sweep_every_contour, True),
    }
    within_limits = True
    for column, (kind, grain) in enumerate(kinds.items()):
        scores = resize_and_normalize(rng.random((options.maps, grain, grain)), (224, 224), cubic_taps)
        maps = to_uint8(scores)
        for name, (sweep, every) in sweeps.items():
            sweep(maps[0])  # compiles
            ratios, milliseconds = [], []
            uses_peer = peer is not None and name != "pixel count"
            for _ in range(options.rounds):
                start = time.perf_counter()
                for gray in maps:
                    sweep(gray)
                middle = time.perf_counter()
                for gray, score_map in zip(maps, scores, strict=True):
                    peer(score_map, every) if peer and uses_peer else sweep_opencv(gray, every)
                end = time.perf_counter()
                ratios.append((end - middle) / (middle - start))
                milliseconds.append(1000 * (middle - start) / len(maps))
            ratio, limit = statistics.median(ratios), LIMITS[name][column]
            within_limits &= ratio >= limit
            print(
                f"{kind:7} {name:18} {statistics.median(milliseconds):7.2f} ms per map, {ratio:6.1f} times faster than "
                f"{'the peer' if uses_peer else 'OpenCV'} (limit {limit})"
            )
    return int(not within_limits)


if __name__ == "__main__":
    sys.exit(main())
