import json
from pathlib import Path

import numpy as np
import pytest

from wsol.errors import InputError
from wsol.io.lock import lock_folder
from wsol.runs.score_maps import ScoreMapWriter
from wsol.runs.store import claim_folder

A, B = "d|m|cam|p|tau:0.2|wsol:1", "d|m|cam|q|tau:val|wsol:1"


def test_maps_grow_and_read_as_npy(tmp_path: Path) -> None:
    parts = [np.random.default_rng(n).normal(size=(n, 6, 3, 2)).astype(np.float32) for n in (2, 1, 4)]
    with ScoreMapWriter(tmp_path / "maps.npy") as store:
        for part in parts:
            store.append(part)
        assert not (tmp_path / "maps.npy").exists()
    whole = np.load(tmp_path / "maps.npy", allow_pickle=False)
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    np.testing.assert_array_equal(np.concatenate([store.reader()[i : i + 2] for i in (0, 2, 4)]), whole[:6])
    np.testing.assert_array_equal(store.reader()[6:7], whole[6:])
    assert whole.dtype == np.float32
    assert [path.name for path in tmp_path.iterdir()] == ["maps.npy"]


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with ScoreMapWriter(tmp_path / "maps.npy") as store:
            store.append(np.zeros((1, 6, 3, 2), np.float32))
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert [*tmp_path.iterdir()] == []


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    claim_folder(folder, A)
    claim_folder(folder, B)  # nothing has been written yet
    (folder / "maps.npy.tmp").touch()  # left by a run that was killed
    (folder / "run.json").write_text(json.dumps({"request": A}))
    claim_folder(folder, A)
    with pytest.raises(InputError, match=r"holds another run \(protocol: p, not q; tau: 0\.2, not val\)"):
        claim_folder(folder, B)
    (folder / "notes.txt").touch()
    with pytest.raises(InputError, match=r"that no run writes, such as notes\.txt"):
        claim_folder(folder, A)


def test_a_damaged_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json cannot be read"):
        claim_folder(tmp_path, "a")


@pytest.mark.parametrize("name", ["batches", "thumbnails", "val", "lock", "maps.npy", "metrics.csv.tmp"])
def test_no_link_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(InputError, match=rf"that no run writes, such as {name}; give another --out"):
        claim_folder(folder, A)


def test_a_lock_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="lock"), lock_folder(tmp_path / "run"):
        pass
    assert (tmp_path / "mine").read_text() == "kept"
