"""Finished batches: what is read is what was written, and a run goes on from any of them."""

from pathlib import Path

import numpy as np
import pytest

from wsol.errors import InputError
from wsol.runs.batches import BatchStore, StoredBatch, open_or_resume
from wsol.runs.thumbnails import thumbnail_path

REQUEST = {"request": "d|m|cam|p|tau:0.2|wsol:1"}


@pytest.mark.parametrize("shown", [[4, 1, 0], slice(None, None, 2)])
def test_arrays_of_any_layout(tmp_path: Path, shown: object) -> None:
    """Indexing keeps the indexed axis outermost in memory; transposing and slicing change the strides."""
    values = np.arange(3 * 5 * 4, dtype=np.uint16).reshape(3, 5, 4)
    arrays = {
        "indexed": values[:, shown],
        "transposed": values.transpose(2, 0, 1),
        "fortran": np.asfortranarray(values),
        "repeated": np.broadcast_to(values[:1], values.shape),
        "one": np.float64(7)[None][:, None],
    }
    assert not arrays["indexed"].flags.c_contiguous
    open_or_resume(tmp_path, {"run": 1}, REQUEST, False)
    store = BatchStore(tmp_path, "run", 1)
    store.write(0, StoredBatch(arrays, {"passes": 3}))
    read = store.read(0)
    assert read.facts == {"passes": 3}
    assert {name: array.tolist() for name, array in read.arrays.items()} == {
        name: array.tolist() for name, array in arrays.items()
    }


@pytest.mark.parametrize("kept", [range(4), (0, 2, 3)])
@pytest.mark.parametrize("split", ["run", "val"])
def test_a_batch_that_is_damaged_after_the_thumbnails_were_taken(
    tmp_path: Path, split: str, kept: tuple[int, ...]
) -> None:
    folder = tmp_path if split == "run" else tmp_path / split
    store, jpegs = BatchStore(tmp_path, split, 2), [b"%d" % i for i in range(4)]

    def write(number: int) -> None:
        store.write(number, StoredBatch({}, {}), {i: jpegs[i] for i in (2 * number, 2 * number + 1)})

    def take() -> list[bytes]:
        store.take_thumbnails(folder, kept)
        return [(folder / thumbnail_path(i)).read_bytes() for i in range(len(kept))]

    folder.mkdir(exist_ok=True)
    open_or_resume(tmp_path, {split: 2}, REQUEST, False)
    write(0)
    write(1)
    assert take() == [jpegs[i] for i in kept]
    damaged = tmp_path / "batches" / split / "000001.safetensors"
    damaged.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"000001\.safetensors is damaged"):
        store.read(1)
    damaged.unlink()
    open_or_resume(tmp_path, {split: 2}, REQUEST, True)
    assert store.missing() == [1]
    write(1)
    assert take() == [jpegs[i] for i in kept]


def test_thumbnails_of_an_earlier_run_are_not_taken_for_those_of_a_new_one(tmp_path: Path) -> None:
    store = BatchStore(tmp_path, "run", 1)
    (tmp_path / "thumbnails/000").mkdir(parents=True)
    (tmp_path / thumbnail_path(1)).write_bytes(b"old")
    for resume in (False, True):  # the second after an interruption
        open_or_resume(tmp_path, {"run": 1}, REQUEST, resume)
    store.write(0, StoredBatch({}, {}), {0: b"new"})
    store.take_thumbnails(tmp_path, [0])
    assert [path.name for path in (tmp_path / "thumbnails/000").iterdir()] == ["000000.jpg"]
