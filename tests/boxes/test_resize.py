import cv2
import numpy as np
import pytest
import torch

from wsol.boxes.resize import bicubic, bilinear, nearest


def test_agrees_with_opencv_and_torch() -> None:
    rng = np.random.default_rng(0)
    for shape in ((13, 13), (7, 10), (1, 1), (2, 3), (300, 260)):
        maps = rng.normal(size=(3, *shape)).astype(np.float32)
        ours = bicubic(maps, (224, 200))
        theirs = np.stack([cv2.resize(m, (200, 224), interpolation=cv2.INTER_CUBIC) for m in maps])
        torchs = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], (224, 200), mode="bicubic")[0].numpy()
        # OpenCV places source pixels in float32, so its weights are off by up to 1e-5 where it shrinks.
        assert np.abs(ours - theirs).max() < (2e-4 if shape[0] > 224 else 2e-5)
        assert np.abs(ours - torchs).max() < (2e-4 if shape[0] > 224 else 2e-5)


def test_the_same_size_is_the_same_map() -> None:
    maps = np.random.default_rng(1).normal(size=(2, 9, 8)).astype(np.float32)
    assert (bicubic(maps, (9, 8)) == maps).all()


def test_doubling_by_hand() -> None:
    # Half-pixel centers: target 1 lies at source 0.25. Keys' kernel with a = -0.75 at 1.25, 0.25, 0.75, 1.75:
    # w(1.25) = -0.10546875, w(0.25) = 0.87890625, w(0.75) = 0.26171875, w(1.75) = -0.03515625; border replicated.
    line = np.array([[[1, 2, 4, 8]]], np.float32)
    by_hand = -0.10546875 * 1 + 0.87890625 * 1 + 0.26171875 * 2 - 0.03515625 * 4
    assert bicubic(line, (1, 8))[0, 0, 1] == np.float32(by_hand)


@pytest.mark.parametrize(
    ("source", "size"), [((14, 14), (224, 224)), ((7, 9), (375, 500)), ((50, 40), (50, 40)), ((90, 31), (20, 64))]
)
def test_bilinear_is_opencvs_and_torchs(source: tuple[int, int], size: tuple[int, int]) -> None:
    score_map = np.random.default_rng(0).normal(size=source).astype(np.float32)
    ours = bilinear(score_map[None], size)[0]
    np.testing.assert_allclose(ours, cv2.resize(score_map, size[::-1], interpolation=cv2.INTER_LINEAR), atol=2e-5)
    theirs = torch.nn.functional.interpolate(torch.tensor(score_map)[None, None], size, mode="bilinear")[0, 0]
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_a_map_of_that_size_already_keeps_its_bits() -> None:
    score_map = np.random.default_rng(0).normal(size=(1, 30, 20)).astype(np.float32)
    np.testing.assert_array_equal(bilinear(score_map, (30, 20)), score_map)


@pytest.mark.parametrize("source", [(500, 375), (100, 300), (224, 224), (7, 5), (333, 1)])
def test_nearest_is_opencvs(source: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).random(source) < 0.5
    theirs = cv2.resize(mask.astype(np.float32), (224, 224), interpolation=cv2.INTER_NEAREST) > 0.5
    np.testing.assert_array_equal(nearest(mask, (224, 224)), theirs)
