"""Against skimage's labels, threshold by threshold."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from wsol.boxes.components import largest_component_boxes

MAPS = arrays(np.int16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 5))


def smooth(seed: int, side: int, grain: int) -> NDArray[np.int16]:
    noise = np.random.default_rng(seed).random((grain, grain)).astype(np.float32)
    large = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.floor((large - large.min()) / np.ptp(large) * 255).astype(np.int16) - 1


STRUCTURED = [smooth(0, 64, 6), smooth(1, 65, 20), smooth(2, 40, 40), np.indices((31, 31)).sum(0).astype(np.int16) % 2]


def largest_by_skimage(mask: NDArray[np.bool_]) -> list[int]:
    regions = regionprops(label(mask, connectivity=2))
    if not regions:
        return [0, 0, 0, 0]
    most = max(r.area for r in regions)
    y0, x0, y1, x1 = next(r.bbox for r in regions if r.area == most)  # labels come in raster order
    return [x0, y0, x1, y1]


def check_largest(tau_indices: NDArray[np.int16], count: int) -> None:
    found = largest_component_boxes(tau_indices, count)
    assert found.tolist() == [largest_by_skimage(tau_indices >= t) for t in range(count)]


@settings(max_examples=400, deadline=None)
@given(MAPS)
def test_the_largest_component_is_skimages(tau_indices: NDArray[np.int16]) -> None:
    check_largest(tau_indices, 6)


@pytest.mark.parametrize("tau_indices", STRUCTURED, ids=["smooth", "rough", "noise", "chessboard"])
def test_large_maps(tau_indices: NDArray[np.int16]) -> None:
    check_largest(tau_indices, 255)


@pytest.mark.parametrize("count", [20000, 3000, 60])
def test_many_thresholds_and_many_labels(count: int) -> None:
    """With many thresholds no or few labels have entries for the whole map; the noise has hundreds of labels."""
    rng = np.random.default_rng(count)
    tau_indices = rng.integers(-1, count, (40, 61)).astype(np.int16)
    tau_indices[20:] = np.sort(tau_indices[20:], axis=1)  # long slopes next to the noise
    found = largest_component_boxes(tau_indices, count)
    for t in rng.integers(0, count, 40):
        assert found[t].tolist() == largest_by_skimage(tau_indices >= t)


def test_hills_that_only_a_later_row_connects() -> None:
    """Two ridges that meet at the bottom below their saddle's level, and touch at corners only."""
    tau_indices = np.array([[5, -1, 3, -1, 4], [-1, 2, -1, 4, -1], [1, -1, -1, -1, 0]], np.int16)
    check_largest(tau_indices, 6)
    check_largest(np.ascontiguousarray(tau_indices[::-1]), 6)
    check_largest(np.ascontiguousarray(tau_indices.T), 6)


def test_a_hole_by_hand() -> None:
    """A ring of 5 x 5 with a hole of 1 x 2 in a 7 x 7 map."""
    tau_indices = np.full((7, 7), -1, np.int16)
    tau_indices[1:6, 1:6] = 0
    tau_indices[2:4, 3] = -1
    assert largest_component_boxes(tau_indices, 1).tolist() == [[1, 1, 6, 6]]


def test_empty_masks() -> None:
    nothing = np.full((4, 5), -1, np.int16)
    assert largest_component_boxes(nothing, 2).tolist() == [[0, 0, 0, 0]] * 2
