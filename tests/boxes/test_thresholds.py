import numpy as np
import pytest

from wsol.boxes.thresholds import (
    are_constant,
    highest_tau_below,
    highest_tau_reached,
    tau_grid,
    to_uint8,
    uint8_thresholds,
)


def test_truncates() -> None:
    scores = np.array([[[0, 1 / 4, 1 / 2, 1]]], np.float32)  # times 255: 0, 63.75, 127.5, 255
    assert to_uint8(scores).tolist() == [[[0, 63, 127, 255]]]


def test_constant_maps() -> None:
    maps = np.zeros((4, 2, 3, 3), np.float32)
    maps[1] = 7
    maps[2, 0] = 5  # another constant in each crop
    maps[3, 1, 2, 2] = 1e-45  # the smallest number of float32
    assert are_constant(maps).tolist() == [True, True, True, False]
    assert are_constant(maps[:, 1]).tolist() == [True, True, True, False]
    assert are_constant(np.full((1, 1, 1), -2.5)).all()  # a map of one pixel
    assert not are_constant(np.full((1, 2, 2), np.nan)).any()


def test_grids() -> None:
    assert len(tau_grid(0.001)) == 1000
    assert len(tau_grid(0.01)) == 100
    assert tau_grid(0.001)[0] == 0
    assert tau_grid(0.001)[-1] < 1


def test_thresholds_truncate() -> None:
    # 0.2 * 255 = 51, 0.999 * 255 = 254.7, 0.5 * 101 = 50.5
    assert uint8_thresholds(np.array([0, 0.2, 0.999]), np.array([255], np.uint8)).tolist() == [[0, 51, 254]]
    assert uint8_thresholds(np.array([0.5]), np.array([101, 0], np.uint8)).tolist() == [[50], [0]]


def test_maps_in_double_precision_are_truncated_in_it() -> None:
    almost = np.nextafter(0.2, 0)  # 255 times it is just below 51, in single precision it is 51
    assert to_uint8(np.array([[[almost]]])).item() == 50
    assert to_uint8(np.array([[[0.2]]], np.float32)).item() == 51


GRIDS = [
    tau_grid(0.001),
    np.arange(256) / 255,
    np.arange(30000) / 29999,
    np.insert(np.arange(256) / 255, 52, 0.2003),
    np.array([0.3]),
    np.array([0.1, 0.15, 0.8]),
    np.array([0.0, 1e-9, 1e-8, 1.0]),
]


@pytest.mark.parametrize("taus", GRIDS, ids=len)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_levels_are_the_masks_of_unrounded_values(taus: np.ndarray, dtype: type) -> None:
    rng = np.random.default_rng(1)
    on_the_grid = rng.choice(taus, 200)
    values = np.concatenate(
        [on_the_grid, np.nextafter(on_the_grid, 2), np.nextafter(on_the_grid, -1), [0, 1, -3, 7, -np.inf, np.inf]]
    )
    score_map = rng.permutation(values).astype(dtype)[:, None]
    above, reached = highest_tau_below(score_map, taus), highest_tau_reached(score_map, taus)
    doubles = score_map.astype(np.float64)
    np.testing.assert_array_equal(above, (taus < doubles).sum(1, keepdims=True) - 1)
    np.testing.assert_array_equal(reached, (taus <= doubles).sum(1, keepdims=True) - 1)
