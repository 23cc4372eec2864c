"""Boxes that look at no image."""

import numpy as np
import pytest

from wsol.baselines import BASELINES, baseline_evidence
from wsol.datasets import Sample
from wsol.datasets.base import as_boxes
from wsol.protocols import PROTOCOLS

PROTOCOL = PROTOCOLS.get("wsolevaluation")


def samples(*boxes: list[float]) -> list[Sample]:
    return [Sample(f"{i}", 0, as_boxes([box]), "edges", size=(224, 224)) for i, box in enumerate(boxes)]


def test_these_four() -> None:
    assert BASELINES.names() == ["center-box", "center-gaussian", "full-image", "random"]
    for name in BASELINES.names():
        boxes = BASELINES.get(name)(PROTOCOL, "any")
        assert boxes.shape == (1000, 4)
        assert boxes.min() >= 0
        assert boxes.max() <= 224


def test_boxes_by_hand() -> None:
    assert BASELINES.get("full-image")(PROTOCOL, "a")[[0, 999]].tolist() == [[0, 0, 224, 224]] * 2
    box = BASELINES.get("center-box")(PROTOCOL, "a")[0]
    assert box.tolist() == [33, 33, 191, 191]  # 158 x 158 of 224 x 224: 0.4975 of the area
    assert (BASELINES.get("center-box")(PROTOCOL, "b") == box).all()


def test_the_gaussian_gives_central_squares_that_shrink() -> None:
    boxes = BASELINES.get("center-gaussian")(PROTOCOL, "a")
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
    assert (draw(PROTOCOL, "a") == draw(PROTOCOL, "a")).all()
    boxes = np.array([draw(PROTOCOL, str(i))[0] for i in range(2000)])
    assert len(np.unique(boxes, axis=0)) > 1990
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    # The distance of two uniform numbers is a third of the range on average.
    assert (boxes[:, 2:] - boxes[:, :2]).mean() == pytest.approx(224 / 3 + 1, rel=0.05)


def test_curves_are_ious_and_classification_is_the_runs() -> None:
    images = samples([0, 0, 224, 112], [33, 33, 191, 191])
    truths = [s.boxes for s in images]
    evidence = baseline_evidence("full-image", PROTOCOL, images, truths, np.array([1, 3]))
    assert evidence.curves[:, 5].tolist() == pytest.approx([0.5, 158**2 / 224**2])
    assert evidence.ranks.tolist() == [1, 3]
    assert evidence.delta == 0.5
    assert baseline_evidence("center-box", PROTOCOL, images, truths, np.array([1, 3])).curves[1, 0] == 1
