"""Maps that are broken, enormous, or no maps at all: a sentence each, and nothing in them is run or believed."""

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
from wsol.evaluation.sources.maps import from_maps
from wsol.protocols import find_protocol
from wsol.runtime.cost import Clock
from wsol.score import main

MAP = np.random.default_rng(0).random((SIDE, SIDE), np.float32)


def npy(header: str | bytes, data: bytes = b"", version: bytes = b"\x01\x00", length: int | None = None) -> bytes:
    """A .npy file by hand."""
    text = header.encode() if isinstance(header, str) else header
    width = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + version + struct.pack(width, len(text) if length is None else length) + text + data


def head(descr: str = "'<f4'", shape: str = f"({SIDE}, {SIDE})", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def saved(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harm"),))


def folder_of(tmp_path: Path, content: bytes | None = None) -> Path:
    folder = tmp_path / "maps"
    folder.mkdir()
    for name in IDS:
        np.save(folder / f"{Path(name).stem}.npy", MAP)
    if content is not None:
        (folder / "a.npy").write_bytes(content)
    return folder


def archive_of(
    tmp_path: Path, change: Callable[[zipfile.ZipFile], None], left_out: str = "a", packing: int = zipfile.ZIP_STORED
) -> Path:
    path = tmp_path / "maps.npz"
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name in IDS:
            if Path(name).stem != left_out:
                archive.writestr(f"{Path(name).stem}.npy", saved(MAP))
        change(archive)
    return path


def refused(maps: Path, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        wsol.score(maps=maps, dataset=images(), protocol=PROTOCOL, **more)
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 1000
    return sentence


ROOM = SIDE * SIDE * 4
FILES = {
    "pickle": (pickle.dumps(Harmful()), "it is no .npy file"),
    "objects": (saved(np.array([Harmful()], object)), "its header is not that of an array of plain numbers"),
    "structure": (saved(np.zeros(4, "f4,i4")), "its header is not that of an array of plain numbers"),
    "terabytes": (npy(head(shape="(1000000, 1000000)")), "it promises 4000000000000 bytes and has 0"),
    "more than numbers count": (npy(head(shape="(999999999999999999, 9)")), "bytes and has 0"),
    "digits": (npy(head(shape=f"({'9' * 5000},)")), "its header is not that of an array of plain numbers"),
    "no size": (npy(head(shape="(0, 999999999999999999)")), r"has the shape \(0, 999999999999999999\)"),
    "version": (npy(head(), bytes(ROOM), b"\x09\x00"), "it is no .npy file"),
    "cut": (saved(MAP)[:-1], f"it promises {ROOM} bytes and has {ROOM - 1}"),
    "cut header": (saved(MAP)[:40], "its header is not that of an array of plain numbers"),
    "empty": (b"", "it is no .npy file"),
    "text": (b"0.1 0.2\n0.3 0.4\n", "it is no .npy file"),
    "list": (npy("[1, 2]\n"), "its header is not that of an array of plain numbers"),
    "code": (npy("__import__('os').system('touch harm')\n"), "its header is not that of an array of plain numbers"),
    "code within": (npy(head(shape="(__import__('os').getpid(),)")), "its header is not that of"),
    "nested": (npy("(" * 9000), "its header is not that of an array of plain numbers"),
    "signs": (npy("-" * 9000 + "1"), "its header is not that of an array of plain numbers"),
    "long": (npy(head() + " " * 10**7, bytes(ROOM), b"\x02\x00"), "its header is 100000"),
    "promised header": (npy(head(), b"", b"\x02\x00", 0xFFFFFFFF), "its header is 4294967295 bytes long"),
    "negative": (npy(head(shape="(-4, 32)")), "its header is not that of an array of plain numbers"),
    "odd": (npy(head("'<f3'"), bytes(ROOM)), "it holds <f3, which is no kind of number"),
    "text within": (saved(np.full((SIDE, SIDE), "x")), "its header is not that of an array of plain numbers"),
    "NaN": (saved(np.where(MAP < 0.5, np.nan, MAP)), "values that are not finite"),
    "infinite": (saved(np.full((SIDE, SIDE), np.inf)), "holds 1024 values that are not finite"),
    "complex": (saved(MAP.astype(np.complex64)), "holds complex64, not numbers"),
    "bool": (saved(MAP > 0.5), "holds bool, not numbers"),
    "uint8": (saved(np.full((SIDE, SIDE), 255, np.uint8)), r"goes from 255 to 255, outside \[0, 1\]"),
    "no axis": (saved(np.float32(0.5)), r"has the shape \(\), not \(height, width\)"),
    "no pixel": (saved(np.zeros((0, SIDE), np.float32)), r"has the shape \(0, 32\), not \(height, width\)"),
    "axes": (saved(np.zeros((1,) * 32, np.float32)), r"has the shape \(1, 1, .*, not \(height, width\)"),
}


@pytest.mark.parametrize(("content", "sentence"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("packed", [False, True], ids=["npy", "npz"])
def test_a_broken_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, sentence: str, packed: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if packed:
        path = archive_of(tmp_path, lambda archive: archive.writestr("a.npy", content))
    else:
        path = folder_of(tmp_path, content)
    said = refused(path)
    assert f"{path} does not fit the images: 1 unusable: a.jpg (" in said
    assert re.search(sentence, said)
    assert not Path("harm").exists()


ODD = {
    "big-endian": saved(MAP.astype(">f4")),
    "columns first": saved(np.asfortranarray(MAP)),
    "double": saved(MAP.astype(np.float64)),
    "longer": saved(MAP.astype(np.longdouble)),
    "of another program": npy(f'{{"shape": ({SIDE}L,{SIDE}L), "fortran_order":False, "descr": "<f4"}}', MAP.tobytes()),
    "with something behind": saved(MAP) + b"something",
    "in an archive": b"",
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_odd_but_fine(tmp_path: Path, content: bytes) -> None:
    plain = curves(folder_of(tmp_path))
    (tmp_path / "maps" / "a.npy").write_bytes(content)
    if not content:
        (tmp_path / "maps" / "a.npy").unlink()
        np.savez(tmp_path / "maps" / "a.npz", MAP)
    np.testing.assert_array_equal(curves(tmp_path / "maps"), plain)


def curves(path: Path) -> np.ndarray:
    with ThreadPoolExecutor(1) as pool:
        some, protocol = images(), find_protocol(PROTOCOL)
        return from_maps(path, some, some, protocol, False, False, pool, Clock())[1].stats.curves


def lie(archive: zipfile.ZipFile) -> None:
    """Promises in the directory and in the header more than there is."""
    archive.writestr("a.npy", npy(head(shape="(8192, 8192)"), bytes(ROOM)))
    archive.infolist()[-1].file_size = 1 << 40


def encrypt(archive: zipfile.ZipFile) -> None:
    archive.writestr("a.npy", saved(MAP))
    archive.infolist()[-1].flag_bits |= 1


def twice(archive: zipfile.ZipFile) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):
            archive.writestr("a.npy", saved(MAP))


def bomb(archive: zipfile.ZipFile) -> None:
    """64 MiB of zeros in 64 KB."""
    archive.writestr("a.npy", npy(head(shape="(4096, 4096)"), bytes(1 << 26)))


ARCHIVES: dict[str, tuple[Callable[[zipfile.ZipFile], object], str]] = {
    "a size that lies": (lie, f"1 unusable: a.jpg .*it promises {1 << 28} bytes and has {ROOM}"),
    "encrypted": (encrypt, "1 unusable: a.jpg .cannot be read: .*encrypted"),
    "twice": (twice, "1 duplicate: a.jpg"),
    "climbing": (lambda archive: archive.writestr("../a.npy", saved(MAP)), r"1 missing: a.jpg; 1 extra: \.\./a"),
    "absolute": (lambda archive: archive.writestr("/etc/a.npy", saved(MAP)), "1 missing: a.jpg; 1 extra: /etc/a"),
    "no array": (lambda archive: archive.writestr("a", b"text"), "1 unusable: a.jpg .*it is no .npy file"),
    "LZMA": (
        lambda archive: archive.writestr("a.npy", saved(MAP), zipfile.ZIP_LZMA),
        "1 unusable: a.jpg .*it is compressed as no .npz file is",
    ),
}


@pytest.mark.parametrize(("change", "sentence"), ARCHIVES.values(), ids=ARCHIVES)
def test_a_broken_archive(tmp_path: Path, change: Callable[[zipfile.ZipFile], object], sentence: str) -> None:
    assert re.search(sentence, refused(archive_of(tmp_path, change)))
    assert [*tmp_path.rglob("*")] == [tmp_path / "maps.npz"]


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsol.io.arrays._LARGEST", 1 << 20)
    unpacked = []
    read = zipfile.ZipExtFile.read

    def note(self: zipfile.ZipExtFile, *length: int) -> bytes:
        unpacked.append(read(self, *length))
        return unpacked[-1]

    monkeypatch.setattr(zipfile.ZipExtFile, "read", note)
    path = archive_of(tmp_path, bomb, packing=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 17
    assert "it holds 64 MiB, and 1 can be read" in refused(path)
    assert sum(map(len, unpacked)) < 1 << 15


@pytest.mark.parametrize("cut", [0, 10, -1, -30, -200])
def test_an_archive_that_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = archive_of(tmp_path, lambda archive: None, "")
    path.write_bytes(path.read_bytes()[:cut])
    assert "maps.npz is neither a folder of .npy files nor an .npz file" in refused(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    for name, make in (("a", os.mkfifo), ("b", Path.mkdir)):
        (folder / f"{name}.npy").unlink()
        make(folder / f"{name}.npy")
    (folder / "c.npy").unlink()
    (folder / "c.npy").symlink_to("/dev/zero")
    said = refused(folder)
    for name, reason in (("a", "it is a pipe"), ("b", "it is a folder"), ("c", "it is a device")):
        assert f"{name}.jpg (cannot be read: {name}.npy cannot be read: {reason})" in said
    os.mkfifo(tmp_path / "pipe.npz")
    assert "it is a pipe" in refused(tmp_path / "pipe.npz")


def test_names_that_are_strange(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    for name in ("\n", '"; \x1b[31m', "中é", "x" * 240, "../a".replace("/", "\\")):
        np.save(folder / f"{name}.npy", MAP)
    said = refused(folder)
    assert "5 extra: " in said
    assert "\\n" in said
    assert "\\x1b[31m" in said
    assert "x" * 201 not in said


COMMANDS = ["pickle", "terabytes", "NaN"]


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_command(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    argv = ["--maps", folder_of(tmp_path, FILES[kind][0]), "--metadata", lists(tmp_path), "--protocol", PROTOCOL]
    said = refusal(main, [*argv, "--out", tmp_path_factory.mktemp("out") / "run"], tmp_path, capfd)
    assert re.search(FILES[kind][1], said)
