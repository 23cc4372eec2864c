import numpy as np
import pytest

from wsol.datasets import Sample
from wsol.protocols import View, find_protocol
from wsol.protocols.base import ground_truth_of

TEN = View(256, 224, 10)


def test_ten_crops_are_corners_and_center_then_mirrored() -> None:
    five = [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
    assert TEN.crop_positions == (*((y, x, False) for y, x in five), *((y, x, True) for y, x in five))
    assert View(256, 224, 1).crop_positions == ((16, 16, False),)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    crops = TEN.crops(pixels)
    assert len(crops) == 10
    np.testing.assert_array_equal(crops[1], pixels[:, :224, 32:])
    np.testing.assert_array_equal(crops[9], pixels[:, 16:240, 16:240][:, :, ::-1])
    np.testing.assert_array_equal(View(224, 224).crops(pixels[:, :224, :224])[0], pixels[:, :224, :224])


def test_signatures_say_what_was_seen() -> None:
    assert [view.signature for view in (View(224, 224), TEN, View(256, 224))] == ["224", "256/10x224", "256/1x224"]
    assert View(224, 224).suffix == ""
    assert TEN.suffix == "@256/10x224"


def test_maps_are_added_up_where_their_crops_were() -> None:
    """Each crop's map is one lit pixel of the crop: it has to come out at that pixel of the square."""
    y, x = 100, 60
    maps = np.zeros((1, 10, 224, 224), np.float32)
    for i, (top, left, mirrored) in enumerate(TEN.crop_positions):
        maps[0, i, y - top, 223 - (x - left) if mirrored else x - left] = 1
    whole = TEN.assemble(maps)
    assert whole.shape == (1, 256, 256)
    assert whole[0, y, x] == 10
    assert whole.sum() == 10


def test_where_no_crop_was_nothing_is_added() -> None:
    ones = np.ones((3, 14, 14), np.float32)
    ones[:, 7, 7] += 1e-6  # a constant map would become zeros
    center = View(256, 224).assemble(ones)
    assert center[:, 16:240, 16:240].min() == 1
    assert center.sum() == pytest.approx(3 * 224 * 224)
    assert center[:, :16].sum() + center[:, :, 240:].sum() == 0
    np.testing.assert_array_equal(View(224, 224).assemble(ones), ones)
    counts = TEN.assemble(np.broadcast_to(ones[:1, None], (1, 10, 14, 14)))[0]
    assert counts[128, 128] == pytest.approx(10)
    assert counts[0, 0] == pytest.approx(2)


def test_maps_that_are_constant_in_every_crop_become_zeros() -> None:
    """Their sum would be high where many crops overlap, whatever the image shows."""
    maps = np.broadcast_to(np.arange(1, 11, dtype=np.float32)[None, :, None, None], (2, 10, 7, 7)).copy()
    maps[1, 4, 3, 3] = 6  # one crop says something
    found = TEN.assemble(maps)
    assert not found[0].any()
    assert found[1, 0, 0] == pytest.approx(1 + 6)
    assert not View(256, 224).assemble(np.full((1, 7, 7), 3, np.float32)).any()
    assert TEN.assemble(-maps, absolute=True)[1, 0, 0] == pytest.approx(1 + 6)


@pytest.mark.parametrize(
    "name",
    [
        "exact",
        "exact:norm=pas",
        "tscam",
        "tscam:norm=ivr",
        "wsolevaluation",
        "wsolevaluation:norm=ivr",
        "zhou2016:crops=1,norm=minmax",
        "zhou2016:crops=1,norm=ivr",
    ],
)
def test_nothing_around_a_crop_is_above_its_lowest_score(name: str) -> None:
    """A constant that is added to the map of a crop changes nothing, as for maps of whole images."""
    view, protocol = View(256, 224), find_protocol(name)
    maps = np.random.default_rng(0).integers(0, 8, (1, 1, 7, 7)).astype(np.float32)
    sample = Sample("a", 0, np.array([[90.0, 90, 200, 200]]), "edges", size=(256, 256))
    truths, classes = [ground_truth_of(protocol, sample, (256, 256))], np.zeros((1, 1), np.int64)
    low, high = (protocol.prepare_view(view, maps[0] + shift, (256, 256))[0] for shift in (-64, 64))
    np.testing.assert_allclose(low, high, atol=1e-6)
    assert low[:8].max() < 0.05  # bicubic interpolation is below the lowest score at the edge of the crop
    rows = [protocol.score_batch(view, maps + shift, truths, classes, None)[0] for shift in (-64, 0)]
    np.testing.assert_array_equal(rows[0]["curves"], rows[1]["curves"])
    taken = find_protocol(f"{name.partition(':')[0]}:norm=max")  # clips what is negative, so zero is lowest there
    assert not taken.prepare_view(view, maps[0] - 3, (256, 256))[0][:8].any()
