"""The CAM paper's protocol, by hand and against skimage."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.measure import label, regionprops

from wsol.boxes.cam_script import cam_script_boxes
from wsol.datasets import Sample
from wsol.datasets.base import as_boxes
from wsol.protocols import PROTOCOLS, find_protocol

PAPER, SCRIPT = PROTOCOLS.get("zhou2016"), find_protocol("zhou2016:box=script")
PLAIN = find_protocol("zhou2016:box=script,jpeg=0")


def test_the_threshold_is_a_share_of_the_maximum_and_strict() -> None:
    raw = np.zeros((1, 20, 30), np.float32)
    raw[0, 2:6, 3:9] = 10
    raw[0, 6, 3:9] = 2  # exactly 20 % of the maximum: not above it
    raw[0, 10:19, 10:29] = 2.01
    raw[0, 0, 0] = -100  # no min-max: what lies below 0 moves nothing
    prepared = PAPER.prepare(raw, (30, 20))
    assert PAPER.boxes(prepared, np.array([0.2, 0.21]))[0].tolist() == [[10, 10, 29, 19], [3, 2, 9, 6]]


def test_curves_against_skimage() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([[2.0, 3, 20, 18]])
    for _ in range(5):
        prepared = PAPER.prepare(rng.normal(size=(1, 7, 7)).astype(np.float32), (33, 21))[0]
        stats = PAPER.score_map_stats(prepared, truth)
        assert len(PAPER.taus) == len(stats.curve) == 100
        for tau, box in zip(PAPER.taus, stats.boxes, strict=True):
            regions = regionprops(label(prepared.astype(np.float64) > tau, connectivity=2))
            y0, x0, y1, x1 = max(regions, key=lambda region: (region.area, -region.label)).bbox
            assert box.tolist() == [x0, y0, x1, y1]


@pytest.mark.parametrize("value", [0, -1, 3, np.nan, np.inf])
def test_a_constant_map_has_no_box(value: float) -> None:
    prepared = PAPER.prepare(np.full((1, 5, 5), value, np.float32), (20, 20))
    assert not prepared.any()
    assert not PAPER.boxes(prepared, PAPER.taus).any()
    assert not PAPER.score_map_stats(prepared[0], np.array([[0.0, 0, 9, 9]])).curve.any()


def test_a_map_without_a_positive_value_has_no_box() -> None:
    prepared = PAPER.prepare(-np.random.default_rng(0).random((1, 5, 5)).astype(np.float32), (20, 20))
    assert not PAPER.boxes(prepared, PAPER.taus).any()


def test_ground_truth_is_the_published_corners_inclusive() -> None:
    sample = Sample("a", 0, as_boxes([[7, 3, 448, 111.5]]), "inclusive")
    assert PAPER.ground_truth(sample, (448, 112)).tolist() == [[7, 3, 449, 112.5]]
    # devkit: 10 x 10 pixels against the same shifted by 2: 80 / 120.
    sample = Sample("a", 0, as_boxes([[0, 0, 9, 9]]), "inclusive")
    raw = np.zeros((1, 30, 30), np.float32)
    raw[0, :10, 2:12] = 1
    stats = PAPER.score_map_stats(PAPER.prepare(raw, (30, 30))[0], PAPER.ground_truth(sample, (30, 30)))
    assert stats.curve[20] == pytest.approx(80 / 120)


def test_the_script_has_two_boxes_and_no_tau() -> None:
    assert len(SCRIPT.taus) == 0
    gray = np.zeros((100, 120), np.uint8)
    gray[10:61, 20:71] = 150
    gray[70:90, 80:100] = 255
    prepared = PLAIN.prepare(gray[None], (120, 100))
    # 51 x 51: the largest distance is 26, 255 / 26 = 9.8, so one pixel on each side goes, from the other block too.
    # Each rectangle is in three masks: the second goes, the third is skipped.
    boxes = [[21, 11, 71, 61]] * 2 + [[81, 71, 100, 90]] * 2
    assert cam_script_boxes(gray).tolist() == boxes
    stats = PLAIN.score_map_stats(prepared[0], np.array([[21.0, 11, 71, 61]]))
    assert (stats.curve.tolist(), stats.second.tolist()) == ([1], [1])
    assert PLAIN.boxes(prepared, PLAIN.taus).tolist() == [[[21, 11, 71, 61]]]
    empty = SCRIPT.score_map_stats(np.zeros((80, 100), np.float32), np.array([[70.0, 30, 88, 60]]))
    assert (empty.curve.tolist(), empty.second.tolist()) == ([0], [0])


def test_a_heat_map_file_reaches_the_script_unchanged(real_data: Path) -> None:
    """The authors' sample, for which their program writes x, y, width, height 41 145 362 202 and 102 188 242 126."""
    gray = np.asarray(Image.open(real_data / "zhou2016" / "heatmap_6.jpg").convert("L"))
    prepared = PLAIN.prepare_external(gray, (500, 368), raw=False)
    assert (np.rint(255 * prepared) == gray).all()
    truth = np.array([[102.0, 188, 102 + 242 + 1, 188 + 126 + 1]])
    stats = PLAIN.score_map_stats(prepared, truth)
    assert stats.boxes.tolist() == [[41, 145, 41 + 362 + 1, 145 + 202 + 1]]
    assert stats.second.tolist() == [1]


def test_the_heat_map_is_a_share_of_the_maximum_rounded_to_8_bit() -> None:
    raw = np.array([[[-8.0, -1, 0, 0.01, 1, 1.004, 2, 4]]])
    signed = find_protocol("zhou2016:box=script,merge=signed,jpeg=0").prepare(raw, (8, 1))[0, 0]
    # 255 times 0.0025, 0.25, 0.251, 0.5: 0.6, 63.75, 64.005, 127.5
    assert (255 * signed).round(4).tolist() == [0, 0, 0, 1, 64, 64, 128, 255]
    absolute = PLAIN.prepare(raw, (8, 1))[0, 0]  # of the largest absolute value, 8
    assert (255 * absolute).round(4).tolist() == [255, 32, 0, 0, 32, 32, 64, 128]


def test_the_heat_map_is_compressed_as_jpeg() -> None:
    raw = np.random.default_rng(0).random((1, 20, 30)).astype(np.float32)
    plain, compressed = (np.rint(255 * each.prepare(raw, (30, 20))[0]).astype(np.uint8) for each in (PLAIN, SCRIPT))
    file = cv2.imencode(".jpg", plain, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    np.testing.assert_array_equal(compressed, cv2.imdecode(file, cv2.IMREAD_GRAYSCALE))
    assert 0 < np.abs(compressed.astype(int) - plain).max() < 40


def test_crops_are_added_as_the_settings_say() -> None:
    """One crop is positive, one negative, at the same place of the square: the map is their sum, or twice one."""
    maps = np.zeros((1, 10, 224, 224), np.float32)
    for crop, value in ((0, 1), (5, -1)):  # the same corner, as it is and mirrored
        maps[0, crop, 100, 223 - 60 if crop else 60] = value
    maps[0, 1, 0, 223] = 1  # the top-right pixel of the square
    for merge, expected in (("absolute", 1), ("signed", 0)):
        protocol = find_protocol(f"zhou2016:box=script,merge={merge},jpeg=0")
        prepared = protocol.prepare_view(protocol.view, maps, (256, 256))[0]
        assert prepared[100, 60] == expected
        assert prepared[0, 255] == pytest.approx(0.5 if merge == "absolute" else 1, abs=1 / 255)


def test_crops() -> None:
    assert (PAPER.view.side, PAPER.view.crop, PAPER.view.count) == (256, 224, 10)
    assert find_protocol("zhou2016:crops=1").view.count == 1
