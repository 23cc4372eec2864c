"""MATLAB files that are damaged, endless or nested without end: one sentence each, where scipy's reader may crash."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from wsol.datasets import load_dataset
from wsol.errors import InputError
from wsol.io.mat import MatFile

pytestmark = pytest.mark.slow

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
NUMBER, CELL, STRUCT, CHAR, SPARSE, OBJECT, FUNCTION = 6, 1, 2, 4, 5, 3, 16


def element(kind: int, payload: bytes, length: int | None = None) -> bytes:
    return struct.pack("<II", kind, len(payload) if length is None else length) + payload + b"\0" * (-len(payload) % 8)


def head(array_class: int, *dims: int, name: bytes = b"", flags: int = 0) -> bytes:
    shape = struct.pack(f"<{len(dims)}i", *dims)
    return element(6, struct.pack("<II", array_class | flags << 8, 0)) + element(5, shape) + element(1, name)


def array(array_class: int, *dims: int, name: bytes = b"", content: bytes = b"", flags: int = 0) -> bytes:
    return element(14, head(array_class, *dims, name=name, flags=flags) + content)


def packed(variable: bytes) -> bytes:
    compressed = zlib.compress(variable)
    return struct.pack("<II", 15, len(compressed)) + compressed


ONE = element(9, struct.pack("<d", 1))
LABELS = array(NUMBER, 1, 1, name=b"labels", content=ONE)
NAME = array(CHAR, 1, 3, content=element(4, "a/b".encode("utf-16-le")))
FILES = array(CELL, 1, 1, name=b"file_list", content=NAME)


def nested(levels: int) -> bytes:
    """Cells within cells; built from the inside in one pass, as the lengths are known."""
    inner = array(NUMBER, 1, 1, content=ONE)
    size, heads = len(inner), []
    for i in range(levels):
        start = head(CELL, 1, 1, name=b"file_list" if i == levels - 1 else b"")
        heads.append(struct.pack("<II", 14, size + len(start)) + start)
        size += len(heads[-1])
    return b"".join(reversed(heads)) + inner


def bomb(size: int) -> bytes:
    content = array(NUMBER, 1, 1, name=b"labels", content=element(9, bytes(size)))
    return packed(content)


BROKEN: dict[str, bytes | Callable[[], bytes]] = {  # what takes long to make is a function
    "empty": b"",
    "text": b"file_list\n" * 100,
    "version 7.3": b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM",
    "HDF5": b"\x89HDF\r\n\x1a\n" * 30,
    "big-endian": HEADER[:-4] + b"\1\0MI" + LABELS,
    "header alone": HEADER,
    "half a tag": HEADER + b"\x0e\0\0\0",
    "cut": HEADER + LABELS[:-8],
    "longer than the file": HEADER + element(14, b"", 2**32 - 8),
    "no array": HEADER + element(9, bytes(8)),
    "no flags": HEADER + element(14, element(9, bytes(8))),
    "one dimension": HEADER + array(NUMBER, 1, name=b"labels", content=ONE),
    "nine dimensions": HEADER + array(NUMBER, *[1] * 9, name=b"labels", content=ONE),
    "a billion cells": HEADER + array(CELL, 10**9, 1, name=b"file_list"),
    "a trillion cells": HEADER + array(CELL, *[2**31 - 1] * 8, name=b"file_list"),
    "fewer than none": HEADER + array(NUMBER, -1, -8, name=b"labels", content=ONE),
    "other shape": HEADER + array(NUMBER, 2, 2, name=b"labels", content=ONE),
    "no values": HEADER + array(NUMBER, 1, 1, name=b"labels"),
    "unknown numbers": HEADER + array(NUMBER, 1, 1, name=b"labels", content=element(99, b"1")),
    "half a number": HEADER + array(NUMBER, 1, 1, name=b"labels", content=element(9, b"1")),
    "a long text": HEADER + array(CHAR, 1, 90, name=b"labels", content=ONE),
    "a short text": HEADER + array(CHAR, 1, 9, name=b"labels", content=element(16, b"a")),
    "no text": HEADER + array(CHAR, 1, 1, name=b"labels", content=element(16, b"\xff")),
    "half a character": HEADER + array(CHAR, 1, 1, name=b"labels", content=element(4, b"a")),
    "a name that is none": HEADER + array(NUMBER, 1, 1, name=b"\xff", content=ONE),
    "too few cells": HEADER + array(CELL, 2, 1, name=b"file_list", content=NAME),
    "cells of numbers": HEADER + array(CELL, 1, 1, name=b"file_list", content=ONE),
    "no fields": HEADER + array(STRUCT, 1, 1, name=b"file_list"),
    "endless fields": HEADER
    + array(STRUCT, 1, 1, name=b"x", content=element(5, struct.pack("<i", 0)) + element(1, b"a")),
    "six deep": HEADER + nested(6),
    "100,000 deep": lambda: HEADER + nested(100_000),
    "packed deep": lambda: HEADER + packed(nested(100_000)),
    "sparse": HEADER + array(SPARSE, 1, 1, name=b"labels"),
    "object": HEADER + array(OBJECT, 1, 1, name=b"labels"),
    "function": HEADER + array(FUNCTION, 1, 1, name=b"labels"),
    "complex": HEADER + array(NUMBER, 1, 1, name=b"labels", content=ONE + ONE, flags=8),
    "not packed": HEADER + element(15, b"xyz"),
    "packed and cut": HEADER + element(15, zlib.compress(LABELS)[:20]),
    "packed twice": HEADER + packed(packed(LABELS)),
    "a bomb": lambda: HEADER + bomb(200_000_000),
    "two bombs": lambda: HEADER + bomb(40_000_000) * 2,
    "huge": lambda: HEADER + bytes(2**23),
}


def one_sentence(sentence: str, read: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        read()
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_one_sentence(tmp_path: Path, case: str) -> None:
    broken = BROKEN[case]
    content = broken if isinstance(broken, bytes) else broken()
    for name in ("train_list.mat", "test_list.mat"):
        (tmp_path / name).write_bytes(content)
    one_sentence(r"_list\.mat", lambda: load_dataset("stanford-dogs", tmp_path))


def test_the_parts_of_these_files_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(HEADER + FILES + packed(LABELS))
    read = MatFile(path, "lists")
    assert (read.texts("file_list"), read.numbers("labels").tolist()) == (["a/b"], [1])


@pytest.mark.parametrize("compressed", [False, True])
def test_every_cut_and_every_changed_byte(tmp_path: Path, compressed: bool) -> None:
    """Each is read, or one sentence."""
    path = tmp_path / "a.mat"
    savemat(path, {"file_list": np.array([["n1-A/a.jpg", "n1-A/b.jpg"]], object), "labels": [[1.0, 2.0]]},
            do_compression=compressed)  # fmt: skip
    content = path.read_bytes()
    damaged = [content[:i] for i in range(len(content))]
    damaged += [content[:i] + bytes([value]) + content[i + 1 :] for i in range(len(content)) for value in (0, 14, 255)]
    for each in damaged:
        path.write_bytes(each)
        sentence = ""
        try:
            read = MatFile(path, "lists")
            read.texts("file_list")
            read.numbers("labels")
        except InputError as error:
            sentence = str(error)
        assert len(sentence.splitlines()) <= 1


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Path.mkdir, r"\(it is a folder\); restore it from the archive"),
        (os.mkfifo, r"\(it is a pipe\)"),
        (lambda path: path.symlink_to("/dev/zero"), r"\(it is a device\)"),
        (lambda path: path.symlink_to(path), r"\(Too many levels of symbolic links\)"),
    ],
    ids=["folder", "pipe", "device", "loop"],
)
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], None], sentence: str) -> None:
    make(tmp_path / "train_list.mat")
    one_sentence(sentence, lambda: load_dataset("stanford-dogs", tmp_path))
