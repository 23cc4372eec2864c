"""Score maps that are broken, enormous, or something else: one sentence each, and nothing in them is run."""

import io
import os
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import IDS, PROTOCOL, SIDE, images, lists, refusal

import wsol
from wsol.errors import InputError
from wsol.evaluation.sources.maps import score_maps
from wsol.io import arrays
from wsol.protocols import find_protocol
from wsol.runtime.cost import Clock
from wsol.score import main

pytestmark = pytest.mark.slow

MAP = np.random.default_rng(0).random((SIDE, SIDE), np.float32)


def npy(header: str | bytes, data: bytes = b"", version: bytes = b"\x01\x00", length: int | None = None) -> bytes:
    """A .npy file with any header."""
    text = header.encode() if isinstance(header, str) else header
    width = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + version + struct.pack(width, len(text) if length is None else length) + text + data


def header(descr: str = "'<f4'", shape: str = f"({SIDE}, {SIDE})", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def npy_bytes(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harm"),))


def map_folder(tmp_path: Path, content: bytes | None = None) -> Path:
    folder = tmp_path / "maps"
    folder.mkdir()
    for name in IDS:
        np.save(folder / f"{Path(name).stem}.npy", MAP)
    if content is not None:
        (folder / "a.npy").write_bytes(content)
    return folder


def map_archive(
    tmp_path: Path, change: Callable[[zipfile.ZipFile], None], left_out: str = "a", packing: int = zipfile.ZIP_STORED
) -> Path:
    path = tmp_path / "maps.npz"
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name in IDS:
            if Path(name).stem != left_out:
                archive.writestr(f"{Path(name).stem}.npy", npy_bytes(MAP))
        change(archive)
    return path


def error_sentence(maps: Path, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        wsol.score(maps=maps, dataset=images(), protocol=PROTOCOL, **more)
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 1000
    return sentence


ROOM = SIDE * SIDE * 4
NOT_PLAIN = "its header is not that of an array of plain numbers"
FILES = {
    "pickle": (pickle.dumps(Harmful()), "it is not a .npy file"),
    "objects": (npy_bytes(np.array([Harmful()], object)), NOT_PLAIN),
    "structure": (npy_bytes(np.zeros(4, "f4,i4")), NOT_PLAIN),
    "terabytes": (
        npy(header(shape="(1000000, 1000000)")),
        "its header declares 4000000000000 bytes of data, but it has 0",
    ),
    "more than numbers count": (npy(header(shape="(999999999999999999, 9)")), "bytes of data, but it has 0"),
    "digits": (npy(header(shape=f"({'9' * 5000},)")), NOT_PLAIN),
    "no size": (npy(header(shape="(0, 999999999999999999)")), r"has the shape \(0, 999999999999999999\)"),
    "version": (npy(header(), bytes(ROOM), b"\x09\x00"), "it is not a .npy file"),
    "cut": (npy_bytes(MAP)[:-1], f"its header declares {ROOM} bytes of data, but it has {ROOM - 1}"),
    "cut header": (npy_bytes(MAP)[:40], NOT_PLAIN),
    "empty": (b"", "it is not a .npy file"),
    "text": (b"0.1 0.2\n0.3 0.4\n", "it is not a .npy file"),
    "list": (npy("[1, 2]\n"), NOT_PLAIN),
    "code": (npy("__import__('os').system('touch harm')\n"), NOT_PLAIN),
    "code within": (npy(header(shape="(__import__('os').getpid(),)")), NOT_PLAIN),
    "nested": (npy("(" * 9000), NOT_PLAIN),
    "signs": (npy("-" * 9000 + "1"), NOT_PLAIN),
    "long": (npy(header() + " " * 10**7, bytes(ROOM), b"\x02\x00"), "its header is 100000"),
    "promised header": (npy(header(), b"", b"\x02\x00", 0xFFFFFFFF), "its header is 4294967295 bytes long"),
    "negative": (npy(header(shape="(-4, 32)")), NOT_PLAIN),
    "odd": (npy(header("'<f3'"), bytes(ROOM)), f"{NOT_PLAIN} .descr is not a valid dtype descriptor: '<f3'"),
    "subarray": (npy(header("('<f4', (2,))"), bytes(2 * ROOM)), f"{NOT_PLAIN} .dtype .'<f4', .2,.., shape"),
    "fields that are none": (npy(header("[('a',)]"), bytes(ROOM)), NOT_PLAIN),
    "a list as key": (npy("{[]: 1}\n"), NOT_PLAIN),
    "keys of two types": (npy("{1: 1, 'a': 2}\n"), NOT_PLAIN),
    "keys that are missing": (npy("{'descr': '<f4'}\n"), NOT_PLAIN),
    "a token that is none": (npy('"' * 3), NOT_PLAIN),
    "indented": (npy("a\n  b\n c\n"), NOT_PLAIN),
    "sum": (npy("1" + "+1" * 4000), NOT_PLAIN),
    "bytes that are no text": (npy(b"\xff\xfe" * 50, b"", b"\x03\x00"), NOT_PLAIN),
    "bool as axis": (npy(header(shape="(True, 32)"), bytes(ROOM)), f"{NOT_PLAIN} .dtype float32, shape .True, 32"),
    "an axis of thirty digits": (npy(header(shape=f"(0, {'9' * 30})")), f"{NOT_PLAIN} .dtype float32, shape .0, 9"),
    "sixty-five axes": (npy(header(shape=f"({'1,' * 65})"), bytes(4)), "axes|dimension|shape"),
    "text within": (npy_bytes(np.full((SIDE, SIDE), "x")), NOT_PLAIN),
    "NaN": (npy_bytes(np.where(MAP < 0.5, np.nan, MAP)), "values that are not finite"),
    "infinite": (npy_bytes(np.full((SIDE, SIDE), np.inf)), "has 1024 values that are not finite"),
    "complex": (npy_bytes(MAP.astype(np.complex64)), "holds complex64, not numbers"),
    "bool": (npy_bytes(MAP > 0.5), "holds bool, not numbers"),
    "uint8": (npy_bytes(np.full((SIDE, SIDE), 255, np.uint8)), r"ranges from 255 to 255, outside \[0, 1\]"),
    "no axis": (npy_bytes(np.float32(0.5)), r"has the shape \(\), not \(height, width\)"),
    "no pixel": (npy_bytes(np.zeros((0, SIDE), np.float32)), r"has the shape \(0, 32\), not \(height, width\)"),
    "axes": (npy_bytes(np.zeros((1,) * 32, np.float32)), r"has the shape \(1, 1, .*, not \(height, width\)"),
}


@pytest.mark.parametrize(("content", "sentence"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("packed", [False, True], ids=["npy", "npz"])
def test_a_broken_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, sentence: str, packed: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if packed:
        path = map_archive(tmp_path, lambda archive: archive.writestr("a.npy", content))
    else:
        path = map_folder(tmp_path, content)
    message = error_sentence(path)
    assert f"{path} does not fit the images: 1 unusable: a.jpg (" in message
    assert re.search(sentence, message)
    assert not Path("harm").exists()


ODD = {
    "big-endian": npy_bytes(MAP.astype(">f4")),
    "columns first": npy_bytes(np.asfortranarray(MAP)),
    "double": npy_bytes(MAP.astype(np.float64)),
    "longer": npy_bytes(MAP.astype(np.longdouble)),
    "of another program": npy(f'{{"shape": ({SIDE}L,{SIDE}L), "fortran_order":False, "descr": "<f4"}}', MAP.tobytes()),
    "with something behind": npy_bytes(MAP) + b"something",
    "in an archive": b"",
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_odd_but_fine(tmp_path: Path, content: bytes) -> None:
    plain = read_curves(map_folder(tmp_path))
    (tmp_path / "maps" / "a.npy").write_bytes(content)
    if not content:
        (tmp_path / "maps" / "a.npy").unlink()
        np.savez(tmp_path / "maps" / "a.npz", MAP)
    np.testing.assert_array_equal(read_curves(tmp_path / "maps"), plain)


def read_curves(path: Path) -> np.ndarray:
    with ThreadPoolExecutor(1) as pool:
        some, protocol = images(), find_protocol(PROTOCOL)
        return score_maps(path, some, some, protocol, False, False, pool, Clock())[1].stats.curves


def declare_too_much(archive: zipfile.ZipFile) -> None:
    """Declares more data than there is, in the directory and in the header."""
    archive.writestr("a.npy", npy(header(shape="(8192, 8192)"), bytes(ROOM)))
    archive.infolist()[-1].file_size = 1 << 40


def encrypt(archive: zipfile.ZipFile) -> None:
    archive.writestr("a.npy", npy_bytes(MAP))
    archive.infolist()[-1].flag_bits |= 1


def twice(archive: zipfile.ZipFile) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):
            archive.writestr("a.npy", npy_bytes(MAP))


def bomb(archive: zipfile.ZipFile) -> None:
    """64 MiB of zeros in 64 KB."""
    archive.writestr("a.npy", npy(header(shape="(4096, 4096)"), bytes(1 << 26)))


ARCHIVES: dict[str, tuple[Callable[[zipfile.ZipFile], object], str]] = {
    "a size that lies": (
        declare_too_much,
        f"1 unusable: a.jpg .*its header declares {1 << 28} bytes of data, but it has {ROOM}",
    ),
    "encrypted": (encrypt, "1 unusable: a.jpg .cannot be read: .*encrypted"),
    "twice": (twice, "1 duplicate: a.jpg"),
    "climbing": (lambda archive: archive.writestr("../a.npy", npy_bytes(MAP)), r"1 missing: a.jpg; 1 extra: \.\./a"),
    "absolute": (lambda archive: archive.writestr("/etc/a.npy", npy_bytes(MAP)), "1 missing: a.jpg; 1 extra: /etc/a"),
    "no array": (lambda archive: archive.writestr("a", b"text"), "1 unusable: a.jpg .*it is not a .npy file"),
    "LZMA": (
        lambda archive: archive.writestr("a.npy", npy_bytes(MAP), zipfile.ZIP_LZMA),
        "1 unusable: a.jpg .*its compression is not one of .npz files",
    ),
}


@pytest.mark.parametrize(("change", "sentence"), ARCHIVES.values(), ids=ARCHIVES)
def test_a_broken_archive(tmp_path: Path, change: Callable[[zipfile.ZipFile], object], sentence: str) -> None:
    assert re.search(sentence, error_sentence(map_archive(tmp_path, change)))
    assert [*tmp_path.rglob("*")] == [tmp_path / "maps.npz"]


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAX_BYTES", 1 << 20)
    chunks = []
    read = zipfile.ZipExtFile.read

    def read_and_record(self: zipfile.ZipExtFile, *length: int) -> bytes:
        chunks.append(read(self, *length))
        return chunks[-1]

    monkeypatch.setattr(zipfile.ZipExtFile, "read", read_and_record)
    path = map_archive(tmp_path, bomb, packing=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 17
    assert "it holds 64 MiB; at most 1 MiB are read" in error_sentence(path)
    assert sum(map(len, chunks)) < 1 << 15


@pytest.mark.parametrize("cut", [0, 10, -1, -30, -200])
def test_an_archive_that_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = map_archive(tmp_path, lambda archive: None, "")
    path.write_bytes(path.read_bytes()[:cut])
    assert "maps.npz is neither a folder of .npy files nor an .npz file" in error_sentence(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    folder = map_folder(tmp_path)
    for name, make in (("a", os.mkfifo), ("b", Path.mkdir)):
        (folder / f"{name}.npy").unlink()
        make(folder / f"{name}.npy")
    (folder / "c.npy").unlink()
    (folder / "c.npy").symlink_to("/dev/zero")
    message = error_sentence(folder)
    for name, reason in (("a", "it is a pipe"), ("b", "it is a folder"), ("c", "it is a device")):
        assert f"{name}.jpg (cannot be read: {name}.npy cannot be read: {reason})" in message
    os.mkfifo(tmp_path / "pipe.npz")
    assert "it is a pipe" in error_sentence(tmp_path / "pipe.npz")


def test_names_that_are_strange(tmp_path: Path) -> None:
    folder = map_folder(tmp_path)
    for name in ("\n", '"; \x1b[31m', "中é", "x" * 240, "../a".replace("/", "\\")):
        np.save(folder / f"{name}.npy", MAP)
    message = error_sentence(folder)
    assert "5 extra: " in message
    assert "\\n" in message
    assert "\\x1b[31m" in message
    assert "x" * 201 not in message


COMMANDS = ["pickle", "terabytes", "NaN"]


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_command(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    argv = ["--maps", map_folder(tmp_path, FILES[kind][0]), "--metadata", lists(tmp_path), "--protocol", PROTOCOL]
    message = refusal(main, [*argv, "--out", tmp_path_factory.mktemp("out") / "run"], tmp_path, capfd)
    assert re.search(FILES[kind][1], message)
