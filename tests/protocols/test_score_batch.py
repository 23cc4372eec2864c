"""A batch of images has the same bits as its images, one by one, under every protocol."""

import numpy as np
import pytest
from numpy.typing import NDArray

from wsol.datasets import Mask, Sample
from wsol.datasets.base import as_boxes
from wsol.metrics.image_stats import stack_stats
from wsol.protocols import PROTOCOLS, Protocol, View, find_protocol
from wsol.protocols.base import GroundTruth, ground_truth_of

OTHER_SETTINGS = (
    "wsolevaluation:step=0.01",
    "wsolevaluation:size=97,step=0.7",
    "exact:also=0.3",
    "zhou2016:box=script",
    "wsolevaluation:norm=max",
    "wsolevaluation:size=97,norm=pas",
    "wsolevaluation:norm=ivr",
    "exact:norm=ivr,percentile=0.3",
    "zhou2016:norm=pas",
)


def draw_truths(rng: np.random.Generator, protocol: Protocol, n: int, masked: int) -> list[GroundTruth]:
    truths = []
    for i in range(n):
        width, height = rng.integers(50, 90, 2).tolist()
        corners = rng.integers(0, 40, (int(rng.integers(1, 4)), 4))
        corners[:, 2:] = corners[:, :2] + 1 + corners[:, 2:] // 2
        annotation = Mask(*rng.random((2, height, width)).round().astype(bool))
        mask = (lambda annotation=annotation: annotation) if i < masked else None
        sample = Sample(str(i), 0, as_boxes(corners.tolist()), "inclusive", mask=mask)
        truths.append(ground_truth_of(protocol, sample, (width, height)))
    return truths


def draw_maps(rng: np.random.Generator, shape: tuple[int, ...], classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return random maps, the first of the second image constant, equal ones for equal classes."""
    maps = rng.normal(size=shape).astype(np.float32)
    maps[1, 0] = 2
    for image_maps, image_classes in zip(maps, classes, strict=True):
        _, first, places = np.unique(image_classes, return_index=True, return_inverse=True)
        image_maps[:] = image_maps[first][places]
    return maps


def check(protocol: Protocol, view: View, masked: int, tau_index: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k = 4, 5
    classes = rng.integers(-1, 3, (n, k))
    crops = (view.count,) if view.count > 1 else ()
    maps = draw_maps(rng, (n, k, *crops, 6, 7), classes)
    truths = draw_truths(rng, protocol, n, masked)
    found, boxes = protocol.score_batch(view, maps, truths, classes, tau_index)
    prepared = [protocol.prepare_view(view, maps[i, :1], truths[i].size)[0] for i in range(n)]
    expected = stack_stats(
        [truth.score_map_stats(protocol, each) for truth, each in zip(truths, prepared, strict=True)]
    )
    assert found.keys() == expected.keys()
    assert ("pixels" in found) == (masked == n and protocol.uses_masks)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, name)
    if tau_index is None:
        assert boxes is None
        return
    assert boxes is not None
    assert boxes.dtype == np.float64
    assert boxes.shape == (n, k, 4)
    for i in range(n):
        for j in range(k):
            one = protocol.prepare_view(view, maps[i, j : j + 1], truths[i].size)
            np.testing.assert_array_equal(
                boxes[i, j], protocol.boxes(one, protocol.taus[tau_index : tau_index + 1])[0, 0]
            )


@pytest.mark.parametrize("name", [*PROTOCOLS.names(), *OTHER_SETTINGS])
def test_a_batch_is_its_images(name: str) -> None:
    protocol = find_protocol(name)
    check(protocol, protocol.view, 4, len(protocol.taus) // 5, 0)
    check(protocol, protocol.view, 3, None, 1)


@pytest.mark.parametrize("name", PROTOCOLS.names())
@pytest.mark.parametrize("view", [View(256, 224), View(256, 224, 10), View(224, 224)], ids=["center", "ten", "whole"])
def test_of_any_view(name: str, view: View) -> None:
    protocol = find_protocol(name)
    check(protocol, view, 0, len(protocol.taus) // 2, 2)
