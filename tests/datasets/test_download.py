"""Downloads, from a local server in place of the public host."""

import hashlib
import io
import socket
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wsol.datasets import DATASETS, _download, load_dataset
from wsol.datasets._download import Archive
from wsol.errors import InputError


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """A host that offers a data set of one bird."""
    home = tmp_path / "host" / "CUB_200_2011"
    home.mkdir(parents=True)
    for name, line in (
        ("classes", "1 001.Bird"),
        ("images", "1 001.Bird/a.jpg"),
        ("image_class_labels", "1 1"),
        ("train_test_split", "1 0"),
        ("bounding_boxes", "1 1 2 3 4"),
    ):
        (home / f"{name}.txt").write_text(line + "\n")
    path = tmp_path / "CUB_200_2011.tgz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(home, "CUB_200_2011")
    checksum = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    offer = Archive(f"http://127.0.0.1:{server.server_port}/{path.name}", checksum)
    DATASETS.get("cub")  # the adapter adds its own archives when it is imported
    monkeypatch.setitem(_download.ARCHIVES, "cub", (offer,))
    yield offer
    server.shutdown()
    server.server_close()


def test_download_unpacks_and_loads(tmp_path: Path, host: Archive) -> None:
    (sample,) = load_dataset("cub", tmp_path / "new" / "cub", download=True)
    assert sample.boxes.tolist() == [[1, 2, 4, 6]]


def test_a_wrong_checksum_is_named(tmp_path: Path, host: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_download.ARCHIVES, "cub", (Archive(host.url, "0" * 32),))
    with pytest.raises(InputError, match=r"CUB_200_2011\.tgz does not have the MD5 0{32}"):
        load_dataset("cub", tmp_path / "new", download=True)
    assert not (tmp_path / "new" / "CUB_200_2011").exists()


def test_a_host_out_of_reach_is_named(tmp_path: Path, host: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Archive(host.url.replace("CUB", "GONE"), host.md5)
    monkeypatch.setitem(_download.ARCHIVES, "cub", (gone,))
    with pytest.raises(InputError, match=r"cannot download http:.*download it by hand"):
        load_dataset("cub", tmp_path / "new", download=True)


def test_a_data_set_without_a_public_host_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ilsvrc: no public host offers it"):
        load_dataset("ilsvrc", tmp_path, download=True)


def offer(tmp_path: Path, host: Archive, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Puts another archive with its checksum on the host."""
    (tmp_path / "CUB_200_2011.tgz").write_bytes(content)
    checksum = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(_download.ARCHIVES, "cub", (Archive(host.url, checksum),))


def linking_archive(name: str, link: str = "") -> bytes:
    """A tar archive of one empty file, or of a link."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = (tarfile.SYMTYPE, link) if link else (tarfile.REGTYPE, "")
        archive.addfile(member, io.BytesIO())
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            linking_archive("../evil.txt"),
            r"CUB_200_2011\.tgz: the member '\.\./evil\.txt' has a name that is absolute or contains",
        ),
        (
            linking_archive("deep/../../evil.txt"),
            r"the member 'deep/\.\./\.\./evil\.txt' has a name that is absolute or contains",
        ),
        (
            linking_archive("link", "../../evil.txt"),
            "the member 'link' is a link or a device; if you trust the archive, unpack",
        ),
        (linking_archive("link", "/etc/passwd"), "the member 'link' is a link or a device"),
        (
            b"no archive",
            r"cannot be unpacked \(it is neither a zip nor a tar archive\); make room .* or delete the file",
        ),
        (linking_archive("a")[:-20], "cannot be unpacked"),
    ],
    ids=["climbs", "climbs inside", "link that climbs", "absolute link", "no archive", "cut off"],
)
def test_archives_that_reach_out_or_are_broken(
    tmp_path: Path, host: Archive, monkeypatch: pytest.MonkeyPatch, content: bytes, sentence: str
) -> None:
    offer(tmp_path, host, monkeypatch, content)
    with pytest.raises(InputError, match=sentence) as raised:
        load_dataset("cub", tmp_path / "new" / "cub", download=True)
    assert len(str(raised.value).splitlines()) == 1
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_host_that_does_not_speak_http(tmp_path: Path, host: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):
                with server.accept()[0] as caller:
                    caller.recv(9999)
                    caller.sendall(b"\x1b[2J nonsense\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/CUB_200_2011.tgz"
        monkeypatch.setitem(_download.ARCHIVES, "cub", (Archive(url, host.md5),))
        with pytest.raises(InputError, match=r"cannot download http:.*\\x1b\[2J nonsense.*download it by hand"):
            load_dataset("cub", tmp_path / "new", download=True)
