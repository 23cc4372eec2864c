"""The groups of a run, by hand."""

import numpy as np
import pytest

import wsol
from wsol.datasets import Dataset, Sample
from wsol.datasets.base import as_boxes


@pytest.mark.parametrize("protocol", ["wsolevaluation", "exact", "zhou2016"])
def test_groups_by_size_follow_the_published_boxes(protocol: str) -> None:
    """A side of 316 of 1,000 is 9.99 % of the area; truncated to 224 pixels it would be 71 x 71, which is 10.05 %."""
    sides = {"a": 315, "b": 316, "c": 546, "d": 547, "e": 999, "f": 1000}  # corners are inclusive: one pixel more each
    samples = [
        Sample(i, 0, as_boxes([[0, 0, side, side]]), "inclusive", size=(1000, 1000)) for i, side in sides.items()
    ]
    assert np.trunc(315 * 0.224) + 1 == 71
    images = Dataset("squares", "test", tuple(samples), ("thing",))
    groups = wsol.score(baseline="center-box", dataset=images, protocol=protocol).tables.groups
    sizes = groups[(groups.by == "size") & (groups.metric == "gt_known_loc_acc")].drop_duplicates("group")
    # 316^2, 317^2, 547^2, 548^2, 1000^2 and, clipped, 1000^2
    counts = {"below 10 %": 1, "10 % to 30 %": 2, "30 % to 50 %": 1, "50 % up": 2}
    assert dict(zip(sizes.group, sizes.n, strict=True)) == counts
