"""Metrics of attributions in a run: asked for, stored, read back, scored again."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import wsol
from wsol.datasets import Dataset, load_dataset
from wsol.errors import InputError
from wsol.leaderboards.verify import verify_tables
from wsol.metrics.base import METRICS
from wsol.models import Model
from wsol.runs.checksums import add_checksums
from wsol.runs.metadata import read_metadata
from wsol.runs.read import read_run

NAMES = {name for name in METRICS.names() if "attribution" in METRICS.get(name).needs}


def values(table: pd.DataFrame) -> dict[str, float]:
    return table[table["metric"].isin(NAMES)].set_index("metric")["value"].to_dict()


def verified(run: Path) -> list[str]:
    with ThreadPoolExecutor(1) as pool:
        return verify_tables(read_run(run), pool)


@cache
def images() -> Dataset:
    return load_dataset("synthetic", None, "test").limit(6)


@pytest.fixture
def run(tmp_path: Path, synthetic_model: Model) -> Path:
    out = tmp_path / "run"
    wsol.evaluate(synthetic_model, dataset=images(), batch_size=4, out=out, bootstrap=0, attribution=True)
    return out


def test_a_run_has_them_and_is_otherwise_the_same(run: Path, tmp_path: Path, synthetic_model: Model) -> None:
    found = read_run(run)
    plain = wsol.evaluate(synthetic_model, dataset=images(), batch_size=4, out=tmp_path / "plain", bootstrap=0)
    assert set(values(found.tables.metrics)) == NAMES == {*values(found.tables.classes), "pointing_game_15_classes"}
    assert found.signature == plain.signature
    assert not values(plain.metrics)
    assert not (tmp_path / "plain" / "attribution.npy").exists()
    for name, table in vars(found.tables).items():
        others = table if "metric" not in table else table[~table["metric"].isin(NAMES)].reset_index(drop=True)
        pd.testing.assert_frame_equal(others, getattr(plain.tables, name), check_dtype=False)
    array = np.load(run / "attribution.npy")
    assert (array.dtype, array.shape) == (np.float32, (6, 6))
    assert values(found.tables.metrics)["pointing_game_15"] == pytest.approx(100 * array[:, 5].mean())
    own, full = (found.tables.baselines.query(f"baseline == '{name}'") for name in ("center-gaussian", "full-image"))
    masks = [sample.mask().foreground.mean() for sample in images()]
    assert values(full)["energy_pointing_game"] == pytest.approx(100 * np.mean(masks), abs=0.5)
    assert values(full)["pixel_auc"] == 50
    assert values(own)["pixel_auc"] > 50


@pytest.mark.slow
def test_stored_maps_give_the_same_numbers(run: Path, tmp_path: Path) -> None:
    stored = np.load(run / "attribution.npy")
    again = wsol.score(run=run, dataset=images(), attribution=True, bootstrap=0, out=tmp_path / "again")
    np.testing.assert_array_equal(np.load(tmp_path / "again" / "attribution.npy"), stored)
    assert values(again.metrics) == values(read_run(run).tables.metrics)
    maps = dict(zip([sample.image_id for sample in images()], np.load(run / "maps.npy")[:, 0], strict=True))
    more = {"dataset": images(), "attribution": True, "bootstrap": 0}
    wsol.score(maps=maps, raw=True, out=tmp_path / "maps", **more)
    np.testing.assert_array_equal(np.load(tmp_path / "maps" / "attribution.npy"), stored)
    boxes = wsol.score(run=run, attribution=True, bootstrap=0)  # without masks: in the boxes, which are larger
    masked, boxed = values(again.metrics), values(boxes.metrics)
    assert boxed["energy_pointing_game"] > masked["energy_pointing_game"]
    assert "+masks" not in boxes.signature
    gaussian = wsol.score(baseline="center-gaussian", **more).metrics
    own = read_run(run).tables.baselines.query("baseline == 'center-gaussian'")
    assert values(gaussian) == pytest.approx(values(own), rel=1e-12)


@pytest.mark.slow
def test_a_leaderboard_recomputes_them(run: Path, csv_data: Path, tiny_model: Model, tmp_path: Path) -> None:
    assert verified(run) == []
    own = tmp_path / "boxes"
    wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, out=own, bootstrap=0, attribution=True)
    assert verified(own) == []
    for folder, message in ((run, "metrics.csv: value in line"), (own, "attribution.npy: 1 of")):
        path = folder / "attribution.npy"
        array = np.load(path)
        array[1] = 1 - array[1]
        np.save(path, array)
        metadata = read_metadata(folder)
        forged = add_checksums(metadata, folder, metadata.checksums or ())
        (folder / "run.json").write_text(json.dumps(asdict(forged)))
        assert any(message in phrase for phrase in verified(folder))
        np.save(path, array + 1)
        with pytest.raises(InputError, match="do not belong together"):
            read_run(folder)


@pytest.mark.slow
def test_a_finished_run_without_them_is_not_taken(tmp_path: Path, synthetic_model: Model) -> None:
    more = {"dataset": images().limit(2), "out": tmp_path / "run", "bootstrap": 0, "resume": True}
    wsol.evaluate(synthetic_model, **more)
    with pytest.raises(InputError, match="without metrics of attributions; leave out --attribution, or run it again"):
        wsol.evaluate(synthetic_model, attribution=True, **more)
    with pytest.raises(InputError, match="attribution needs score maps, of which boxes have none"):
        wsol.score(boxes="a.csv", dataset="synthetic", attribution=True)
