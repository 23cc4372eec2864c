"""Arrays that grow on disk are the files that NumPy writes."""

import io
from pathlib import Path

import numpy as np
import pytest

from wsol.runs.array_writer import ArrayWriter


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.bool_])
def test_the_file_is_that_of_numpy(tmp_path: Path, dtype: type[np.generic]) -> None:
    values = np.random.default_rng(0).integers(0, 2, (12345, 3, 2)).astype(dtype)
    with ArrayWriter(tmp_path / "a.npy") as writer:
        for start in range(0, 12345, 5000):
            writer.append(values[start : start + 5000])
        assert not (tmp_path / "a.npy").exists()
    expected = io.BytesIO()
    np.save(expected, values)
    assert (tmp_path / "a.npy").read_bytes() == expected.getvalue()


def test_what_is_discarded_or_never_written_leaves_nothing(tmp_path: Path) -> None:
    with ArrayWriter(tmp_path / "a.npy"), ArrayWriter(tmp_path / "b.npy") as writer:
        writer.append(np.zeros(3))
        writer.discard()
    assert [*tmp_path.iterdir()] == []
