"""A search with stubbed trainings: what is drawn, chosen, kept, shared and resumed."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from search_stubs import LIMIT, Stubs, value_of

import wsol
from wsol.errors import InputError, NotFiniteError
from wsol.evaluation.config import EvalConfig
from wsol.io.lock import lock_folder
from wsol.runtime.distributed import process_group, separate_processes
from wsol.search import main
from wsol.searches import Search, share
from wsol.searches.config import read_search
from wsol.searches.terminal import format_search

TEXT = """
by = "max_box_acc_v2"
dataset_args = { images = 12, size = 32, object_scale = 0.6 }
trials = 5
seeds = 2
models = ["net"]
[training]
learning_rate = { uniform = [0.01, 1.0] }
[train_methods.cam]
[train_methods.blur]
grid = 3
rate = { uniform = [0, 1] }
"""
_fork = multiprocessing.get_context("fork")


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> Stubs:
    return Stubs(monkeypatch)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write_text(text: str) -> Path:
        path = tmp_path / "search.toml"
        path.write_text(text)
        return path

    return write_text


@pytest.fixture
def begin(write: Callable[[str], Path], tmp_path: Path) -> Callable[..., Search]:
    """Runs the search in ``tmp_path/out``."""
    return lambda text=TEXT: wsol.search(write(text), out=tmp_path / "out")


def without_times(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="seconds")


def test_the_best_on_val_is_trained_again_and_evaluated_on_test(
    begin: Callable[..., Search], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubs = Stubs(monkeypatch, figure=True)
    found = begin()
    trials = found.trials
    assert trials[["network", "method", "trial"]].to_numpy().tolist() == [
        ["net", method, trial] for method in ("cam", "blur") for trial in range(1, 6)
    ]
    cam, blur = (trials[trials.method == method].reset_index() for method in ("cam", "blur"))
    assert (cam.learning_rate == blur.learning_rate).all()  # methods are compared at the same draws
    assert cam["blur.rate"].isna().all()
    assert blur["blur.rate"].between(0, 1).all()
    diverged = cam.learning_rate > LIMIT
    assert 0 < diverged.sum() < 4
    assert cam.status.tolist() == ["diverged" if each else "done" for each in diverged]
    assert cam.value.isna().tolist() == diverged.tolist()  # no result, and not a zero
    assert set(cam.reason[diverged]) == {"the loss grew"}
    values = [value_of(rate, 0, "val") for rate in cam.learning_rate[~diverged]]
    assert cam.value[~diverged].tolist() == pytest.approx(values)
    best = int(cam.learning_rate[~diverged].idxmax())
    assert cam.best.tolist() == blur.best.tolist() == [i == best for i in range(5)]
    rate = cam.learning_rate[best]
    assert [value_of(each, 0, "test") for each in cam.learning_rate[~diverged]].index(
        value_of(rate, 0, "test")
    ) != np.argmax([value_of(each, 0, "test") for each in cam.learning_rate[~diverged]])  # another is better on test

    assert [(config.split, config.tau, config.bootstrap) for config in stubs.evaluated] == [
        *[("val", "oracle", 0)] * int(2 * (~diverged).sum()), *[("test", "val", 1000)] * 4
    ]  # fmt: skip
    assert found.seeds[["method", "trial", "seed"]].to_numpy().tolist() == [
        [method, best + 1, seed] for method in ("cam", "blur") for seed in (1, 2)
    ]
    expected = [value_of(rate, seed, "test") for seed in (1, 2)]
    assert found.seeds.value.tolist() == pytest.approx(2 * expected)
    row = found.test[found.test.metric == "max_box_acc_v2"].iloc[0]
    assert row["mean"] == pytest.approx(sum(expected) / 2)
    assert row["sd"] == pytest.approx(abs(expected[0] - expected[1]) / 2**0.5)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((row["mean"] - 5, row["mean"] + 5))
    choice = stubs.choices[-1]
    assert choice is not None
    images = found.images
    assert choice.suffix == f"+best-of-5-trials(max_box_acc_v2,{images})"
    assert f"those of trial {best + 1}, the best of 5 by max_box_acc_v2 on {images} (" in choice.note
    assert f"learning_rate {rate}" in choice.note

    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"trials", "seeds", "trials.csv", "seeds.csv", "test.csv", "trials.png"}
    for name, table in (("trials", trials), ("seeds", found.seeds), ("test", found.test)):
        assert len(pd.read_csv(tmp_path / "out" / f"{name}.csv")) == len(table)
    folder = tmp_path / "out" / "trials" / "net-blur-001"
    assert {path.name for path in folder.iterdir()} == {"training", "trial.json"} | (set() if diverged[0] else {"val"})
    assert not [*(tmp_path / "out").rglob("state.safetensors")]
    assert found.runs("net") == {
        method: [
            tmp_path / "out" / "seeds" / "best-of-5" / f"net-{method}-{best + 1:03d}-seed{s}" / "test" for s in (1, 2)
        ]
        for method in ("cam", "blur")
    }
    assert stubs.compared == [(found.runs("net"), tmp_path / "out" / "comparisons" / "net")]
    assert found.comparisons == {"net": "comparison of cam, blur"}


def test_trials_take_turns(stubs: Stubs, begin: Callable[..., Search]) -> None:
    begin()
    names = [folder.name for folder in stubs.trained[:10]]
    assert names == [f"net-{method}-{trial:03d}" for trial in range(1, 6) for method in ("cam", "blur")]


@pytest.mark.slow
def test_a_finished_search_is_read_back_and_more_of_anything_leaves_its_trials(
    stubs: Stubs, begin: Callable[..., Search], tmp_path: Path
) -> None:
    first = begin()
    count = len(stubs.trained)
    again = begin()
    assert len(stubs.trained) == count
    pd.testing.assert_frame_equal(again.trials, first.trials)
    pd.testing.assert_frame_equal(again.test, first.test)
    more = begin(TEXT.replace("trials = 5", "trials = 8"))
    same = more.trials[more.trials.trial <= 5].drop(columns="best").reset_index(drop=True)
    pd.testing.assert_frame_equal(same, first.trials.drop(columns="best"))
    assert [path.name for path in stubs.trained[count : count + 6]] == [
        f"net-{method}-{trial:03d}" for trial in (6, 7, 8) for method in ("cam", "blur")
    ]
    assert all(path.parent.name == "best-of-8" for path in stubs.trained[count + 6 :])
    best = tmp_path / "out" / "seeds" / "best-of-8"
    assert format_search(more).splitlines()[-1] == f"rank: python -m wsol.leaderboard {best}"
    count = len(stubs.trained)
    begin(TEXT.replace("trials = 5", "trials = 8").replace('["net"]', '["net", "deep"]'))
    assert {path.name[:4] for path in stubs.trained[count:]} == {"deep"}


def test_without_seeds_the_split_test_is_never_read(
    stubs: Stubs, begin: Callable[..., Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsol.datasets import _load  # noqa: PLC0415

    original = _load.DATASETS.get("synthetic")

    def refuse(split: str, **arguments: str) -> Any:
        assert split != "test"
        return original(split, **arguments)

    monkeypatch.setitem(_load.DATASETS._entries, "synthetic", refuse)
    refuse.__signature__ = __import__("inspect").signature(original)  # type: ignore[attr-defined]
    found = begin(TEXT.replace("seeds = 2", "seeds = 0"))
    assert {config.split for config in stubs.evaluated} == {"val"}
    assert found.trials.best.sum() == 2
    assert (len(found.seeds), len(found.test), found.comparisons, stubs.compared) == (0, 0, {}, [])


def test_a_method_of_which_every_trial_diverges_has_no_best(stubs: Stubs, begin: Callable[..., Search]) -> None:
    found = begin(TEXT.replace("[0.01, 1.0]", "[0.6, 1.0]"))
    assert set(found.trials.status) == {"diverged"}
    assert not found.trials.best.any()
    assert len(found.seeds) == 0
    assert stubs.evaluated == []


def test_a_trained_network_that_computes_nothing_finite_has_diverged(
    stubs: Stubs, begin: Callable[..., Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: EvalConfig, choice: object = None) -> Any:
        if "cam-002" in str(config.weights):
            raise NotFiniteError("the class scores are not finite")
        return stubs.run(config)

    monkeypatch.setattr("wsol.searches.trials.run", fail)
    trials = begin(TEXT.replace("[0.01, 1.0]", "[0.01, 0.4]")).trials
    (row,) = trials[trials.status == "diverged"].to_dict("records")
    assert (row["method"], row["trial"], row["reason"]) == ("cam", 2, "the class scores are not finite")
    assert np.isnan(row["value"])


def test_trials_with_other_options_are_refused(stubs: Stubs, begin: Callable[..., Search], tmp_path: Path) -> None:
    begin()
    for change, sentence in (
        (
            ("[0.01, 1.0]", "[0.02, 1.0]"),
            "net-cam-001 holds a trial with learning_rate = .*, not .*; give the same value",
        ),
        (("grid = 3", "grid = 2"), "net-blur-001 holds a trial with train_method = blur:grid=3,.*, not blur:grid=2"),
        (('"max_box_acc_v2"', '"gt_known_loc_acc"'), "holds a trial with by = max_box_acc_v2, not gt_known_loc_acc"),
        (("images = 12", "images = 24"), "holds a trial with train = synthetic-train"),
        (("[training]", "[evaluation]\nlayer = 'x'\n[training]"), "with evaluation.layer = None, not x"),
        (("[training]", "[training]\nweights = 'x'"), "holds a trial with weights = None, not x"),
    ):
        assert change[0] in TEXT
        with pytest.raises(InputError, match=sentence):
            begin(TEXT.replace(*change))
    begin(TEXT.replace("[training]", "[evaluation]\nbatch_size = 7\n[training]\nworkers = 1"))  # decides no number
    path = tmp_path / "out" / "trials" / "net-cam-002" / "trial.json"
    for text in ("{", '{"status": "done"}', path.read_text().replace('"status": "', '"status": "half ')):
        path.write_text(text)
        with pytest.raises(InputError, match=r"trial\.json is no result of a trial \(.*\); delete it to run the trial"):
            begin()


def test_another_error_stops_the_search_and_names_the_trial(
    stubs: Stubs, begin: Callable[..., Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **more: object) -> None:
        raise InputError("1.png is missing")

    with monkeypatch.context() as patch:
        patch.setattr("wsol.searches.trials.train", fail)
        with pytest.raises(InputError, match=r"^trial 1 of net with cam: 1\.png is missing"):
            begin()
    assert len(begin().trials) == 10


def test_the_command(
    stubs: Stubs, write: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write(TEXT)), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith("MaxBoxAccV2 on synthetic-val(size=32,object_scale=0.6)#12:")
    assert re.match(r"net +cam +5 +\d +\d+\.\d{3} +\d+\.\d{3}  learning_rate 0\.\d+$", lines[3])
    assert re.match(r"net +blur +5 +\d +\d+\.\d{3} +\d+\.\d{3}  learning_rate 0\.\d+, blur\.rate 0\.\d+$", lines[4])
    assert re.search(r"^net +cam +2 +\d+\.\d\d \+- 0\.71 \[[\d.]+, [\d.]+\] ", printed.out, re.M)
    assert "\n\nnet, all seeds on test:\n\ncomparison of cam, blur\n\n" in printed.out
    assert "wsol: trial 1 of net with cam: learning_rate " in printed.err
    assert ": diverged, the loss grew\n" in printed.err
    assert main([str(tmp_path / "none.toml")]) == 2
    assert capsys.readouterr().err == f"wsol: there is no search file {tmp_path / 'none.toml'}\n"
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"wsol: {tmp_path} is a folder; give a search file in TOML\n"


def test_the_help_has_a_search_file(capsys: pytest.CaptureFixture[str], write: Callable[[str], Path]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    example = textwrap.dedent(printed.partition("describe all keys:\n\n")[2])
    assert len(read_search(write(example)).candidates) == 4


def test_torchrun_starts_separate_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # joining a group would wait for the others
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "3")
    with separate_processes():
        group = process_group()
    assert (group.rank, group.size, group.local_size, group.is_main) == (0, 1, 2, True)


def test_an_error_of_any_process_is_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "3")
    assert main([str(tmp_path / "none.toml")]) == 2
    assert "there is no search file" in capsys.readouterr().err


def fork(work: Callable[..., Any], *arguments: Any) -> Any:
    """Start a process that has this one's stubs."""
    child = _fork.Process(target=work, args=arguments)
    child.start()
    return child


@pytest.mark.slow
def test_processes_share_the_trials(
    stubs: Stubs, write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out, train = write(TEXT), tmp_path / "out", stubs.train
    monkeypatch.setattr(share, "_SECONDS", 0.02)

    def log(*given: Any, **options: Any) -> Path:
        with (tmp_path / "log").open("a") as file:
            file.write(f"{options['out'].parent.name} {os.getpid()}\n")
        time.sleep(0.05)
        return train(*given, **options)

    monkeypatch.setattr("wsol.searches.trials.train", log)
    children = [fork(lambda: wsol.search(path, out=out)) for _ in range(2)]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    names, processes = zip(*(line.split() for line in (tmp_path / "log").read_text().splitlines()), strict=True)
    assert len(names) == len(set(names)) == 14
    assert len(set(processes)) == 2
    together = wsol.search(path, out=out)
    assert len((tmp_path / "log").read_text().splitlines()) == 14
    alone = wsol.search(path, out=tmp_path / "alone")
    pd.testing.assert_frame_equal(without_times(together.trials), without_times(alone.trials))
    pd.testing.assert_frame_equal(together.test, alone.test)
    assert not [*out.rglob("lock")]


def test_a_trial_that_another_process_finishes_just_before_is_not_run_again(
    stubs: Stubs, write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = write(TEXT.replace("trials = 5", "trials = 2")), tmp_path / "other"
    wsol.search(path, out=other)
    stubs.trained.clear()

    def finish(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.name == "net-cam-002":
            shutil.copytree(other / "trials" / folder.name, folder, dirs_exist_ok=True)

    monkeypatch.setattr(share, "ensure_dir", finish)
    assert len(wsol.search(path, out=tmp_path / "out").trials) == 4
    assert len(stubs.trained) == 7
    assert "net-cam-002" not in {folder.name for folder in stubs.trained}


def test_a_trial_of_a_killed_process_is_taken_over(
    stubs: Stubs, write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out, folder = tmp_path / "out", tmp_path / "out" / "trials" / "net-cam-002"

    def hold() -> None:
        folder.mkdir(parents=True)
        with lock_folder(folder):
            time.sleep(60)

    holder = fork(hold)
    while not (folder / "lock").exists() or not (folder / "lock").read_text():
        time.sleep(0.01)

    monkeypatch.setattr(share, "time", SimpleNamespace(sleep=lambda seconds: (holder.kill(), holder.join())))
    found = wsol.search(write(TEXT), out=out)
    assert len(found.trials) == 10
    assert stubs.trained.count(folder) == 1
    assert "waiting for 1 trials of other processes" in capsys.readouterr().err


class _Death:
    """Kills the process before its n-th renaming or removal of a file."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.left = f"{folder}/", n

    def __call__(self, event: str, arguments: Sequence[object]) -> None:
        if event in ("os.rename", "os.remove") and str(arguments[0]).startswith(self.folder):
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1


@pytest.mark.slow
def test_killed_between_any_two_changes_of_files_a_search_ends_like_one_that_was_not(
    stubs: Stubs, write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        TEXT.replace("trials = 5", "trials = 2")
        .replace("[train_methods.cam]", "")
        .replace("[0.01, 1.0]", "[0.01, 0.4]")
    )
    whole = wsol.search(path, out=tmp_path / "whole")

    def die(out: Path, n: int) -> None:
        sys.addaudithook(_Death(out, n))
        wsol.search(path, out=out)

    kills, out = 0, tmp_path / "out"
    while True:
        child = fork(die, out, kills + 1)
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        kills += 1
    assert kills > 5
    found = wsol.search(path, out=out)
    pd.testing.assert_frame_equal(without_times(found.trials), without_times(whole.trials))
    pd.testing.assert_frame_equal(found.test, whole.test)
    files = [
        sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.name != "lock")
        for folder in (out, tmp_path / "whole")
    ]
    assert files[0] == files[1]
    assert json.loads((out / "seeds" / found.seeds.folder[0] / ".." / "trial.json").read_text())["status"] == "done"
