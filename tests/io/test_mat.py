"""Files of MATLAB: values against scipy's writer and against bytes laid out by hand, and damage in one sentence."""

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from wsol.errors import InputError
from wsol.io import mat
from wsol.io.mat import MatFile


def records(*rows: tuple[int, str]) -> np.ndarray[Any, Any]:
    """Return a struct array with a number of a small type and a text."""
    array = np.zeros((1, len(rows)), dtype=[("class", object), ("fname", object)])
    for i, (number, text) in enumerate(rows):
        array[0, i] = (np.array([[number]], np.uint8 if number < 256 else np.float64), text)
    return array


def cells(*values: object) -> np.ndarray[Any, Any]:
    array = np.empty((len(values), 1), object)
    array[:, 0] = values
    return array


def saved(compress: bool = False, **variables: object) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=compress)
    return buffer.getvalue()


def read(tmp_path: Path, data: bytes) -> MatFile:
    (tmp_path / "lists.mat").write_bytes(data)
    return MatFile(tmp_path / "lists.mat", "the lists")


@pytest.mark.parametrize("compress", [False, True])
def test_scipys_files(tmp_path: Path, compress: bool) -> None:
    file = read(
        tmp_path,
        saved(
            compress,
            annotations=records((7, "00001.jpg"), (1000, "Café.jpg")),
            names=cells("AM General Hummer SUV 2000", "Acura RL Sedan 2012", ""),
            labels=np.array([[1, 2, 3], [4, 5, 6]], np.uint16),
            none=np.zeros((0, 0)),
        ),
    )
    assert file.records("annotations", ["class"], ["fname"]) == [([7.0], ["00001.jpg"]), ([1000.0], ["Café.jpg"])]
    assert file.texts("names") == ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", ""]
    assert file.numbers("labels").tolist() == [1, 4, 2, 5, 3, 6]  # column by column, as MATLAB counts
    assert file.texts("none") == []


def element(kind: int, body: bytes) -> bytes:
    """Lay out an element of a big-endian file."""
    return struct.pack(">II", kind, len(body)) + body + bytes(-len(body) % 8)


def array(kind: int, shape: tuple[int, ...], name: bytes, *parts: bytes, flags: int = 0) -> bytes:
    head = element(6, struct.pack(">II", kind | flags, 0)) + element(5, struct.pack(f">{len(shape)}i", *shape))
    return element(14, head + element(1, name) + b"".join(parts))


HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI"


def test_big_endian_file_by_hand(tmp_path: Path) -> None:
    small = struct.pack(">HHBxxx", 1, 2, 9)  # one number in the tag itself: length 1, type uint8
    doubles = element(9, struct.pack(">dd", 0.5, -3))
    text = element(17, "é1".encode("utf-16-be"))
    lists = array(1, (1, 1), b"list", array(4, (1, 2), b"", text))
    packed = zlib.compress(array(6, (2, 1), b"two", doubles))
    data = HEADER + array(6, (1, 1), b"one", small) + lists + struct.pack(">II", 15, len(packed)) + packed
    file = read(tmp_path, data)
    assert (file.numbers("one").tolist(), file.numbers("two").tolist(), file.texts("list")) == ([9], [0.5, -3], ["é1"])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no header of MATLAB 5 to 7"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM", "-v7"),
        (HEADER + b"\0\0\0", "it ends within an array"),
        (HEADER + struct.pack(">II", 14, 10**9), "declares 1000000000 bytes, but 0 are left"),
        (HEADER + array(1, (2**31 - 1, 2**31 - 1), b"x"), "cells, but only 0 bytes are left"),
        (HEADER + array(2, (2**30, 1), b"x", element(5, struct.pack(">i", 4)), element(1, b"abcd")), "cells"),
        (HEADER + array(6, (3, 1), b"x", element(2, b"12")), "declares 3 numbers, but has 2"),
        (HEADER + array(6, (-3, 1), b"x", element(2, b"12")), "the dimensions of 'x' are damaged"),
        (HEADER + struct.pack(">II", 15, 4) + b"abcd", "decompress"),
    ],
)
def test_damaged_files_give_one_sentence(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=r"lists\.mat is not a readable \.mat file with the lists") as error:
        read(tmp_path, data)
    assert reason in str(error.value)


def test_nested_cells_end_at_a_depth(tmp_path: Path) -> None:
    inner = array(6, (0, 0), b"", element(9, b""))
    for _ in range(20):
        inner = array(1, (1, 1), b"", inner)
    with pytest.raises(InputError, match="nested more than 16 deep"):
        read(tmp_path, HEADER + inner)


def test_unpacked_size_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mat, "_MAX_BYTES", 1 << 20)
    with pytest.raises(InputError, match="holds more than 1 MiB"):
        read(tmp_path, saved(True, x=np.zeros(1 << 20)))


def test_other_variables_do_not_disturb(tmp_path: Path) -> None:
    sparse = scipy.sparse.csc_matrix(np.eye(3))
    file = read(tmp_path, saved(sparse=sparse, imaginary=np.array([1j]), rows=np.array(["ab", "cd"]), names=cells("a")))
    assert file.texts("names") == ["a"]
    for name in ("sparse", "imaginary", "rows"):
        with pytest.raises(InputError, match=f"{name} should be an array of numbers \\(the lists\\)"):
            file.numbers(name)


def test_unexpected_values_are_named(tmp_path: Path) -> None:
    file = read(tmp_path, saved(annotations=records((7, "a.jpg"), (8, "b.jpg")), names=cells("a", np.ones((1, 1)))))
    with pytest.raises(InputError, match="has no variable 'labels' \\(the lists\\), but 'annotations', 'names'"):
        file.numbers("labels")
    with pytest.raises(InputError, match=r"names\(2\) should be a text"):
        file.texts("names")
    with pytest.raises(InputError, match=r"annotations\(1\)\.bbox_x1 should be a number"):
        file.records("annotations", ["class", "bbox_x1"])
    with pytest.raises(InputError, match=r"annotations\(1\)\.class should be a text"):
        file.records("annotations", texts=["class"])
    with pytest.raises(InputError, match="annotations should be an array of numbers"):
        file.numbers("annotations")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is missing: it should contain the lists"):
        MatFile(tmp_path / "lists.mat", "the lists")
    with pytest.raises(InputError, match="it is a folder"):
        MatFile(tmp_path, "the lists")


@pytest.mark.parametrize("compress", [False, True])
def test_mutated_files_are_read_or_refused(tmp_path: Path, compress: bool) -> None:
    data = saved(compress, annotations=records((7, "a.jpg")), names=cells("a", "b"))
    random = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data)
        at = int(random.integers(128, len(broken) - 4))
        broken[at : at + 4] = random.choice([b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\x0e\0\0\0", b"", b"\1\2\3\4"])
        with contextlib.suppress(InputError):
            file = read(tmp_path, bytes(broken))
            file.records("annotations", ["class"], ["fname"])
            file.texts("names")
