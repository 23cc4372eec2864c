"""The four normalizations, against maps worked out by hand, their definitions in NumPy, and their properties."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsol.boxes.normalization import NORMS, normalize_maps, upsample_and_normalize
from wsol.boxes.resize import cubic_taps, linear_taps, resize_and_normalize

seeds = st.integers(0, 2**32 - 1)


def by_definition(x: np.ndarray, norm: str, percentile: float) -> np.ndarray:
    """Normalize a map that is not constant as Kim et al. define it, in double precision."""
    x = x.astype(np.float64)
    ascending = np.sort(x.ravel())
    at_percentile = ascending[min(int(percentile * x.size), x.size - 1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        if norm == "minmax":
            result = (x - x.min()) / (x.max() - x.min())
        elif norm == "max":
            result = np.maximum(0, x) / x.max() if x.max() > 0 else np.zeros_like(x)
        elif norm == "pas":
            result = np.minimum(1, (x - x.min()) / (at_percentile - x.min()))
        else:
            result = np.maximum(0, x - at_percentile) / (x.max() - at_percentile)
    return np.nan_to_num(result)  # 0 / 0, which an 8-bit image stores as 0


# Ten pixels in no order. Sorted: -2, -1, 0, 1, 2, 3, 4, 5, 6, 8. The rank of 0.9 is 9, that of 0.8 is 8 (6), that of
# 0.45 is 4 (2), and that of 0.6 is 6 (4).
TEN = np.array([[3, -2, 8, 1, 5], [0, 6, -1, 4, 2]], np.float32)
BY_HAND: list[tuple[Any, float | None, list[list[float]]]] = [
    ("minmax", None, [[0.5, 0, 1, 0.3, 0.7], [0.2, 0.8, 0.1, 0.6, 0.4]]),
    ("max", None, [[0.375, 0, 1, 0.125, 0.625], [0, 0.75, 0, 0.5, 0.25]]),
    ("pas", None, [[0.5, 0, 1, 0.3, 0.7], [0.2, 0.8, 0.1, 0.6, 0.4]]),  # of ten pixels the rank is the last
    ("pas", 0.8, [[0.625, 0, 1, 0.375, 0.875], [0.25, 1, 0.125, 0.75, 0.5]]),
    ("ivr", None, [[1 / 6, 0, 1, 0, 0.5], [0, 2 / 3, 0, 1 / 3, 0]]),
    ("ivr", 0.6, [[0, 0, 1, 0, 0.25], [0, 0.5, 0, 0, 0]]),
]


@pytest.mark.parametrize(("norm", "percentile", "expected"), BY_HAND)
def test_ten_pixels_by_hand(norm: Any, percentile: float | None, expected: list[list[float]]) -> None:
    found = normalize_maps(TEN[None], norm, percentile)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], np.array(expected, np.float32))
    same_size = upsample_and_normalize(TEN[None], TEN.shape, cubic_taps, norm, percentile)
    np.testing.assert_array_equal(same_size, found)


def test_of_twenty_pixels_the_two_highest_are_clipped() -> None:
    ramp = np.arange(20, dtype=np.float32).reshape(1, 4, 5)
    assert normalize_maps(ramp, "pas")[0].ravel().tolist() == [
        *(np.arange(18, dtype=np.float32) / np.float32(18)).tolist(), 1, 1
    ]  # fmt: skip


def test_steps_where_a_denominator_is_zero() -> None:
    sparse = np.zeros((1, 4, 5), np.float32)
    sparse[0, 1, 2] = 7
    step = (sparse / 7).astype(np.float32)
    for norm in NORMS:  # for pas the value of rank 18 is the lowest one
        np.testing.assert_array_equal(normalize_maps(sparse, norm), step)
    np.testing.assert_array_equal(normalize_maps(7 - sparse, "ivr", 0.45), np.zeros((1, 4, 5)))  # that of rank 9 is 7
    assert not normalize_maps(sparse - 7, "max").any()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_maps_and_those_that_are_not_finite_become_zeros(norm: Any, dtype: Any) -> None:
    maps = np.random.default_rng(0).random((7, 9, 8)).astype(dtype)
    for i, value in enumerate((5, -3, 0, np.nan)):
        maps[i] = value
    maps[4, 2, 3], maps[5, 0, 0] = np.nan, -np.inf
    for found in (normalize_maps(maps, norm), upsample_and_normalize(maps, (30, 41), cubic_taps, norm)):
        assert not found[:6].any()
        assert found[6].max() == 1


@settings(max_examples=100, deadline=None)
@given(seeds, st.sampled_from(NORMS), st.floats(0, 1), st.tuples(*[st.integers(2, 40)] * 2), st.booleans())
def test_a_map_is_normalized_by_definition(
    seed: int, norm: Any, percentile: float, shape: tuple[int, int], has_ties: bool
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape) ** rng.integers(1, 6)
    if has_ties:
        x = np.maximum(np.round(2 * x), 0)
    if np.ptp(x) == 0:
        return
    found = normalize_maps(x[None], norm, percentile)[0]
    np.testing.assert_allclose(found, by_definition(x, norm, percentile), atol=1e-7)
    assert 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize("kind", ["noise", "smooth", "many zeros", "steps", "sorted", "one pixel", "sample misses"])
def test_percentiles_of_large_maps(kind: str) -> None:
    """Ranks are found from a sample of the pixels first, which may be no good one."""
    rng = np.random.default_rng(6)
    noise = rng.normal(size=(90, 110))
    maps = {
        "noise": noise**3,
        "smooth": np.add.outer(np.sin(np.arange(90) / 20), np.cos(np.arange(110) / 30)),
        "many zeros": np.maximum(noise - 1, 0),
        "steps": np.round(noise),
        "sorted": np.sort(noise.ravel()).reshape(noise.shape),
        "one pixel": np.eye(1, 9900, 5).reshape(noise.shape),
        "sample misses": np.where(np.arange(9900) % (9900 // 512) == 0, 50, noise.ravel()).reshape(noise.shape),
    }
    x = maps[kind]
    for norm, percentile in (("pas", 0.9), ("pas", 0.02), ("ivr", 0.45), ("ivr", 0.99), ("ivr", 0.001)):
        found = normalize_maps(x[None], norm, percentile)[0]
        np.testing.assert_allclose(found, by_definition(x, norm, percentile), atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(seeds, st.sampled_from(NORMS), st.floats(0, 0.95))
def test_scale_does_not_matter_and_order_is_kept(seed: int, norm: Any, percentile: float) -> None:
    x = np.random.default_rng(seed).normal(size=(1, 17, 13))
    found = normalize_maps(x, norm, percentile)
    assert (found.min(), found.max()) == (0, 1)
    np.testing.assert_allclose(normalize_maps(x * 37.5, norm, percentile), found, atol=1e-7)
    np.testing.assert_array_equal(normalize_maps(x * 2.0**-900, norm, percentile), found)
    shifted = normalize_maps(x + 3.25, norm, percentile)
    if norm == "max":
        assert np.abs(shifted - found).max() > 0.1
    else:
        np.testing.assert_allclose(shifted, found, atol=1e-6)
    assert (np.diff(found.ravel()[np.argsort(x.ravel())]) >= 0).all()


@settings(max_examples=50, deadline=None)
@given(seeds, st.integers(0, 100), st.integers(2, 60), st.integers(2, 60))
def test_percentiles_clip_their_share_of_the_pixels(seed: int, percent: int, height: int, width: int) -> None:
    x = np.random.default_rng(seed).permutation(height * width).reshape(1, height, width).astype(np.float64)
    n, rank = x.size, min(int(percent / 100 * x.size), x.size - 1)
    ivr, pas = (normalize_maps(x, norm, percent / 100) for norm in ("ivr", "pas"))
    assert np.count_nonzero(ivr == 0) == (n if rank == n - 1 else rank + 1)
    assert np.count_nonzero(pas == 1) == (n - 1 if rank == 0 else n - rank)


@pytest.mark.parametrize("taps", [cubic_taps, linear_taps])
def test_the_extreme_percentiles_are_min_max_bit_for_bit(taps: Any) -> None:
    maps = np.random.default_rng(1).normal(size=(5, 14, 13)).astype(np.float32)
    maps[1] = 1000 + 0.01 * maps[1]
    maps[2] *= np.float32(1e37)
    maps[3] = np.maximum(maps[3], 0)
    expected = resize_and_normalize(maps, (60, 91), taps)
    for norm, percentile in (("minmax", None), ("ivr", 0), ("pas", 1)):
        np.testing.assert_array_equal(upsample_and_normalize(maps, (60, 91), taps, norm, percentile), expected)
    assert (expected.min((1, 2)) == 0).all()
    assert (expected.max((1, 2)) == 1).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_map_is_upsampled_first(norm: Any) -> None:
    """Normalizing first would clip other pixels; the filter overshoots between them."""
    torch = pytest.importorskip("torch")
    raw = np.random.default_rng(2).normal(size=(13, 13))
    large = torch.nn.functional.interpolate(torch.from_numpy(raw)[None, None], (224, 224), mode="bicubic")[0, 0].numpy()
    found = upsample_and_normalize(raw[None], (224, 224), cubic_taps, norm, 0.6)[0]
    np.testing.assert_allclose(found, by_definition(large, norm, 0.6), atol=1e-6)


def test_a_small_signal_on_a_large_constant_keeps_its_shape() -> None:
    signal = np.random.default_rng(3).integers(0, 1000, (14, 14)) / 1024
    for norm in ("pas", "ivr"):
        expected = upsample_and_normalize(signal[None], (50, 60), cubic_taps, norm)
        far = upsample_and_normalize(signal[None] + 2.0**40, (50, 60), cubic_taps, norm)
        np.testing.assert_array_equal(far, expected)
