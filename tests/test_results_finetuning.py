"""The committed study of fine-tuning: its page has the tables in its files, and these agree with each other."""

from pathlib import Path

import _finetuning_report as report
import numpy as np
import pandas as pd
import pytest

HOME = Path(__file__).parents[1] / "results" / "finetuning"
KEY = ["data", "row", "metric", "tau_rule"]


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return report.read_tables(HOME)


def test_the_page_has_the_tables_in_its_files(tables: dict[str, pd.DataFrame]) -> None:
    text = (HOME / "README.md").read_text(encoding="utf-8")
    assert text.startswith(report.INTRODUCTION)
    assert report.to_markdown(tables) in text
    assert len(text.partition(report.READING)[2]) > 500  # conclusions
    files = {path.name for path in HOME.iterdir()}
    assert files == {*(f"{name}.csv" for name in report.FILES), "README.md", "gt-known.webp"}  # and no photograph


def test_every_trained_row_has_three_seeds_on_the_same_images(tables: dict[str, pd.DataFrame]) -> None:
    board = tables["leaderboard"]
    trained = set(tables["errors"]["row"])
    assert trained == {f"{network}-{how}" for network in ("squeezenet", "efficientnet") for how in ("frozen", "whole")}
    for (data, row), runs in board.groupby(["data", "row"]):
        assert runs["signature"].nunique() == runs["seed"].nunique() == (3 if row in trained else 1), (data, row)
        assert runs.groupby("seed")["signature"].nunique().eq(1).all()
    for _, runs in board.groupby("data"):
        fields = runs["signature"].str.split("|")
        assert fields.str[0].nunique() == fields.str[3].nunique() == runs["images"].nunique() == 1


def test_mean_spread_and_cost_of_tau_follow_from_the_runs(tables: dict[str, pd.DataFrame]) -> None:
    runs = tables["leaderboard"].groupby(KEY)["value"].apply(list)
    seeds = tables["seeds"].set_index(KEY)
    assert {*runs.index} == {*seeds.index}
    for key, values in runs.items():
        line = seeds.loc[key]
        assert line["mean"] == pytest.approx(np.mean(values), abs=2e-4)
        spread = np.std(values, ddof=1) if len(values) > 1 else np.nan
        assert line["sd"] == pytest.approx(spread, abs=2e-4, nan_ok=True)
    values = tables["leaderboard"].set_index([*KEY, "seed"])["value"]
    for line in tables["tau"].itertuples():
        oracle, val = (values[line.data, line.row, "gt_known_loc_acc", rule, line.seed] for rule in ("oracle", "val"))
        assert line.cost == pytest.approx(oracle - val, abs=2e-4)
        assert line.cost >= 0  # the oracle is the best tau


def test_differences_and_ranks_follow_from_the_means(tables: dict[str, pd.DataFrame]) -> None:
    seeds, gaps = tables["seeds"].set_index(KEY), tables["differences"]
    pairs = gaps[["data", "metric", "tau_rule"]].assign(
        pair=[*map(frozenset, zip(gaps["row"], gaps["other"], strict=True))]
    )
    assert not pairs.duplicated().any()
    worse = dict.fromkeys(seeds.index, 0)
    for line in gaps.itertuples():
        one, other = ((line.data, row, line.metric, line.tau_rule) for row in (line.row, line.other))
        assert line.difference == pytest.approx(seeds["mean"][one] - seeds["mean"][other], abs=3e-4)
        assert line.ci_low <= line.difference <= line.ci_high
        assert (
            line.p_corrected >= 0.05 if line.better == "tie" else line.p_corrected <= 0.05
        )  # four decimals are stored
        if line.better != "tie":
            worse[other if line.better == line.row else one] += 1
    ranked = seeds[seeds["rank"].notna()]
    assert len(ranked) > 100
    for key, rank in ranked["rank"].items():
        assert rank == 1 + worse[key], key


def test_the_shares_of_the_error_types_add_up(tables: dict[str, pd.DataFrame]) -> None:
    assert tables["errors"].groupby(["data", "row", "seed"])["share"].sum().to_numpy() == pytest.approx(100, abs=1e-2)


def test_the_images_for_a_difference() -> None:
    """An interval of +-5 points has a standard error of 2.55; 80 % power needs 1.786: 2.04 times the images."""
    assert report.images_needed(10.0, 100) == 205
