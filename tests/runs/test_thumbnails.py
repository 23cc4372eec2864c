"""Thumbnails of finished batches become those of a run, also after an interruption."""

from pathlib import Path

import pytest

from wsol.runs import thumbnails
from wsol.runs.thumbnails import find_thumbnails, return_thumbnails, take_thumbnails, thumbnail_path, write_thumbnail


def write(folder: Path, indices: range) -> None:
    for i in indices:
        write_thumbnail(folder, i, b"%d" % i)


def contents(folder: Path, n: int) -> list[bytes]:
    return [(folder / thumbnail_path(i)).read_bytes() for i in range(n)]


def test_all_images(tmp_path: Path) -> None:
    write(tmp_path / "batches", range(1002))
    write(tmp_path, range(2000, 2001))  # of an earlier run
    for _ in range(2):  # again after an interruption
        take_thumbnails(tmp_path / "batches", tmp_path, range(1002))
        assert contents(tmp_path, 1002) == [b"%d" % i for i in range(1002)]
        assert not (tmp_path / thumbnail_path(2000)).exists()
        assert find_thumbnails(tmp_path, 1004).tolist() == [True] * 1002 + [False] * 2
        return_thumbnails(tmp_path / "batches", tmp_path)
        assert contents(tmp_path / "batches", 1002) == [b"%d" % i for i in range(1002)]


def test_images_are_numbered_anew_where_some_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [i for i in range(1010) if i not in (0, 3, 1000)]
    write(tmp_path / "batches", range(1010))
    write(tmp_path, range(2000, 2001))  # of an earlier run
    write_one = thumbnails._write

    def interrupted(path: Path, content: bytes) -> None:
        if content == b"7":
            raise KeyboardInterrupt
        write_one(path, content)

    monkeypatch.setattr(thumbnails, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        take_thumbnails(tmp_path / "batches", tmp_path, [1, *kept])
    monkeypatch.undo()
    for _ in range(2):
        take_thumbnails(tmp_path / "batches", tmp_path, kept)
        assert contents(tmp_path, len(kept)) == [b"%d" % i for i in kept]
        assert find_thumbnails(tmp_path, 2001).sum() == len(kept)
        return_thumbnails(tmp_path / "batches", tmp_path)  # they were copied, so that there is nothing to move
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batches", "thumbnails"]
