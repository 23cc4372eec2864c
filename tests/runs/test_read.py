from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import wsol
from wsol.errors import InputError
from wsol.evaluation.tables import choose_tau_index, tabulate, tabulate_predictions
from wsol.models import Model
from wsol.reports.terminal import fill_tau_rule
from wsol.runs.checksums import changed_files
from wsol.runs.metadata import Cost
from wsol.runs.read import StoredRun, read_run


def again(run: StoredRun) -> dict[str, pd.DataFrame]:
    """Computes the tables of a stored run from its curves, boxes and ground truth."""
    held = run.validation.results if run.validation else None
    level = choose_tau_index(run.protocol, run.tau, held or run.results) if run.tau is not None else 0
    predictions = tabulate_predictions(run.protocol, run.results, level)
    with ThreadPoolExecutor(1) as pool:
        return vars(tabulate(run.protocol, run.results, run.tau or run.metadata.tau.fixed, predictions, held, pool))


def same(table: pd.DataFrame, written: pd.DataFrame) -> None:
    if "baseline" in table:  # a run does not keep masks, which baselines would be held against
        written = written[~written.metric.isin({"pxap", "peak_iou", "pixel_iou", "mean_pixel_iou"})]
    pair = [fill_tau_rule(part) if "tau_rule" in part else part for part in (table, written)]
    pd.testing.assert_frame_equal(*(part.reset_index(drop=True) for part in pair), check_dtype=False)


@pytest.mark.sample(5)
@pytest.mark.parametrize("tau", [0.2, 0.31, "oracle", "val"])
@pytest.mark.parametrize("protocol", ["wsolevaluation", "exact", "zhou2016:crops=1,box=script"])
def test_a_run_is_read_back_and_its_tables_follow(
    tmp_path: Path, synthetic_model: Model, tau: float | str, protocol: str
) -> None:
    if protocol == "exact" and tau == 0.31:
        tau = 0.6
    if "script" in protocol and isinstance(tau, str):
        pytest.skip("no threshold enters")
    result = wsol.evaluate(synthetic_model, protocol=protocol, tau=tau, limit=7, device="cpu", out=tmp_path)
    run = read_run(tmp_path)
    assert (run.signature, run.name) == (result.signature, tmp_path.name)
    assert run.metadata == result.metadata
    assert run.results.images.fingerprint == result.metadata.dataset.fingerprint
    for name, table in again(run).items():
        for tables in (result.tables, run.tables):
            same(table, getattr(tables, name))
    assert run.maps is not None
    assert run.maps.shape[:2] == (7, 6)


@pytest.mark.slow
def test_boxes_at_a_hundred_taus(tmp_path: Path, synthetic_model: Model) -> None:
    result = wsol.evaluate(synthetic_model, limit=3, device="cpu", out=tmp_path)
    run = read_run(tmp_path)
    assert run.results.boxes is not None
    assert (run.results.boxes.shape, run.results.boxes.dtype) == ((3, 100, 4), np.uint16)
    own = result.predictions.query("rank == 0")[["x0", "y0", "x1", "y1"]].to_numpy()
    np.testing.assert_array_equal(run.results.boxes[:, 20], own)  # tau 0.2


@pytest.mark.slow
def test_scored_runs_are_read_back(tmp_path: Path, synthetic_model: Model) -> None:
    wsol.evaluate(synthetic_model, limit=6, tau="val", device="cpu", out=tmp_path / "run")
    sources = {
        "again": {"run": tmp_path / "run", "tau": "val", "protocol": "exact"},
        "baseline": {"baseline": "center-gaussian", "dataset": "synthetic", "limit": 6},
    }
    for name, source in sources.items():
        result = wsol.score(**source, out=tmp_path / name)
        for part, table in again(read_run(tmp_path / name)).items():
            same(table, getattr(result.tables, part))


@pytest.mark.slow
def test_what_it_cost(synthetic_model: Model) -> None:
    def cost(method: str) -> Cost:
        return wsol.evaluate(synthetic_model, limit=4, device="cpu", method=method).metadata.cost

    plain, many = cost("cam"), cost("rise:masks=10")
    assert plain.forwards_per_image == 1
    assert many.forwards_per_image == 11.25  # the image, 10 masks, and once one that shows the memory it takes
    assert cost("guided-backprop").forwards_per_image == 2
    assert plain.ms_per_image > 0
    assert plain.peak_memory_mib > 50


@pytest.mark.slow
def test_checksums(tmp_path: Path, synthetic_model: Model) -> None:
    run = wsol.evaluate(synthetic_model, limit=3, device="cpu", out=tmp_path).metadata
    assert changed_files(run, tmp_path) == []
    others = {"run.json", "report.html"}
    assert {*run.checksums} == {path.name for path in tmp_path.iterdir() if path.is_file()} - others
    metrics = tmp_path / "metrics.csv"
    before = metrics.read_bytes()
    metrics.write_bytes(before.replace(b"3", b"4", 1))
    assert changed_files(run, tmp_path) == ["metrics.csv was changed"]
    metrics.write_bytes(before)
    (tmp_path / "curves.npy").unlink()
    assert changed_files(run, tmp_path) == ["curves.npy is missing"]
    (tmp_path / "curves.npy").touch()
    changed = replace(run, dataset=replace(run.dataset, n=4))
    assert changed_files(changed, tmp_path) == ["run.json was changed", "curves.npy was changed"]
    assert changed_files(replace(run, checksum=None), tmp_path) == ["run.json has no checksums"]


def test_another_folder_is_told_from_an_incomplete_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*gone; give one that wsol\.eval or wsol\.score wrote"):
        read_run(tmp_path / "gone")
    (tmp_path / "a" / "val").mkdir(parents=True)
    (tmp_path / "a" / "val" / "run.json").touch()  # of a run that was killed
    with pytest.raises(InputError, match=r"run\.json is missing: .* is no complete run"):
        read_run(tmp_path / "a")
    (tmp_path / "a" / "run.json").touch()
    with pytest.raises(InputError, match=r"is no run but contains some; give one of them, such as .*/a$"):
        read_run(tmp_path)
    (tmp_path / "b").mkdir()
    for name in ("log.csv", "net.safetensors", "state.safetensors"):
        (tmp_path / "b" / name).touch()
    with pytest.raises(InputError, match=r"/b holds a training, no run; .*--weights .*/b/net\.safetensors$"):
        read_run(tmp_path / "b")
    with pytest.raises(InputError, match=r"no complete run; evaluate the weights of each .*/b/net\.safetensors --out"):
        wsol.leaderboard(tmp_path / "b")
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match=r"/c contains no complete run; give one that contains runs of wsol\.eval"):
        wsol.leaderboard(tmp_path / "c")
    with pytest.raises(
        InputError, match=r"; b: the folder contains no run; evaluate .*; c: the folder contains no run; "
    ):
        wsol.leaderboard(tmp_path / "c", tmp_path / "b")


def test_what_is_no_run_is_said(tmp_path: Path, synthetic_model: Model) -> None:
    with pytest.raises(InputError, match=r"run\.json is missing: .* is no complete run"):
        read_run(tmp_path)
    wsol.evaluate(synthetic_model, limit=3, device="cpu", out=tmp_path)
    np.save(tmp_path / "curves.npy", np.zeros((2, 1000), np.float32))
    with pytest.raises(InputError, match=r"do not belong together"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(InputError, match=r"not a run of this version"):
        read_run(tmp_path)
