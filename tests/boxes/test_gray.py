"""Maps that become 8 bit in one call, against the same in single steps."""

import numpy as np

from wsol.boxes.gray import to_gray
from wsol.boxes.resize import cubic_taps, resize_and_normalize
from wsol.boxes.thresholds import to_uint8


def test_in_8_bit_at_once_is_in_8_bit_afterwards() -> None:
    rng = np.random.default_rng(4)
    for shape, size in (((13, 13), (224, 224)), ((7, 5), (60, 91)), ((1, 1), (9, 9)), ((40, 30), (20, 25))):
        maps = rng.normal(size=(9, *shape)).astype(np.float32)
        maps[1], maps[2, 0, 0], maps[3, -1, -1] = 3, np.nan, -np.inf
        maps[4] = maps[4].round()  # several highest pixels
        maps[5] *= np.float32(1e-42)
        maps[6] *= np.float32(1e37)
        maps[7] = np.maximum(maps[7], 0)
        prepared = resize_and_normalize(maps, size, cubic_taps)
        gray, peaks = to_gray(maps, size)
        np.testing.assert_array_equal(gray, to_uint8(prepared))
        assert peaks.tolist() == [each.argmax() if each.max() > 0 else -1 for each in prepared]
