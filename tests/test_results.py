"""Committed results agree with each other."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
METHODS = ROOT / "results" / "methods"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that writes the page of the methods."""
    spec = importlib.util.spec_from_file_location("_methods_report", ROOT / "benchmarks" / "_methods_report.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_methods_has_the_tables_in_its_files(report: ModuleType) -> None:
    tables = report.read_tables(METHODS)
    text = (METHODS / "README.md").read_text(encoding="utf-8")
    assert len(tables) == len(list(METHODS.glob("*.csv"))) >= 4
    assert report.to_markdown(tables) in text
    assert len(text.partition(report.READING)[2]) > 500  # conclusions


def test_all_rows_of_a_table_of_methods_have_the_same_images(report: ModuleType) -> None:
    for (network, kind), table in report.read_tables(METHODS).items():
        signatures = table["signature"].str.split("|")
        assert signatures.str[0].nunique() == table["images"].nunique() == 1
        assert (table["images"].iloc[0] == 270) == (kind != "slow")
        assert signatures.str[1].str.extract("([^@:]*)")[0].nunique() == 1, network
        assert table.loc[table["difference"].isna(), "method"].unique().tolist() == ["cam"]
