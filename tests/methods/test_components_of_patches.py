"""Components of masks of patches against SciPy."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from wsol.methods._components import label_components, select_component, select_largest_component

MASKS = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays.arrays(np.bool_, shape)
)


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_labels_are_those_of_scipy(masks: np.ndarray) -> None:
    found = label_components(torch.from_numpy(masks)).numpy()
    largest = select_largest_component(torch.from_numpy(masks)).numpy()
    for labels, mask, big in zip(found, masks, largest, strict=True):
        expected, count = ndimage.label(mask)
        numbers = np.unique(labels[labels > 0], return_inverse=True)[1] + 1
        assert (labels > 0).tolist() == mask.tolist()
        assert numbers.tolist() == expected[mask].tolist()
        firsts = [np.flatnonzero(expected == label)[0] + 1 for label in range(1, count + 1)]
        assert np.unique(labels[labels > 0]).tolist() == firsts
        sizes = [(expected == label).sum() for label in range(1, count + 1)]
        wanted = expected == 1 + int(np.argmax(sizes)) if sizes else mask
        assert big.tolist() == wanted.tolist()


@settings(max_examples=30, deadline=None)
@given(MASKS, st.integers(0, 80))
def test_the_component_of_a_patch(masks: np.ndarray, seed: int) -> None:
    seed %= masks[0].size
    found = select_component(torch.from_numpy(masks), torch.full((len(masks),), seed)).numpy()
    for mask, component in zip(masks, found, strict=True):
        labels, _ = ndimage.label(mask)
        assert component.tolist() == ((labels == labels.flat[seed]) & mask & mask.flat[seed]).tolist()


def test_a_winding_path_is_one_component() -> None:
    spiral = np.zeros((1, 41, 41), bool)
    spiral[0, ::2] = True
    spiral[0, 1::4, -1] = True
    spiral[0, 3::4, 0] = True
    labels = label_components(torch.from_numpy(spiral)).numpy()
    assert set(labels[spiral]) == {1}
    spiral[0, 20, 20] = False
    assert len(set(label_components(torch.from_numpy(spiral)).numpy()[spiral])) == 2
