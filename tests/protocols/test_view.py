import numpy as np
import pytest

from wsol.protocols import View

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
