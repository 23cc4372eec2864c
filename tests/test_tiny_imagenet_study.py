"""The page of the study on Tiny ImageNet says what its tables say."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "tiny-imagenet"
MODULES = ("_tiny_imagenet_report", "_tiny_imagenet_tables")


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that writes the page."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("_tiny_imagenet_report")
    for name in MODULES:  # forgotten at the end of the test
        monkeypatch.setitem(sys.modules, name, sys.modules[name])
    return module


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    """CAM with two seeds, two methods, and three baselines, as wsol.compare and the study give them."""
    values = {"cam": 60.0, "has": 66.0, "adl": 61.0, "center-gaussian": 63.0, "full-image": 50.0, "center-box": 40.0}
    metrics = [
        {"run": run, "metric": metric, "tau_rule": rule, "value": value + shift, "sd": 0.7 if run == "cam" else None}
        | {"ci_low": value + shift - 2, "ci_high": value + shift + 3, "rank": 1}
        for run, value in values.items()
        for metric, rule, shift in (
            ("max_box_acc_v2", "oracle", 0.0),
            ("gt_known_loc_acc", "val", 5.0),
            ("gt_known_loc_acc", "oracle", 7.5 if run == "has" else 5.5),
        )
    ]
    names = [*values]
    pairs = [(first, second) for i, first in enumerate(names) for second in names[i + 1 :]]
    differences = [
        {
            "run": first,
            "other": second,
            "metric": metric,
            "tau_rule": rule,
            "difference": (gap := values[first] - values[second]),
        }
        | {"ci_low": gap - 1, "ci_high": gap + 2, "p_corrected": 0.01 if abs(gap) > 2 else 0.4}
        | {"better": "tie" if abs(gap) <= 2 else first if gap > 0 else second}
        for first, second in pairs
        for metric, rule in (("max_box_acc_v2", "oracle"), ("gt_known_loc_acc", "val"))
    ]
    runs = [("cam", 0, 59.5), ("cam", 1, 60.5), ("has", 0, 66.0), ("adl", 0, 61.0)]
    shares = {"correct": 40.0, "class": 30.0, "multi": 0.0, "part": 10.0, "more": 15.0, "other": 5.0}
    return {
        "metrics": pd.DataFrame(metrics),
        "differences": pd.DataFrame(differences),
        "runs": pd.DataFrame(
            [
                {"method": method, "seed": seed, "epochs": 10, "images": 1000, "max_box_acc_v2@oracle": value}
                for method, seed, value in runs
            ]
        ),
        "errors": pd.DataFrame(
            [
                {
                    "method": method,
                    "seed": seed,
                    "error": error,
                    "share": share + seed * ((error == "part") - (error == "more")),
                }
                for method, seed, _ in runs
                for error, share in shares.items()
            ]
        ),
        "speeds": pd.DataFrame(
            [
                {"method": "cam", "seed": 0, "images": 1000, "seconds": 20.0, "processor_seconds": 10.0},
                {"method": "cam", "seed": 1, "images": 500, "seconds": 20.0, "processor_seconds": 20.0},
            ]
        ),
        "curves": pd.DataFrame({"tau": [0.0, 0.5, 1.0], **{name: [50.0, 60.0, 0.0] for name in names}}),
    }


def test_rows_and_sentences_by_hand(report: ModuleType, tables: dict[str, pd.DataFrame]) -> None:
    page = report.to_markdown("20-classes", tables)
    assert "## 20 classes, 10 epochs, 1000 test images\n" in page
    assert " --work DIR --classes 20 --epochs 10 --methods cam has adl\n" in page
    assert "| `cam` | 2 | 60.0 ± 0.7 [58.0, 63.0] |  | 1 | 65.0 ± 0.7 [63.0, 68.0] | 0.5 |  |  |" in page
    assert (
        "| `has` | 1 | 66.0 [64.0, 69.0] | +6.0 [+4.0, +7.0], p = 0.010 | 1 | 71.0 [69.0, 74.0] | 2.5 |  |  |" in page
    )
    assert "| `center-box` |  | 40.0 [38.0, 43.0] | -20.0 [-22.0, -19.0], p = 0.010 |" in page
    assert (
        "- **MaxBoxAccV2, the methods and CAM.** Above `cam` beyond chance: `has` (+6.0 [+4.0, +7.0], p = 0.010); "
        "tied with `cam`: `adl` (+1.0 [-1.0, +2.0], p = 0.400)." in page
    )
    assert (
        "- **MaxBoxAccV2, the methods and a center Gaussian.** Above `center-gaussian` beyond chance: `has` "
        "(+3.0 [+2.0, +5.0], p = 0.010); below `center-gaussian` beyond chance: `cam` (-3.0 [-4.0, -1.0], p = 0.010); "
        "tied with `center-gaussian`: `adl` (-2.0 [-3.0, +0.0], p = 0.400)." in page
    )
    assert "it loses 0.5 (`adl`) to 2.5 points (`has`) of GT-known accuracy." in page
    assert "right 40.0 %, wrong class 30.0 %" in page
    assert "a part of the object 10.5 %, more than the object 14.5 %, elsewhere 5.0 %." in page  # means over the seeds
    assert "`cam` 50.0." in page  # 1500 images in 30 seconds of processor time
    names = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert names == ["has", "adl", "cam", "center-gaussian", "full-image", "center-box"]


def test_the_page_and_the_picture_are_written_and_conclusions_stay(
    report: ModuleType, tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    (tmp_path / "20-classes").mkdir()
    for name, table in tables.items():
        table.to_csv(tmp_path / "20-classes" / f"{name}.csv", index=False)
    (tmp_path / "README.md").write_text("old text\n## Conclusions\n\nWritten by hand.\n")
    report.write_report(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# Training methods on Tiny ImageNet")
    assert text.endswith("## Conclusions\n\nWritten by hand.\n")
    assert report.to_markdown("20-classes", tables) in text
    assert (tmp_path / "20-classes" / "study.webp").stat().st_size > 1000


@pytest.mark.skipif(not RESULTS.is_dir(), reason="the results of the study are not committed")
def test_the_committed_page_has_the_committed_tables(report: ModuleType) -> None:
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    budgets = report.read_budgets(RESULTS)
    assert budgets
    for name, tables in budgets.items():
        assert report.to_markdown(name, tables) in text
        board = pd.read_csv(RESULTS / name / "leaderboard.csv")
        assert {*tables["runs"]["signature"]} <= {*board["signature"]}
        assert tables["runs"]["signature"].str.split("|").str[0].nunique() == 1
    assert len(text.partition(report.CONCLUSIONS)[2]) > 500
