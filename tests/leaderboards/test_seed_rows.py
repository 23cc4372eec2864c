"""Means over seeds in leaderboards: by hand, and from real trainings."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import wsol
from wsol.compare import main as compare_main
from wsol.leaderboards import Leaderboard
from wsol.leaderboards.render import render_latex, render_markdown, render_text
from wsol.leaderboards.rows import Row, to_csv
from wsol.leaderboards.seeds import average_rows
from wsol.leaderboards.stale import find_stale
from wsol.runs.read import read_run
from wsol.training import Recipe, Stage, train


def row(run: str, seed: int | None, accuracy: float, **more: Any) -> Row:
    row: Row = {"kind": "measured", "group": "odd-test#8:aa|exact", "run": run, "dataset": "odd-test#8:aa"}
    row |= {"model": f"m+14:{run:0>8}+norm:11111111", "method": "cam", "protocol": "exact", "version": "wsol:1"}
    row |= {"tau": "tau:val(odd-val#5:bb)=0.4", "signature": run, "n": 8, "skipped": 0}
    row |= {} if seed is None else {"recipe": "12345678", "seed": seed}
    return row | {"gt_known_loc_acc@val": accuracy} | more


ROWS = [
    row("a1", 0, 70.0),
    row("a2", 1, 73.0, **{"top1_cls_err": 20.0}),  # of one seed only
    row("a3", 2, 76.0, tau="tau:val(odd-val#5:bb)=0.3"),  # chosen by the same rule
    row("a4", 2, 99.0),  # the seed 2 again
    row("b1", 0, 50.0, recipe="87654321"),
    row("b2", 1, 51.0, recipe="87654321", method="layercam"),
    row("c1", 3, 60.0, tau="tau:oracle=0.4"),
    row("d1", None, 60.0),
    row("d2", None, 61.0),
]


def test_means_by_hand() -> None:
    (mean,) = average_rows(ROWS)
    assert mean == {
        "group": "odd-test#8:aa|exact", "recipe": "12345678", "model": "m+14:*+norm:11111111", "method": "cam",
        "tau": "val(odd-val#5:bb)", "seeds": 3, "runs": ["a1", "a2", "a3"], "places": [0, 1, 2],
        "gt_known_loc_acc@val": 73.0, "gt_known_loc_acc@val.sd": 3.0,
    }  # fmt: skip
    assert average_rows(ROWS[3:]) == []
    (ranked,) = average_rows([ROWS[3], *ROWS[:3]])  # the better of two trainings with one seed comes first
    assert ranked == {**mean, "places": [1, 2, 3]}
    board = Leaderboard(ROWS, [])
    assert board.seeds["gt_known_loc_acc@val.sd"].tolist() == [3.0]
    assert "places" not in board.seeds
    assert Leaderboard(ROWS[3:], []).seeds.empty


def test_means_of_one_name_are_told_apart_by_their_recipes() -> None:
    def two(recipe: str, freeze: str | None, epochs: list[int], **more: Any) -> list[Row]:
        settings = {"freeze": freeze, "momentum": 0.9, "stages": [{"epochs": each} for each in epochs]} | more
        more = {"recipe": recipe, "settings": json.dumps(settings)}
        return [row(f"{recipe[0]}{seed}", seed, 50.0, **more) for seed in range(2)]

    rows = [*two("11111111", "features", [5]), *two("22222222", None, [2]), *two("33333333", None, [2], nesterov=True)]
    assert [mean["differs"] for mean in average_rows(rows)] == [
        "freeze=features, epochs=5, nesterov=none",
        "freeze=none, epochs=2, nesterov=none",
        "freeze=none, epochs=2, nesterov=true",
    ]
    assert r"m+14:\*+norm:11111111 freeze=none, epochs=2, nesterov=true | cam" in render_markdown(rows)
    stages = average_rows([*rows[:2], *two("44444444", "features", [5, 6])])
    assert [mean["differs"] for mean in stages] == [
        "epochs=5, stages=none", 'epochs=none, stages=[{"epochs": 5}, {"epochs": 6}]',
    ]  # fmt: skip


def test_the_table_by_hand() -> None:
    text = render_markdown(ROWS)
    assert (
        "over trainings that differ in the seed alone: those of the rows in the first column. "
        "python -m wsol.compare NAME=RUN,RUN,... tests differences over seeds and images.\n\n"
        "| # | model | method | tau | n | GT-known accuracy, val |\n"
        "| --- | --- | --- | --- | --- | --: |\n"
        "| 1, 2, 3 | m+14:\\*+norm:11111111 | cam | val | 3 seeds | 73.0 ± 3.0 |\n"
    ) in text
    assert "73.0 ± 3.0" in render_text(ROWS)
    assert r"3 seeds & 73.0 " in render_latex(ROWS)
    for render in (render_markdown, render_text, render_latex):
        assert "seeds" not in render(ROWS[3:])


def test_a_changed_mean_or_seed_is_found(tmp_path: Path) -> None:
    renderers = {"leaderboard.md": render_markdown}
    files = {"leaderboard.csv": to_csv(ROWS), "leaderboard.md": render_markdown(ROWS)}
    for name, old, new in (
        ("leaderboard.md", "73.0 ± 3.0", "73.0 ± 1.0"),
        ("leaderboard.csv", "12345678,1,", "12345678,5,"),
    ):
        for file, text in files.items():
            (tmp_path / file).write_text(text, encoding="utf-8")
        assert find_stale(tmp_path, ROWS, (), renderers) == []
        assert files[name].count(old) == 1
        (tmp_path / name).write_text(files[name].replace(old, new), encoding="utf-8")
        (fault,) = find_stale(tmp_path, ROWS, (), renderers)
        assert name in fault


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trainings with other seeds, evaluated."""
    folder = tmp_path_factory.mktemp("trained")
    data = {"images": "12", "size": "48", "object_scale": "0.6"}
    for seed in range(2):
        name, recipe = f"s{seed}", Recipe((Stage(1, 48, 6),), learning_rate=0.01, seed=seed)
        weights = train(
            "shufflenet_v2_x0_5-gap", "synthetic", recipe, dataset_args=data, device="cpu", out=folder / "nets" / name,
            validation=False,
        )  # fmt: skip
        wsol.evaluate(weights=weights, dataset="synthetic", dataset_args=data, device="cpu", out=folder / "runs" / name)
    return folder / "runs"


@pytest.mark.slow
def test_trainings_from_end_to_end(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [trained / name for name in ("s0", "s1")]
    for seed, run in enumerate(runs):
        recipe = read_run(run).metadata.provenance.network.recipe
        assert recipe["seed"] == seed
        assert recipe["learning_rate"] == 0.01
        assert recipe["stages"] == [{"epochs": 1, "image_size": 48, "batch_size": 6, "dataset_args": {}}]
    out = tmp_path / "compared"
    assert compare_main([f"plain={','.join(map(str, runs))}", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert " ± " in printed
    assert "plain (2): few seeds" in printed
    metrics = pd.read_csv(out / "metrics.csv").query("run == 'plain' and metric == 'mean_iou' and tau_rule == 'fixed'")
    every = [read_run(run).tables.metrics.query("metric == 'mean_iou' and tau_rule == 'fixed'") for run in runs]
    values = pd.concat(every)["value"]
    assert metrics["value"].item() == pytest.approx(values.mean())
    assert metrics["sd"].item() == pytest.approx(values.std())
    board = wsol.leaderboard(trained, out=tmp_path / "board")
    (mean,) = board.seeds.to_dict("records")
    assert sorted(mean["runs"]) == ["s0", "s1"]
    assert mean["mean_iou@fixed"] == pytest.approx(values.mean())
    assert "2 seeds" in board.text
    assert len(board.rows) == 2
    wsol.leaderboard(trained, out=tmp_path / "board", validate=True)
