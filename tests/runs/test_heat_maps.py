"""Small maps for display, against averages by hand and by NumPy."""

import numpy as np
import pytest

from wsol.runs.heat_maps import HeatMaps, _average_tiles, shrink_maps


def test_tiles_by_hand() -> None:
    """Averages of tiles of 1 and 2 columns, 1, 3 and 5 less 1, are 0, 2 and 4; one row is repeated."""
    assert shrink_maps(np.array([[[1.0, 3, 3, 4, 6]]]), 3).tolist() == [[[0, 128, 255]] * 3]
    assert shrink_maps(np.array([[[1.0], [3], [5]]]), 3).tolist() == [[[0] * 3, [128] * 3, [255] * 3]]


@pytest.mark.parametrize("shape", [(28, 28), (29, 57), (14, 300), (700, 5), (400, 113)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_the_average_of_numpy(shape: tuple[int, int], dtype: type) -> None:
    """The same bits as with ``numpy.add.reduceat``, also in masks, whose averages are often halfway between numbers."""
    rng = np.random.default_rng(0)
    for maps in (255 * rng.random((2, *shape)), 255.0 * (rng.random((2, *shape)) > 0.5)):
        expected = (maps := maps.astype(dtype)) - maps.min((1, 2), keepdims=True)
        for axis, length in ((1, shape[0]), (2, shape[1])):
            starts = np.arange(28) * length // 28
            sizes = np.expand_dims(np.diff(starts, append=length), 2 - axis)
            expected = expected.astype(np.float64)
            repeated = expected.take(starts, axis)
            expected = repeated if length < 28 else np.add.reduceat(expected, starts, axis) / sizes
        peaks = expected.max((1, 2), keepdims=True)
        np.testing.assert_array_equal(shrink_maps(maps, 28), np.rint(255 * expected / peaks))


@pytest.mark.parametrize("length", [28, 30, 255, 300, 1000])
def test_sums_are_made_in_the_order_of_numpy(length: int) -> None:
    values = np.random.default_rng(0).random((length, 5))
    starts = np.arange(29) * length // 28
    means = np.empty((28, 5))
    _average_tiles(values, starts, means)
    sums = np.add.reduceat(values[None], starts[:-1], 1)[0]
    np.testing.assert_array_equal(means, sums / np.diff(starts)[:, None])


def test_a_constant_map_is_zero_and_large_ones_are_thinned() -> None:
    assert not shrink_maps(np.full((1, 9, 9), 7, np.float32), 28).any()
    score_map = np.random.default_rng(1).random((500, 240)).astype(np.float32)
    heat_maps = HeatMaps(2)
    heat_maps.keep(1, score_map)
    np.testing.assert_array_equal(heat_maps.array[1], shrink_maps(score_map[None, ::2, ::2], 28)[0])
    assert not heat_maps.array[0].any()
