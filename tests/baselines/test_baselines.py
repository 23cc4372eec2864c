"""Boxes that ignore the image."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from wsol.baselines import BASELINES, baseline_stats
from wsol.datasets import Mask, Sample
from wsol.datasets.base import as_boxes
from wsol.metrics.base import LocalizationStats
from wsol.metrics.iou import best_iou
from wsol.protocols import PROTOCOLS
from wsol.protocols.base import GroundTruth
from wsol.protocols.ground_truths import GroundTruths

PROTOCOL = PROTOCOLS.get("wsolevaluation")
EXACT = PROTOCOLS.get("exact")
SIZE = (224, 224)


def ground_truths(*boxes: list[list[float]], mask: Callable[[], Mask] | None = None) -> GroundTruths:
    samples = [Sample(f"{i}", i, as_boxes(own), "edges", size=SIZE, mask=mask) for i, own in enumerate(boxes)]
    return GroundTruths.stack(GroundTruth(sample, SIZE, sample.boxes) for sample in samples)


def stats_of(name: str, *boxes: list[list[float]], **more: Any) -> LocalizationStats:
    with ThreadPoolExecutor(2) as pool:
        return baseline_stats(name, PROTOCOL, ground_truths(*boxes, **more), pool, np.arange(len(boxes)))


def test_boxes_and_scores_are_in_the_frame() -> None:
    assert {"center-box", "center-gaussian", "full-image", "random"} <= set(BASELINES.names())
    for name in BASELINES.names():
        for protocol, frame, taus in ((PROTOCOL, SIZE, 1000), (EXACT, (50, 90), 256)):
            box = BASELINES.get(name)(protocol, "any", frame)
            assert box.boxes.shape in {(1, 4), (taus, 4)}
            assert box.boxes.min() >= 0
            assert (box.boxes <= np.array(frame * 2)).all()
            scores = box.score_map()
            assert scores.shape == frame[::-1]
            x, y = box.peak
            assert scores[int(y), int(x)] == scores.max() == 1


def test_boxes_by_hand() -> None:
    assert BASELINES.get("full-image")(PROTOCOL, "a", SIZE).boxes.tolist() == [[0, 0, 224, 224]]
    assert BASELINES.get("full-image")(EXACT, "a", (50, 90)).boxes.tolist() == [[0, 0, 50, 90]]
    box = BASELINES.get("center-box")(PROTOCOL, "a", SIZE).boxes[0]
    assert box.tolist() == [33, 33, 191, 191]  # 158 x 158 of 224 x 224: 0.4975 of the area
    assert (BASELINES.get("center-box")(PROTOCOL, "b", SIZE).boxes == box).all()


def test_the_gaussian_gives_central_squares_that_shrink() -> None:
    boxes = BASELINES.get("center-gaussian")(PROTOCOL, "a", SIZE).boxes
    x0, y0, x1, y1 = boxes.T
    assert (x0 == y0).all()
    assert (x1 == y1).all()
    assert (np.diff(x1 - x0) <= 0).all()
    assert boxes[0, 2] - boxes[0, 0] == 224
    # exp(-r^2 / 2 / 112^2), stretched from its corner value, is 0.5 at r = 87.6: a box of 175 to 177.
    corner = np.exp(-(111.5**2) / 112**2)
    radius = 112 * np.sqrt(-2 * np.log(corner + 0.5 * (np.exp(-0.25 / 112**2) - corner)))
    assert x1[500] - x0[500] == pytest.approx(2 * radius + 1, abs=2)


def test_random_boxes_belong_to_their_image() -> None:
    draw = BASELINES.get("random")
    assert (draw(PROTOCOL, "a", SIZE).boxes == draw(PROTOCOL, "a", SIZE).boxes).all()
    boxes = np.array([draw(PROTOCOL, str(i), SIZE).boxes[0] for i in range(2000)])
    assert len(np.unique(boxes, axis=0)) > 1990
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    # The distance of two uniform numbers is a third of the range on average.
    assert (boxes[:, 2:] - boxes[:, :2]).mean() == pytest.approx(224 / 3 + 1, rel=0.05)


def test_curves_are_ious_and_classification_is_the_runs() -> None:
    images = [[0, 0, 224, 112]], [[33, 33, 191, 191]], [[0, 0, 9, 9], [0, 0, 224, 168]]
    found = stats_of("full-image", *images)
    assert found.curves[:, 5].tolist() == pytest.approx([0.5, 158**2 / 224**2, 0.75])
    assert found.curves.shape == (3, 1000)
    assert found.ranks.tolist() == [0, 1, 2]
    assert found.labels.tolist() == [0, 1, 2]
    assert found.peaks.tolist() == [False, True, True]  # the center, 112, is past the edge of the first box
    assert stats_of("center-box", *images).curves[1, 0] == 1


@pytest.mark.parametrize("name", BASELINES.names())
def test_curves_are_those_of_each_image_by_itself(name: str) -> None:
    images = [[[3, 40, 90, 200]], [[33, 33, 191, 191], [0, 0, 224, 224]], [[100, 100, 120, 130], [5, 5, 200, 160]]]
    found = stats_of(name, *images)
    for i, own in enumerate(images):
        boxes = BASELINES.get(name)(PROTOCOL, f"{i}", SIZE).boxes
        expected = np.broadcast_to(best_iou(boxes, np.array(own, float)).astype(np.float32), 1000)
        np.testing.assert_array_equal(found.curves[i], expected)
    np.testing.assert_array_equal(found.contours, found.curves)


def test_pixels_of_a_box_are_those_inside() -> None:
    half = np.zeros((224, 224), bool)
    half[:, :112] = True
    found = stats_of("full-image", [[0, 0, 112, 224]], mask=lambda: Mask(half, np.zeros_like(half)))
    assert found.pixels[0, -1].tolist() == [224 * 112, 224 * 112]  # all pixels score 1, half of them are the object's
    assert found.pixels.sum() == 224 * 224
