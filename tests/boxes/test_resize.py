from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wsol.boxes.resize import (
    Taps,
    bicubic,
    bilinear,
    cubic_taps,
    linear_taps,
    matlab_cubic_taps,
    nearest,
    resize,
    resize_and_divide,
    resize_and_normalize,
)

FILTERS = (linear_taps, cubic_taps, matlab_cubic_taps)


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
    assert (resize(maps, (9, 8), matlab_cubic_taps) == maps).all()


def test_doubling_by_hand() -> None:
    # Half-pixel centers: target 1 lies at source 0.25. Keys' kernel with a = -0.75 at 1.25, 0.25, 0.75, 1.75:
    # w(1.25) = -0.10546875, w(0.25) = 0.87890625, w(0.75) = 0.26171875, w(1.75) = -0.03515625; border replicated.
    line = np.array([[[1, 2, 4, 8]]], np.float32)
    by_hand = -0.10546875 * 1 + 0.87890625 * 1 + 0.26171875 * 2 - 0.03515625 * 4
    assert bicubic(line, (1, 8))[0, 0, 1] == np.float32(by_hand)
    # With a = -0.5: w(1.25) = -0.0703125, w(0.25) = 0.8671875, w(0.75) = 0.2265625, w(1.75) = -0.0234375.
    by_hand = -0.0703125 * 1 + 0.8671875 * 1 + 0.2265625 * 2 - 0.0234375 * 4
    assert resize(line, (1, 8), matlab_cubic_taps)[0, 0, 1] == np.float32(by_hand)


@pytest.mark.parametrize(
    ("source", "size"), [((14, 14), (224, 224)), ((7, 9), (375, 500)), ((50, 40), (50, 40)), ((90, 31), (20, 64))]
)
def test_bilinear_is_opencvs_and_torchs(source: tuple[int, int], size: tuple[int, int]) -> None:
    score_map = np.random.default_rng(0).normal(size=source).astype(np.float32)
    ours = bilinear(score_map[None], size)[0]
    np.testing.assert_allclose(ours, cv2.resize(score_map, size[::-1], interpolation=cv2.INTER_LINEAR), atol=2e-5)
    theirs = torch.nn.functional.interpolate(torch.tensor(score_map)[None, None], size, mode="bilinear")[0, 0]
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize(
    ("source", "size"), [((14, 14), (224, 224)), ((256, 256), (375, 500)), ((256, 256), (90, 333)), ((7, 9), (5, 3))]
)
def test_matlabs_bicubic_is_pils_of_a_map_that_is_mirrored_at_its_borders(
    source: tuple[int, int], size: tuple[int, int]
) -> None:
    score_map = np.random.default_rng(0).normal(size=source).astype(np.float32)
    mirrored = Image.fromarray(np.pad(score_map, [(n, n) for n in source], mode="symmetric"))
    theirs = np.asarray(mirrored.resize((3 * size[1], 3 * size[0]), Image.Resampling.BICUBIC))  # a = -0.5, antialiased
    ours = resize(score_map[None], size, matlab_cubic_taps)[0]
    np.testing.assert_allclose(ours, theirs[size[0] : 2 * size[0], size[1] : 2 * size[1]], atol=5e-6)


def test_a_map_of_that_size_already_keeps_its_bits() -> None:
    score_map = np.random.default_rng(0).normal(size=(1, 30, 20)).astype(np.float32)
    np.testing.assert_array_equal(bilinear(score_map, (30, 20)), score_map)


def reference(score_map: np.ndarray, size: tuple[int, int], mode: str) -> np.ndarray:
    """Upsample in double precision without the map's minimum, and min-max normalize."""
    shifted = torch.from_numpy(score_map.astype(np.float64) - score_map.min())
    large = torch.nn.functional.interpolate(shifted[None, None], size, mode=mode)[0, 0].numpy()
    return (large - large.min()) / np.ptp(large)


CASES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ordinary": lambda noise: 6 * noise - 2,
    "around 100": lambda noise: 100 + 0.01 * noise,
    "around 1,000": lambda noise: 1000 + 0.01 * noise,
    "around -1,000": lambda noise: -1000 + 0.01 * noise,
    "around 1e30": lambda noise: 1e30 * (1 + 1e-5 * noise),
    "of the largest numbers": lambda noise: 6.6e38 * (noise - 0.5),
    "of the smallest numbers": lambda noise: 1e-42 * noise,
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(14, 14), (13, 7), (224, 224)])
@pytest.mark.parametrize(("taps", "mode"), [(cubic_taps, "bicubic"), (linear_taps, "bilinear")])
def test_rounding_is_not_stretched(
    case: str, shape: tuple[int, int], taps: Callable[[int, int], tuple[np.ndarray, np.ndarray]], mode: str
) -> None:
    score_map = CASES[case](np.random.default_rng(0).random(shape)).astype(np.float32)
    ours = resize_and_normalize(score_map[None], (224, 200), taps)[0]
    np.testing.assert_allclose(ours, reference(score_map, (224, 200), mode), atol=1e-7)
    assert (ours.min(), ours.max()) == (0, 1)
    doubled = resize_and_normalize(score_map.astype(np.float64)[None], (224, 200), taps)[0]
    np.testing.assert_array_equal(ours, doubled)  # the same numbers in another file format


@pytest.mark.parametrize("taps", [cubic_taps, linear_taps, matlab_cubic_taps])
@pytest.mark.parametrize("shape", [(7, 7), (13, 10), (1, 1), (300, 40)])
def test_a_constant_map_becomes_zeros(
    taps: Callable[[int, int], tuple[np.ndarray, np.ndarray]], shape: tuple[int, int]
) -> None:
    values = [*np.random.default_rng(0).uniform(-3, 3, 30).tolist(), 0, 1e30, 1e-40]
    for dtype in (np.float32, np.float64):
        maps = np.stack([np.full(shape, value, dtype) for value in values])
        assert not resize_and_normalize(maps, (61, 83), taps).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_becomes_zeros(bad: float) -> None:
    maps = np.random.default_rng(0).random((2, 7, 7)).astype(np.float32)
    maps[0, 3, 4] = bad
    found = resize_and_normalize(maps, (30, 20), cubic_taps)
    assert not found[0].any()
    assert found[1].max() == 1


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 40)] * 4), st.sampled_from(FILTERS))
def test_the_range_is_that_of_all_pixels(seed: int, sizes: tuple[int, int, int, int], taps: Taps) -> None:
    """A pixel that the search for the lowest and the highest value has missed would be outside [0, 1]."""
    rng = np.random.default_rng(seed)
    score_map = rng.normal(size=sizes[:2]) ** rng.integers(1, 4)
    resized = resize(score_map[None], sizes[2:], taps)
    normalized = resize_and_normalize(score_map[None], sizes[2:], taps)
    if np.ptp(resized) > 1e-6:
        assert (normalized.min(), normalized.max()) == (0, 1)
        np.testing.assert_allclose(normalized, (resized - resized.min()) / np.ptp(resized), atol=1e-6)


@pytest.mark.parametrize("taps", FILTERS)
@pytest.mark.parametrize("absolute", [False, True])
def test_dividing_by_the_maximum(taps: Taps, absolute: bool) -> None:
    maps = np.random.default_rng(0).normal(size=(6, 9, 7)).astype(np.float32)
    maps[0] = -5 - np.abs(maps[0]) / 9  # so that no filter overshoots to a positive value
    maps[1] *= np.float32(1e30)
    maps[2], maps[3, 4, 4], maps[4, 0, 0] = 3, np.nan, np.inf
    large = resize(maps.astype(np.float64), (33, 20), taps)
    large = np.abs(large) if absolute else large
    found = resize_and_divide(maps, (33, 20), taps, absolute)
    empty = [2, 3, 4] if absolute else [0, 2, 3, 4]
    assert not found[empty].any()
    for i in {0, 1, 5}.difference(empty):
        np.testing.assert_allclose(found[i], large[i] / large[i].max(), rtol=1e-6, atol=1e-6)
        assert found[i].max() == 1
    large = resize(maps[5:], (33, 20), taps)[0]  # of order 1, so it needs no scale
    large = np.abs(large) if absolute else large
    np.testing.assert_array_equal(found[5], large / large.max())  # rounded, then divided


def test_huge_doubles_keep_their_shape() -> None:
    ramp = np.array([[[-1.7e308, -0.85e308, 0, 0.85e308, 1.7e308]]])
    assert resize_and_normalize(ramp, (1, 5), linear_taps)[0, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize("source", [(500, 375), (100, 300), (224, 224), (7, 5), (333, 1)])
def test_nearest_is_opencvs(source: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).random(source) < 0.5
    theirs = cv2.resize(mask.astype(np.float32), (224, 224), interpolation=cv2.INTER_NEAREST) > 0.5
    np.testing.assert_array_equal(nearest(mask, (224, 224)), theirs)
