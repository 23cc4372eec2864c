"""Files inside zip archives: the content, and archives that are broken or written to do harm."""

import io
import os
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from wsol.errors import InputError
from wsol.io.paths import check_file, find_by_stem, is_folder, open_file
from wsol.io.text import read_lines

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def pack(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def patch(path: Path, offset: int, field: bytes) -> None:
    """Overwrite a field of the first entry of the directory at the end of an archive."""
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\x01\x02") + offset
    content[start : start + len(field)] = field
    path.write_bytes(content)


def read(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read()


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_threads_and_processes_read_at_the_same_time(tmp_path: Path, method: int) -> None:
    rng = np.random.default_rng(0)
    contents = {f"a/{i}/{i}.bin": rng.integers(0, 9, rng.integers(0, 5000)).astype("u1").tobytes() for i in range(60)}
    archive = pack(tmp_path / "x.ZIP", *contents.items(), method=method)
    paths = [archive / name for name in contents]
    with ThreadPoolExecutor(4) as threads, get_context("fork").Pool(2) as processes:
        later = processes.map_async(read, paths)
        assert list(threads.map(read, paths)) == list(contents.values())
        assert later.get() == list(contents.values())
    assert [check_file(path) for path in paths] == [len(content) for content in contents.values()]


def test_folders_that_the_archive_does_not_list(tmp_path: Path) -> None:
    archive = pack(
        tmp_path / "x.zip", ("a/b/1.JPG", b"1"), ("a/2.png", b"2"), ("a/.hidden/3.png", b""), ("empty/", b"")
    )
    found = find_by_stem(archive / "a", (".jpg", ".png"), 1)
    assert found == {"1": [f"{archive}/a/b/1.JPG"], "2": [f"{archive}/a/2.png"]}
    assert find_by_stem(archive / "a", (".jpg", ".png"), 0) == {"2": [f"{archive}/a/2.png"]}
    assert find_by_stem(archive, (".png",), 1) == {"2": [f"{archive}/a/2.png"]}
    assert find_by_stem(archive / "b", (".png",), 1) == {}
    assert [is_folder(archive / name) for name in ("a", "a/b", "empty", "a/2.png", "b")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(OSError, match="it is a folder"):
        check_file(archive / "a")
    with pytest.raises(FileNotFoundError):
        check_file(archive / "a" / "4.png")
    with pytest.raises(InputError, match=r"x\.zip/a/list\.txt is missing: it should contain names"):
        read_lines(archive / "a" / "list.txt", "names")


def test_a_folder_named_like_an_archive_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "x.zip" / "b.zipper"
    folder.mkdir(parents=True)
    (folder / "1.txt").write_text("one\r\ntwo")
    assert read(folder / "1.txt") == b"one\r\ntwo"
    pack(folder / "y.zip", ("1.txt", b"\xef\xbb\xbfone\r\ntwo"))
    assert read_lines(folder / "y.zip" / "1.txt", "words") == ["one", "two"]
    assert check_file(folder / "y.zip") == (folder / "y.zip").stat().st_size


def test_a_replaced_archive_is_read_anew(tmp_path: Path) -> None:
    archive = pack(tmp_path / "x.zip", ("1.txt", b"before"))
    assert read(archive / "1.txt") == b"before"
    pack(archive, ("0.txt", b"zero"), ("1.txt", b"after it"))
    assert read(archive / "1.txt") == b"after it"


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("a/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "climbs": (lambda path: pack(path, ("a/../../evil", b"")), r"'a/\.\./\.\./evil' has a name that is absolute or "),
    "absolute": (lambda path: pack(path, ("/etc/passwd", b"")), "'/etc/passwd' has a name that is absolute or"),
    "link": (lambda path: pack(path, (link(), b"/etc")), "'a/link' is a link or a device; pack the folder again, or"),
    "bzip2": (
        lambda path: pack(path, ("a", b"1"), method=zipfile.ZIP_BZIP2),
        "'a' is encrypted, or neither stored nor",
    ),
    "encrypted": (lambda path: patch(pack(path, ("a", b"1")), 8, b"\x01"), "'a' is encrypted, or neither stored nor"),
    "deep": (lambda path: pack(path, ("a/" * 50 + "b", b"")), "is below more than 32 folders"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-9]), r"x\.zip is no intact zip archive \(.+\); get"),
    "no archive": (lambda path: path.write_bytes(b"text"), r"x\.zip is no intact zip archive \(.+\); get it again"),
    "empty": (lambda path: path.write_bytes(b""), r"x\.zip is no intact zip archive \(.+\); get it again"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_archives_that_are_refused(tmp_path: Path, case: str) -> None:
    path = pack(tmp_path / "x.zip", ("1.txt", b"1"))
    spoil, message = REFUSED[case]
    spoil(path)
    for call in (check_file, open_file, is_folder, lambda where: find_by_stem(where.parent, (".txt",), 0)):
        with pytest.raises(InputError, match=message) as caught:
            call(path / "1.txt")
        assert "\n" not in str(caught.value)


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = pack(tmp_path / "x.zip", ("a/1.txt", b"1"), ("a/1.txt", b"2"))
    with pytest.raises(InputError, match=r"'a/1\.txt' is there twice"):
        check_file(path / "a" / "1.txt")


@pytest.mark.parametrize(
    "names", [("a", "a/1.txt"), ("a", "a/b/1.txt"), ("a", "a/"), ("a/b/1.txt", "a/b"), ("a/", "a")]
)
def test_no_member_is_both_a_file_and_a_folder(tmp_path: Path, names: tuple[str, str]) -> None:
    path = pack(tmp_path / "x.zip", *((name, b"") for name in names))
    with pytest.raises(InputError, match=rf"the member '{names[1]}' is (there twice|in 'a', which is a file there)"):
        check_file(path / "1.txt")


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_damage_inside_a_member_is_found(tmp_path: Path, method: int) -> None:
    content = np.random.default_rng(0).integers(0, 50, 4000).astype("u1").tobytes()
    path = pack(tmp_path / "x.zip", ("1.bin", content), method=method)
    whole = path.read_bytes()
    for place in range(0, path.stat().st_size - 100, 97):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        os.utime(path, ns=(0, place))  # so that a coarse clock does not hide the change
        try:
            found: bytes | str = read(path / "1.bin")
        except OSError as error:
            found = error.strerror
        assert found == content or str(found).startswith("the archive is damaged: ")  # most of a header is not needed


def test_members_that_would_fill_the_memory(tmp_path: Path) -> None:
    bomb = pack(tmp_path / "x.zip", ("1.txt", bytes(20_000_000)), method=DEFLATED)
    assert bomb.stat().st_size < 30_000
    patch(bomb, 24, struct.pack("<I", 1000))  # the size that the list gives
    tracemalloc.start()
    with pytest.raises(OSError, match="does not have the listed size and CRC-32"):
        open_file(bomb / "1.txt")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    patch(bomb, 24, struct.pack("<I", 2**31))
    with pytest.raises(OSError, match="it has 2,147,483,648 bytes, too many for a file in an archive"):
        open_file(bomb / "1.txt")
    with pytest.raises(InputError, match=r"1\.txt cannot be read \(it has 2,147,483,648 bytes"):
        read_lines(bomb / "1.txt", "words")


def test_an_archive_behind_other_bytes(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("1.txt", b"one")
    path = tmp_path / "x.zip"
    path.write_bytes(b"#!/bin/sh\n" + file.getvalue())  # as self-extracting archives are
    assert read(path / "1.txt") == b"one"
