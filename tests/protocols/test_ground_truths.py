"""The ground truth of a split in arrays is that of each image."""

import numpy as np

from wsol.datasets import Sample
from wsol.protocols import find_protocol
from wsol.protocols.base import ground_truth_of
from wsol.protocols.ground_truths import GroundTruths

BOXES = ([[1, 2, 30, 40], [5, 5, 9, 9]], [[0, 0, 50, 60]], [[3, 4, 10, 12], [1, 1, 2, 2], [7, 7, 20, 30]])
SIZES = ((100, 80), (51, 61), (100, 80))
CONVENTIONS = ("inclusive", "edges", "one-based")


def test_items_are_those_of_each_image() -> None:
    protocol = find_protocol("exact")
    samples = [
        Sample(str(i), i, np.array(boxes, float), corners)
        for i, (boxes, corners) in enumerate(zip(BOXES, CONVENTIONS, strict=True))
    ]
    each = [ground_truth_of(protocol, *pair) for pair in zip(samples, SIZES, strict=True)]
    truths = GroundTruths.stack(each)
    assert len(truths) == 3
    for rows, expected in ((truths, each), (truths[1:], each[1:]), (truths.subset([2, 0]), [each[2], each[0]])):
        for found, truth in zip(rows, expected, strict=True):
            assert (found.sample, found.size) == (truth.sample, truth.size)
            np.testing.assert_array_equal(found.boxes, truth.boxes)
    assert truths[-1].sample is samples[2]
    assert truths.labels.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(truths.edges, np.concatenate([sample.edges for sample in samples]))
    assert truths.frames(find_protocol("wsolevaluation")).tolist() == [[224, 224]] * 3
    assert truths.frames(protocol).tolist() == [list(size) for size in SIZES]
