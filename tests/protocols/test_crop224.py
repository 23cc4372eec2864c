"""The protocol crop224: every convention by hand, and against an implementation image by image."""

import naive_fixed_tau as naive
import numpy as np
import pytest

from wsol.datasets import Sample
from wsol.errors import InputError
from wsol.metrics.base import METRICS
from wsol.metrics.iou import best_iou
from wsol.protocols import Protocol, View, find_protocol
from wsol.protocols.base import ground_truth_of

PAPERS = ("bas", "sat", "spol")
WHOLE = (256, 256)  # in a frame of this size the crop is the image less 16 pixels on each side


def find(paper: str, **settings: object) -> Protocol:
    return find_protocol(",".join([f"crop224:paper={paper}", *(f"{name}={value}" for name, value in settings.items())]))


def truth(paper: str, box: tuple[float, ...], size: tuple[int, int] = WHOLE) -> list[float]:
    sample = Sample("a", 0, np.array([box], float), "inclusive", size=size)
    (edges,) = find(paper).ground_truth(sample, size).tolist()
    return edges


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    """A map of the crop, ready for thresholds."""
    score_map = np.zeros((224, 224))
    score_map[y0:y1, x0:x1] = 1
    return score_map


def iou(paper: str, score_map: np.ndarray, box: tuple[float, ...], tau: float = 0.2) -> float:
    protocol = find(paper)
    curve = protocol.score_map_stats(score_map, np.array([truth(paper, box)])).curve
    return float(curve[int(np.abs(protocol.taus - tau).argmin())])


def test_signature_and_settings() -> None:
    assert find_protocol("crop224").signature == "crop224:paper=bas,step=0.01,norm=minmax"
    assert find("sat", agnostic="true").signature == "crop224:paper=sat,step=0.01,agnostic=true,norm=minmax"
    assert find_protocol("crop224").taus.tolist() == [i / 100 for i in range(100)]
    for wrong in ("paper=psol", "step=0.001", "delta=0"):
        with pytest.raises(InputError, match="crop224"):
            find_protocol(f"crop224:{wrong}")


def test_the_network_sees_the_center_crop() -> None:
    view = find("bas").view
    pixels = np.arange(256 * 256, dtype=np.uint32).astype(np.uint8).reshape(1, 256, 256, 1)
    (crop,) = view.crops(pixels)
    np.testing.assert_array_equal(crop, pixels[:, 16:240, 16:240])
    window = find("bas").window
    assert window.to_image(np.array([0.0, 0, 224, 112]), (224, 224), (512, 256)).tolist() == [32, 16, 480, 128]
    whole = window.uncrop(np.ones((224, 224)))
    assert whole.shape == (256, 256)
    assert whole[16:240, 16:240].sum() == whole.sum() == 224**2


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((26, 36, 46, 56), {"bas": [10, 20, 31, 41], "sat": [10, 20, 31, 41], "spol": [10, 20, 30, 40]}),
        # partly outside: on the right 255 is 239 in the crop, beyond its last pixel
        ((200, 20, 255, 100), {"bas": [184, 4, 225, 85], "sat": [184, 4, 224, 85], "spol": [184, 4, 224, 84]}),
        ((0, 0, 255, 255), {"bas": [0, 0, 225, 225], "sat": [0, 0, 224, 224], "spol": [0, 0, 224, 224]}),
        # wholly outside on the left: -6 to the left of 0; and 229 to the right of the limit on the right
        ((0, 20, 10, 100), {"bas": [0, 4, 0, 85], "sat": [0, 4, 0, 85], "spol": [0, 4, 0, 84]}),
        ((245, 20, 255, 100), {"bas": [229, 4, 229, 85], "sat": [229, 4, 229, 85], "spol": [229, 4, 229, 84]}),
        # half a pixel to the left: the + 1 leaves half a pixel of it, truncation toward zero a whole one
        ((0, 20, 15.5, 100), {"bas": [0, 4, 0.5, 85], "sat": [0, 4, 1, 85], "spol": [0, 4, 0, 84]}),
    ],
)
def test_ground_truth_of_the_crop(box: tuple[float, ...], expected: dict[str, list[float]]) -> None:
    for paper, edges in expected.items():
        assert truth(paper, box) == edges, paper


def test_ground_truth_is_scaled_to_256() -> None:
    box, size = (101.0, 33.0, 301.0, 101.0), (512, 128)  # halved, doubled, then moved by 16
    assert truth("bas", box, size) == [34.5, 50, 135.5, 187]
    assert truth("sat", box, size) == [34, 50, 135, 187]
    assert truth("spol", box, size) == [34.5, 50, 134.5, 186]
    assert truth("spol", (-3, 0, 600, 130), size) == [0, 0, 224, 224]


def test_nothing_hits_a_box_outside_the_crop() -> None:
    everything = np.array([[0.0, 0, 225, 225]])
    for paper in PAPERS:
        for box in ((245, 20, 255, 100), (0, 0, 10, 10)):
            assert best_iou(everything, np.array([truth(paper, box)])) == 0


def test_an_empty_map_is_the_whole_crop_or_no_box() -> None:
    nothing, everything = np.zeros((224, 224)), (0, 0, 256, 256)
    assert iou("bas", nothing, everything) == 1
    assert iou("sat", nothing, everything) == pytest.approx(224**2 / 225**2)  # truth ends at the last pixel
    assert iou("spol", nothing, everything) == 0
    for paper, box in (("bas", [0, 0, 225, 225]), ("sat", [0, 0, 225, 225]), ("spol", [0, 0, 0, 0])):
        protocol = find(paper)
        assert protocol.boxes(nothing[None], protocol.taus)[0].tolist() == [box] * 100
        assert protocol.boxes(protocol.prepare(np.full((1, 7, 7), 3.0), WHOLE), protocol.taus)[0, 0].tolist() == box


def test_hits_at_an_iou_of_exactly_one_half() -> None:
    """10 x 10 pixels: 11 x 11 with x + w as inclusive corner; ground truth of the same width and twice the height."""
    ranks, labels = np.ones(1, np.int64), np.zeros(1, np.int64)
    doubled = {"bas": (26, 26, 36, 47), "sat": (26, 26, 36, 47), "spol": (26, 26, 36, 46)}
    for paper, is_hit in (("bas", False), ("sat", True), ("spol", False)):
        protocol = find(paper)
        boxes = np.array([truth(paper, doubled[paper])])
        curve = protocol.score_map_stats(rectangle(10, 10, 20, 20), boxes).curve
        assert curve[20] == 0.5
        above = protocol.score_map_stats(rectangle(10, 10, 20, 21), boxes).curve
        for curves, expected in ((curve, is_hit), (above, True)):
            stats = protocol.make_stats(curves=curves[None], labels=labels, ranks=ranks, first=curves[None])
            values = [METRICS.get(name).per_image(stats)[0, 20] for name in ("gt_known_loc_acc", "top1_loc_err")]
            assert values == [expected, not expected], paper
            assert METRICS.get("top5_loc_err").per_image(stats)[0, 20] != expected


def test_the_map_is_normalized_before_it_is_upsampled() -> None:
    score_map = np.zeros((1, 4, 4), np.float32)
    score_map[0, 1, 1] = 5
    prepared = find("bas").prepare(score_map, WHOLE)
    # 56 pixels per pixel: the nearest center is half a pixel, 1/112, away along both axes.
    assert prepared.max() == pytest.approx((1 - 1 / 112) ** 2)
    assert find("bas").boxes(prepared, np.array([0.98]))[0, 0].tolist() == [83, 83, 86, 86]
    assert find("bas").boxes(prepared, np.array([0.99]))[0, 0].tolist() == [0, 0, 225, 225]
    small = find("sat").prepare(score_map * np.float32(1e-5 / 5), WHOLE)  # its range is what is added to it
    assert small.max() == pytest.approx((1 - 1 / 112) ** 2 / 2, rel=1e-5)


def test_other_normalizations_follow_the_upsampling() -> None:
    score_map = np.zeros((1, 4, 4), np.float32)
    score_map[0, 1, 1] = 5
    assert find("bas", norm="max").prepare(score_map, WHOLE).max() == 1
    with pytest.raises(InputError, match="percentile would be ignored"):
        find("bas", percentile=0.3)
    assert "norm=max would be ignored" in (find("bas", norm="max").unsupported_reason(raw=False) or "")


def test_component_and_contour() -> None:
    """A ring has few pixels and a large contour."""
    score_map = rectangle(10, 10, 40, 40)
    score_map[11:39, 11:39] = 0  # 116 pixels
    score_map[100:120, 100:120] = 1  # 400 pixels
    taus = np.array([0.5])
    assert find("bas").boxes(score_map[None], taus)[0, 0].tolist() == [100, 100, 121, 121]
    assert find("spol").boxes(score_map[None], taus)[0, 0].tolist() == [10, 10, 40, 40]


def test_maps_of_the_whole_image_are_cropped() -> None:
    protocol = find("bas")
    margin = np.zeros((1, 256, 256), np.float32)
    margin[:, :16] = margin[:, 240:] = 7  # outside the crop
    assert not protocol.prepare_view(View(256, 256), margin, WHOLE).any()
    margin[0, 16 + 50 : 16 + 60, 16 + 30 : 16 + 40] = 2
    prepared = protocol.prepare_view(View(256, 256), margin, WHOLE)
    np.testing.assert_array_equal(prepared[0], rectangle(30, 50, 40, 60))
    ten = np.broadcast_to(margin[:, None, 16:240, 16:240], (1, 10, 224, 224))
    assert protocol.prepare_view(View(256, 224, 10), ten, WHOLE).shape == (1, 224, 224)


def test_external_maps() -> None:
    protocol = find("spol")
    flat = np.full((224, 224), 0.3)
    np.testing.assert_array_equal(protocol.prepare_external(flat, WHOLE, raw=False), flat)
    assert not protocol.prepare_external(flat, WHOLE, raw=True).any()
    for wrong in (flat[:7], flat + 1):
        with pytest.raises(ValueError, match=r"shape|ranges"):
            protocol.prepare_external(wrong, WHOLE, raw=False)


def test_one_box_for_all_guesses() -> None:
    """Guesses 1, 0: class 1's map is wrong and the true class's right, then the other way round."""
    sample = Sample("a", 0, np.array([[26.0, 26, 35, 35]]), "inclusive", size=WHOLE)
    right, wrong = (rectangle(*box).astype(np.float32) for box in ((10, 10, 19, 19), (100, 100, 200, 200)))
    classes = np.array([[0, 1, 0, 2]])
    for paper in PAPERS:
        protocol = find(paper)
        truths = [ground_truth_of(protocol, sample, WHOLE)]
        for first, other in ((wrong, right), (right, wrong)):
            maps = np.stack([other, first, other, wrong])[None]
            rows, boxes = protocol.score_batch(protocol.view, maps, truths, classes, 20)
            assert boxes is not None
            assert (boxes[0, 1:] == boxes[0, 1]).all()
            assert (boxes[0, 0] != boxes[0, 1]).any()
            arrays = {name: array for name, array in rows.items() if name != "boxes"}
            stats = protocol.make_stats(labels=np.zeros(1, int), ranks=np.array([2]), **arrays)
            found = {
                name: bool(METRICS.get(name).per_image(stats)[0, 20])
                for name in ("gt_known_loc_acc", "top1_loc_err", "top5_loc_err")
            }
            is_first_right = first is right
            assert found == {
                "gt_known_loc_acc": not is_first_right,
                "top1_loc_err": True,
                "top5_loc_err": not is_first_right,
            }


@pytest.mark.parametrize("paper", PAPERS)
def test_the_naive_implementation_agrees(paper: str) -> None:
    rng = np.random.default_rng(0)
    protocol = find(paper)
    for n in range(20):
        side = int(rng.integers(2, 15))
        score_map = rng.normal(size=(side, side)).astype(np.float32)
        width, height = rng.integers(30, 500, 2).tolist()
        corners = np.sort(rng.uniform(-1, 1 + 1e-9, (3, 2, 2)) * [width, height], axis=1)
        corners = np.clip(corners, -1, [width, height]) if n % 2 else np.rint(np.abs(corners))
        boxes = np.sort(corners, axis=1).reshape(3, 4)
        sample = Sample("a", 0, boxes, "inclusive", size=(width, height))
        prepared = protocol.prepare(score_map[None], sample.size)[0]
        stats = ground_truth_of(protocol, sample, sample.size).score_map_stats(protocol, prepared)
        for i in rng.integers(0, 100, 4).tolist():
            expected = naive.crop_iou(paper, score_map, i / 100, boxes.tolist(), (width, height))
            assert stats.curve[i] == pytest.approx(expected, abs=1e-6), (n, i)
