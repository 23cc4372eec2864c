"""The region of the object and the map that is compared with it, under every protocol."""

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from wsol.datasets import Mask, Sample
from wsol.datasets.base import as_boxes
from wsol.metrics.attribution import COLUMNS
from wsol.protocols import PROTOCOLS, View, find_protocol
from wsol.protocols.attributions import attributions, external_attribution
from wsol.protocols.base import GroundTruth, Protocol, ground_truth_of

SIZE = (90, 60)
MASK = Mask(np.zeros((60, 90), bool), np.zeros((60, 90), bool))
MASK.foreground[10:30, 5:45] = True
MASK.ignore[40:] = True


def truth_of(protocol: Protocol, boxes: list[list[float]], mask: Mask | None = None) -> GroundTruth:
    reader = None if mask is None else lambda: mask
    return ground_truth_of(protocol, Sample("a", 0, as_boxes(boxes), "edges", mask=reader), SIZE)


def area_of(protocol: Protocol, truth: GroundTruth) -> float:
    """Return the share of the counted pixels that the region has: the energy of a map of ones."""
    ones = np.ones(protocol.frame(SIZE)[::-1])
    return float(external_attribution(protocol, ones, ones, truth)[COLUMNS.index("energy")])


def test_the_region_is_the_union_of_the_boxes() -> None:
    exact = find_protocol("exact")
    assert area_of(exact, truth_of(exact, [[10, 20, 30, 40]])) == pytest.approx(400 / 5400)
    assert area_of(exact, truth_of(exact, [[10, 20, 30, 40], [20, 30, 40, 50]])) == pytest.approx(700 / 5400)
    assert area_of(exact, truth_of(exact, [[10.4, 20.6, 30.4, 40]])) == pytest.approx(20 * 19 / 5400)  # by centers


def test_the_region_is_the_mask_where_there_is_one() -> None:
    exact, scaled, zhou = map(find_protocol, ("exact", "wsolevaluation", "zhou2016"))
    box = [[10.0, 20.0, 30.0, 40.0]]
    assert area_of(exact, truth_of(exact, box, MASK)) == pytest.approx(800 / 3600)
    resized = cv2.resize(MASK.foreground.astype(np.uint8), (224, 224), interpolation=cv2.INTER_NEAREST)
    ignored = cv2.resize(MASK.ignore.astype(np.uint8), (224, 224), interpolation=cv2.INTER_NEAREST)
    expected = resized.sum() / (224 * 224 - ignored.sum())
    assert area_of(scaled, truth_of(scaled, box, MASK)) == pytest.approx(expected)
    assert area_of(zhou, truth_of(zhou, box, MASK)) == area_of(zhou, truth_of(zhou, box)) > 0  # it ignores masks


def test_ignored_foreground_is_foreground() -> None:
    exact = find_protocol("exact")
    everything = Mask(MASK.foreground, np.ones((60, 90), bool))
    found = area_of(exact, truth_of(exact, [[0, 0, 1, 1]], everything))
    assert found == 1


@pytest.mark.parametrize(("name", "kind"), [("wsolevaluation", cv2.INTER_CUBIC), ("exact", cv2.INTER_LINEAR)])
def test_maps_by_another_interpolation(name: str, kind: int) -> None:
    """Everything recomputed from OpenCV's resized map."""
    protocol = find_protocol(name)
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, 1, 7, 9)).astype(np.float32) * 50
    truth = truth_of(protocol, [[10, 20, 70, 50]])
    width, height = protocol.frame(SIZE)
    region = np.zeros((height, width), bool)
    x0, y0, x1, y1 = truth.boxes[0].astype(int)
    region[y0:y1, x0:x1] = True
    found = attributions(protocol, View(224, 224), maps, [truth] * 3)
    for (own,), values in zip(maps, found, strict=True):
        large = cv2.resize(own.astype(np.float64), (width, height), interpolation=kind)
        prepared = (large - large.min()) / (large.max() - large.min())
        order = np.argsort(-large.ravel(), kind="stable")
        inside = region.ravel()[order]
        expected = {
            "energy": prepared[region].sum() / prepared.sum(),
            "mass": large[region & (large > 0)].sum() / large[large > 0].sum(),
            "rank": inside[: region.sum()].mean(),
            "top_k": inside[:1000].mean(),
        }
        place = dict(zip(COLUMNS, values.tolist(), strict=True))
        assert {key: place[key] for key in expected} == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("name", [*PROTOCOLS.names(), "zhou2016:box=script", "exact:size=100"])
@pytest.mark.parametrize("factor", [1, 1e37])
def test_the_prepared_map_follows_the_upsampled_one(name: str, factor: float) -> None:
    """So they have the same geometry: a protocol that crops or pads cannot forget one of them."""
    protocol = find_protocol(name)
    crops = () if protocol.view.count == 1 else (protocol.view.count,)
    maps = np.random.default_rng(1).random((1, *crops, 7, 9)).astype(np.float32)
    prepared = protocol.prepare_view(protocol.view, maps, SIZE)[0].astype(np.float64)
    large = protocol.upsample(protocol.view, maps, SIZE)[0]
    assert large.shape == prepared.shape
    rises = np.diff(prepared.ravel()[np.argsort(large.ravel())])
    compressed = 0.15 if getattr(protocol, "box", "") == "script" else 1e-5  # as a JPEG file
    assert rises.min() > -compressed
    truth = truth_of(protocol, [[10, 20, 70, 50]])
    row: NDArray[Any] = attributions(protocol, protocol.view, np.float32(factor) * maps[None], [truth])
    assert np.isfinite(row).all()
    np.testing.assert_allclose(row, attributions(protocol, protocol.view, maps[None], [truth]), atol=1e-6)


def test_a_normalized_map_is_its_own_relevance() -> None:
    protocol = find_protocol("wsolevaluation")
    score_map = np.random.default_rng(2).random((224, 224))
    truth = truth_of(protocol, [[10, 20, 70, 50]])
    prepared = protocol.prepare_external(score_map, SIZE, raw=False)
    found = dict(zip(COLUMNS, external_attribution(protocol, score_map, prepared, truth).tolist(), strict=True))
    assert found["mass"] == pytest.approx(found["energy"], abs=1e-6)
    assert found["energy"] == pytest.approx(
        score_map[74:187, 24:175].sum() / score_map.sum(), abs=1e-6
    )  # corners truncated, inclusive: 24.9, 74.7, 174.2, 186.7
