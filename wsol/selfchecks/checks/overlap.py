"""Intersection over union, worked out by hand."""

import numpy as np

from wsol.metrics.iou import best_iou, iou
from wsol.selfchecks.expect import assert_close
from wsol.selfchecks.outcome import Checks


def _check_pairs() -> None:
    cases = [
        ((0, 0, 10, 10), (5, 5, 15, 15), 25 / 175),
        ((0, 0, 10, 10), (2, 0, 12, 10), 80 / 120),
        ((3, 4, 23, 14), (3, 4, 23, 14), 1),
        ((0, 0, 20, 20), (5, 5, 10, 15), 50 / 400),
        ((0, 0, 5, 5), (5, 0, 10, 5), 0),  # they share an edge
        ((0, 0, 5, 5), (7, 9, 10, 15), 0),
        ((0, 0, 0, 0), (0, 0, 4, 4), 0),  # an empty box
    ]
    boxes, truth, ious = (np.array(column, np.float64) for column in zip(*cases, strict=True))
    assert_close(iou(boxes, truth), ious, 1e-12, "the IoU")


def _check_best() -> None:
    truth = np.array([[0, 0, 10, 10], [0, 0, 16, 10], [40, 40, 50, 50]], np.float64)
    # 20 x 10 pixels: 100 / 200 with the first box, 160 / 200 with the second
    assert_close(best_iou(np.array([[0.0, 0, 20, 10]]), truth), [0.8], 1e-12, "the best IoU")


CHECKS: Checks = {"IoU: pairs of boxes": _check_pairs, "IoU: the best of three boxes": _check_best}
