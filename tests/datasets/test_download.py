"""Downloads, from a server on this machine in place of the public host."""

import hashlib
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
    DATASETS.get("cub")  # the adapter enters its own archives when it is imported
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
    with pytest.raises(InputError, match=r"cannot download http:.*fetch it by hand"):
        load_dataset("cub", tmp_path / "new", download=True)


def test_data_sets_that_nobody_offers_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ilsvrc: no public host offers it"):
        load_dataset("ilsvrc", tmp_path, download=True)
