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
from wsol.io.matlab import read_mat

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
    return struct.pack("<II", 15, len(zlib.compress(variable, 9))) + zlib.compress(variable, 9)


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


BROKEN = {
    "empty": (b"", "it has another format; save it with -v7"),
    "text": (b"file_list\n" * 100, "it has another format"),
    "version 7.3": (b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM", "it has version 7.3, which is HDF5; save it with"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" * 30, "it has version 7.3, which is HDF5"),
    "big-endian": (HEADER[:-4] + b"\1\0MI" + LABELS, "it has another format"),
    "header alone": (HEADER, "lacks the variables file_list, labels"),
    "half a tag": (HEADER + b"\x0e\0\0\0", "its end is missing"),
    "cut": (HEADER + LABELS[:-8], "its end is missing"),
    "longer than the file": (HEADER + element(14, b"", 2**32 - 8), "its end is missing"),
    "no array": (HEADER + element(9, bytes(8)), "it has an element of kind 9 in place of an array"),
    "no flags": (HEADER + element(14, element(9, bytes(8))), "the header of an array is damaged"),
    "one dimension": (HEADER + array(NUMBER, 1, name=b"labels", content=ONE), "the header of an array is damaged"),
    "nine dimensions": (HEADER + array(NUMBER, *[1] * 9, name=b"labels", content=ONE), "the header of an array is dam"),
    "a billion cells": (HEADER + array(CELL, 10**9, 1, name=b"file_list"), r"declares the shape \(1000000000, 1\)"),
    "a trillion cells": (HEADER + array(CELL, *[2**31 - 1] * 8, name=b"file_list"), "more than it has bytes"),
    "fewer than none": (HEADER + array(NUMBER, -1, -8, name=b"labels", content=ONE), r"declares the shape \(-1, -8\)"),
    "other shape": (HEADER + array(NUMBER, 2, 2, name=b"labels", content=ONE), "cannot reshape array of size 1"),
    "no values": (HEADER + array(NUMBER, 1, 1, name=b"labels"), "numbers have the unknown kind 0"),
    "unknown numbers": (HEADER + array(NUMBER, 1, 1, name=b"labels", content=element(99, b"1")), "unknown kind 99"),
    "half a number": (HEADER + array(NUMBER, 1, 1, name=b"labels", content=element(9, b"1")), "buffer size must be"),
    "a long text": (HEADER + array(CHAR, 1, 90, name=b"labels", content=ONE), "unknown kind 9|more than it has"),
    "a short text": (HEADER + array(CHAR, 1, 9, name=b"labels", content=element(16, b"a")), "9 characters has 1"),
    "no text": (HEADER + array(CHAR, 1, 1, name=b"labels", content=element(16, b"\xff")), "can't decode byte 0xff"),
    "half a character": (HEADER + array(CHAR, 1, 1, name=b"labels", content=element(4, b"a")), "truncated data"),
    "a name that is none": (HEADER + array(NUMBER, 1, 1, name=b"\xff", content=ONE), "can't decode byte 0xff"),
    "too few cells": (HEADER + array(CELL, 2, 1, name=b"file_list", content=NAME), "an array of 2 arrays has 1"),
    "cells of numbers": (HEADER + array(CELL, 1, 1, name=b"file_list", content=ONE), "kind 9 in place of an array"),
    "no fields": (HEADER + array(STRUCT, 1, 1, name=b"file_list"), "the fields of a structure are damaged"),
    "endless fields": (
        HEADER + array(STRUCT, 1, 1, name=b"x", content=element(5, struct.pack("<i", 0)) + element(1, b"a")),
        "the fields of a structure are damaged",
    ),
    "six deep": (HEADER + nested(6), "arrays are nested too deeply"),
    "100,000 deep": (HEADER + nested(100_000), "arrays are nested too deeply"),
    "packed deep": (HEADER + packed(nested(100_000)), "arrays are nested too deeply"),
    "sparse": (HEADER + array(SPARSE, 1, 1, name=b"labels"), "it has an array of class 5: complex, sparse, an object"),
    "object": (HEADER + array(OBJECT, 1, 1, name=b"labels"), "it has an array of class 3"),
    "function": (HEADER + array(FUNCTION, 1, 1, name=b"labels"), "it has an array of class 16"),
    "complex": (HEADER + array(NUMBER, 1, 1, name=b"labels", content=ONE + ONE, flags=8), "class 6: complex"),
    "not packed": (HEADER + element(15, b"xyz"), "incorrect header check"),
    "packed and cut": (HEADER + element(15, zlib.compress(LABELS)[:20]), "its end is missing"),
    "packed twice": (
        HEADER + packed(packed(LABELS)),
        "kind 15 in place of an array",
    ),
    "a bomb": (HEADER + bomb(200_000_000), "it unpacks to more than 64 MiB"),
    "two bombs": (HEADER + bomb(40_000_000) * 2, "it unpacks to more than 64 MiB|cannot reshape"),
    "huge": (HEADER + bytes(2**23), "has 8,388,736 bytes, too many for a list"),
}  # fmt: skip


def one_sentence(sentence: str, read: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        read()
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_one_sentence(tmp_path: Path, case: str) -> None:
    content, sentence = BROKEN[case]
    path = tmp_path / "train_list.mat"
    path.write_bytes(content)
    one_sentence(sentence, lambda: read_mat(path, ("file_list", "labels"), "lists"))
    one_sentence(sentence, lambda: load_dataset("stanford-dogs", tmp_path))


def test_the_parts_of_these_files_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(HEADER + FILES + packed(LABELS))
    read = read_mat(path, ("file_list", "labels"), "lists")
    assert (read["file_list"], read["labels"].tolist()) == (["a/b"], [[1]])


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
            read_mat(path, ("file_list", "labels"), "lists")
        except InputError as error:
            sentence = str(error)
        assert len(sentence.splitlines()) <= 1


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Path.mkdir, r"is not a readable MATLAB file \(it is a folder\); restore the file"),
        (os.mkfifo, r"is not a readable MATLAB file \(it is a pipe\)"),
        (lambda path: path.symlink_to("/dev/zero"), r"is not a readable MATLAB file \(it is a device\)"),
        (lambda path: path.symlink_to(path), r"is not a readable MATLAB file \(Too many levels of symbolic links\)"),
    ],
    ids=["folder", "pipe", "device", "loop"],
)
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], None], sentence: str) -> None:
    make(tmp_path / "train_list.mat")
    one_sentence(sentence, lambda: load_dataset("stanford-dogs", tmp_path))
