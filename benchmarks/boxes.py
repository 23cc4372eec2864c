"""Compare the boxes at 1,000 thresholds with the usual implementation: OpenCV's findContours at each of them.

    python benchmarks/boxes.py [--maps 16] [--rounds 3] [--peer DIR]

Both sides compute the IoU at every threshold from the same 224 x 224 8-bit maps and ground truth, alternating on one
core; ``V1 + V2`` is one pass for us, while the others trace the contours once and use them for both. ``one tau`` is the
box of the largest contour at one threshold. ``smooth`` maps are 14 x 14 noise, upsampled like the maps of a network;
``noise`` maps have independent pixels. The last line is the whole work on an image of an evaluation under Choe et al.'s
protocol: six raw maps of 14 x 14, their boxes at one threshold, and the curves V1 and V2 of the first. Figures are
processor-milliseconds. With --peer, the evaluator in DIR, a checkout of clovaai/wsolevaluation, replaces OpenCV for
``V1 + V2``.
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

from wsol.boxes.components import largest_component_boxes
from wsol.boxes.contour_curves import contour_curves
from wsol.boxes.contours import largest_contour_boxes
from wsol.boxes.resize import cubic_taps, resize_and_normalize
from wsol.boxes.thresholds import highest_tau_below, tau_grid, to_uint8, uint8_thresholds
from wsol.datasets import Sample
from wsol.metrics.iou import best_iou
from wsol.protocols import find_protocol
from wsol.protocols.base import GroundTruth

TRUTH = np.array([[30.0, 40, 150, 180]])
TAUS = tau_grid(0.001)
CLASSES = 6
# Minimum speedup, on smooth maps and on noise.
LIMITS = {"pixel count": (50, 30), "V1 + V2": (40, 500), "one tau": (3, 10)}


def sweep_pixel_count(maps: np.ndarray) -> None:
    """Compute the IoU of the component with the most pixels at every threshold, by wsol."""
    for score_map in maps / np.float32(255):
        best_iou(largest_component_boxes(highest_tau_below(score_map, TAUS), len(TAUS)), TRUTH)


def sweep_contours(maps: np.ndarray) -> None:
    """Compute the IoUs of the contour with the largest area and of the best one at every threshold, by wsol."""
    truths = np.repeat(TRUTH, len(maps), 0)
    contour_curves(maps, uint8_thresholds(TAUS, maps.max((1, 2))), truths, np.ones(len(maps), np.int64), 1)


def find_one_box(maps: np.ndarray) -> None:
    """Compute the box of the contour with the largest area at one threshold, by wsol."""
    largest_contour_boxes(maps, uint8_thresholds(TAUS[200:201], maps.max((1, 2))))


def sweep_pixel_count_opencv(maps: np.ndarray) -> None:
    """Compute the same as ``sweep_pixel_count``: connectedComponentsWithStats at every threshold."""
    for score_map in maps / np.float32(255):
        for tau in TAUS:
            _, _, stats, _ = cv2.connectedComponentsWithStats((score_map > tau).astype(np.uint8), connectivity=8)
            x, y, w, h, _ = stats[1 + stats[1:, 4].argmax()] if len(stats) > 1 else np.zeros(5)
            best_iou(np.array([[x, y, x + w, y + h]], float), TRUTH)


def sweep_contours_opencv(maps: np.ndarray) -> None:
    """Compute the same as ``sweep_contours``: threshold, findContours, boundingRect of the largest and of all."""
    for gray in maps:
        for limit in uint8_thresholds(TAUS, gray.max(keepdims=True).ravel())[0]:
            best_iou(opencv_corners(gray, int(limit)), TRUTH)


def find_one_box_opencv(maps: np.ndarray) -> None:
    """Compute the same as ``find_one_box``."""
    for gray in maps:
        opencv_corners(gray, int(0.2 * gray.max()))


def opencv_corners(gray: np.ndarray, limit: int) -> np.ndarray:
    """Return the bounding rectangles of the largest contour and of all contours, half-open edges."""
    _, mask = cv2.threshold(gray, limit, 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    chosen = [max(contours, key=cv2.contourArea), *contours] if contours else []
    corners = np.array([cv2.boundingRect(contour) for contour in chosen] or [(0, 0, 0, 0)], float)
    corners[:, 2:] += corners[:, :2]
    return corners


def load_peer(folder: Path) -> Callable[[np.ndarray], None]:
    """Return a function that computes the same as ``sweep_contours`` with the code of a checkout."""
    for alias in (float, int, bool):  # names that NumPy has removed since that code was written
        if not hasattr(np, alias.__name__):
            setattr(np, alias.__name__, alias)
    sys.path.insert(0, str(folder))
    try:
        evaluation = importlib.import_module("evaluation")
    except ImportError as error:
        raise SystemExit(f"{folder}: its evaluation.py cannot be imported ({error}); install what it needs") from error
    truth = np.subtract(TRUTH, [0, 0, 1, 1]).astype(int)  # inclusive corners

    def sweep(maps: np.ndarray) -> None:
        for gray in maps:
            for every in (False, True):
                boxes, counts = evaluation.compute_bboxes_from_scoremaps(gray / 255, TAUS, every)
                best = evaluation.calculate_multiple_iou(np.concatenate(boxes), truth).max(1)
                np.maximum.reduceat(best, np.cumsum([0, *counts[:-1]]))

    return sweep


def measure(work: Callable[[np.ndarray], None], maps: np.ndarray) -> float:
    """Return the processor-milliseconds per map."""
    start = time.process_time()
    work(maps)
    return 1000 * (time.process_time() - start) / len(maps)


def measure_an_image(images: int, rounds: int) -> float:
    """Return the processor-milliseconds per image of ``score_batch``, by chunks of 16 images."""
    protocol = find_protocol("wsolevaluation")
    raw = np.random.default_rng(1).random((images, CLASSES, 14, 14)).astype(np.float32)
    truths = [GroundTruth(Sample("", 0, TRUTH, "edges"), (224, 224), TRUTH)] * images
    classes = np.tile(np.arange(CLASSES), (images, 1))

    def score(maps: np.ndarray) -> None:
        for start in range(0, images, 16):
            part = slice(start, start + 16)
            protocol.score_batch(protocol.view, maps[part], truths[part], classes[part], 200)

    score(raw)
    return statistics.median(measure(score, raw) for _ in range(rounds))


def main() -> int:
    """Time both sides and print the ratios; return 1 if one is below its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=16, help="number of maps of each kind (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each side (default: %(default)s)")
    parser.add_argument("--peer", type=Path, metavar="DIR", help="checkout of clovaai/wsolevaluation")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    works = {
        "pixel count": (sweep_pixel_count, sweep_pixel_count_opencv),
        "V1 + V2": (sweep_contours, load_peer(options.peer) if options.peer else sweep_contours_opencv),
        "one tau": (find_one_box, find_one_box_opencv),
    }
    within_limits = True
    for column, (kind, grain) in enumerate({"smooth": 14, "noise": 224}.items()):
        maps = to_uint8(resize_and_normalize(rng.random((options.maps, grain, grain)), (224, 224), cubic_taps))
        for name, (ours, theirs) in works.items():
            ours(maps[:1])  # compiles
            compared = maps[:1]  # the other side takes seconds per map of noise
            times = np.array([(measure(ours, maps), measure(theirs, compared)) for _ in range(options.rounds)])
            ratio, limit = float(np.median(times[:, 1] / times[:, 0])), LIMITS[name][column]
            within_limits &= ratio >= limit
            peer = "the peer" if options.peer and name == "V1 + V2" else "OpenCV"
            print(
                f"{kind:7} {name:12} {np.median(times[:, 0]):7.3f} ms per map, {ratio:7.1f} times faster than {peer} "
                f"(limit {limit})"
            )
    print(f"smooth  an image     {measure_an_image(max(16, options.maps), options.rounds):7.3f} ms")
    return int(not within_limits)


if __name__ == "__main__":
    sys.exit(main())
