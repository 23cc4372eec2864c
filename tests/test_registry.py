"""Registries: one import per name, entry points of other packages, and names that are registered twice."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wsol.errors import InputError
from wsol.metrics.base import Metric
from wsol.registry import Registry

OWN = {
    "__init__": "from wsol.registry import Registry\n\nFRUITS = Registry('fruit', 'fruits')\n",
    "apple": "from fruits import FRUITS\n\nFRUITS.register('apple')('own apple')\n",
    "two_pears": "from fruits import FRUITS\n\nfor name in ('two-pears', 'pear'):\n    FRUITS.register(name)(name)\n",
    "base": "raise AssertionError",
    "_hidden": "raise AssertionError",
}


class Packages:
    """Writes packages to a folder on ``sys.path``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, package: str, modules: dict[str, str]) -> None:
        (self.folder / package).mkdir(exist_ok=True)
        for name, code in modules.items():
            (self.folder / package / f"{name}.py").write_text(code)

    def install(self, package: str, entry_points: dict[str, str], code: dict[str, str]) -> None:
        self.write(package, {"__init__": "", **code})
        info = self.folder / f"{package}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        lines = [f"{name} = {package}.{module}" for name, module in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[fruits]", *lines, ""]))


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    found = Packages(tmp_path)
    found.write("fruits", OWN)
    yield found
    for name in set(sys.modules) - known:
        if (tmp_path / name.partition(".")[0]).exists():
            del sys.modules[name]


def registry() -> "Registry[Any]":
    from fruits import FRUITS  # noqa: PLC0415  # written by the fixture

    return FRUITS


def registering(name: str, value: str) -> str:
    return f"from fruits import FRUITS\n\nFRUITS.register({name!r})({value!r})\n"


@pytest.fixture(autouse=True)
def _no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_name_costs_the_import_of_its_module(packages: Packages) -> None:
    fruits = registry()
    assert fruits.get("apple") == "own apple"
    assert "fruits.two_pears" not in sys.modules
    assert fruits.get("pear") == "pear"  # of another module
    assert fruits.names() == ["apple", "pear", "two-pears"]
    with pytest.raises(InputError, match="unknown fruit 'aple'; did you mean apple"):
        fruits.get("aple")


def test_another_package_adds_an_entry_with_one_file(packages: Packages) -> None:
    code = {"plums": registering("plum", "a plum"), "others": registering("fig", "a fig") + registering("kiwi", "kiwi")}
    packages.install("orchard", {"plum": "plums", "others": "others"}, code)
    fruits = registry()
    assert fruits.get("apple") == "own apple"
    assert "orchard.plums" not in sys.modules
    assert fruits.get("plum") == "a plum"
    assert "orchard.others" not in sys.modules
    assert fruits.get("kiwi") == "kiwi"  # its entry point has another name
    assert fruits.names() == ["apple", "fig", "kiwi", "pear", "plum", "two-pears"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import not_installed", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("def", "SyntaxError"),
    ],
)
def test_an_entry_point_that_fails_is_named_and_skipped(packages: Packages, code: str, error: str) -> None:
    packages.install("broken", {"apple": "bad", "zebra": "bad"}, {"bad": code})
    packages.install("orchard", {"plum": "plums"}, {"plums": registering("plum", "a plum")})
    fruits = registry()
    assert fruits.get("apple") == "own apple"  # nothing else is loaded, so there is no warning
    sentence = rf"^the entry point 'apple' \(fruits\) of broken 1\.2 is skipped, since importing broken\.bad fails with {error}.*; upgrade or uninstall the package$"  # noqa: E501
    with pytest.warns(UserWarning, match=sentence), pytest.warns(UserWarning, match="the entry point 'zebra'"):
        assert fruits.names() == ["apple", "pear", "plum", "two-pears"]
    assert fruits.names() == ["apple", "pear", "plum", "two-pears"]  # the warning comes once


def test_an_entry_point_without_a_module_is_skipped(packages: Packages) -> None:
    packages.install("broken", {"gone": "gone", "odd": "bad:nothing"}, {"bad": ""})
    with pytest.warns(UserWarning, match="'gone'"), pytest.warns(UserWarning, match="AttributeError"):
        assert "apple" in registry().names()


@pytest.mark.parametrize("first", ["apple", "plum"])
def test_an_entry_point_does_not_replace_an_entry(packages: Packages, first: str) -> None:
    code = registering("plum", "a plum") + registering("apple", "their apple")
    packages.install("orchard", {"plum": "plums"}, {"plums": code})
    fruits = registry()
    sentence = "the fruit 'apple' is registered by fruits.apple and by orchard.plums; that of fruits.apple, which no"
    if first == "apple":
        assert fruits.get("apple") == "own apple"
    with pytest.warns(UserWarning, match=sentence):
        assert fruits.get("plum") == "a plum"
    assert fruits.get("apple") == "own apple"
    with pytest.warns(UserWarning, match=f"by fruits.apple and by {__name__}; the later, {__name__}, is used"):
        fruits.register("apple")("mine")
    assert fruits.get("apple") == "mine"
    assert "apple" in fruits.names()
    assert fruits.get("apple") == "mine"


def test_the_later_of_two_registrations_wins(packages: Packages) -> None:
    fruits = registry()
    with pytest.warns(UserWarning, match="'apple' is registered by fruits.apple"):  # though not yet imported
        fruits.register("apple")("first")
    with pytest.warns(UserWarning, match=f"by {__name__} and by {__name__}; the later, {__name__}, is used"):
        fruits.register("apple")("second")
    assert fruits.names() == ["apple", "pear", "two-pears"]
    assert fruits.get("apple") == "second"


def test_an_alias_is_another_word_for_one_entry(packages: Packages) -> None:
    packages.write("fruits", {"malus": "from fruits import FRUITS\n\nFRUITS.register('malus', alias='crab')('tree')\n"})
    fruits = registry()
    assert (fruits.get("crab"), fruits.get("malus")) == ("tree", "tree")
    assert (fruits.canonical("crab"), fruits.canonical("apple")) == ("malus", "apple")
    assert fruits.names() == ["apple", "malus", "pear", "two-pears"]
    assert fruits.titles() == ["apple", "malus (or crab)", "pear", "two-pears"]
    with pytest.raises(InputError, match="unknown fruit 'crub'; did you mean crab"):
        fruits.get("crub")
    assert fruits.canonical("crub") == "crub"
    with pytest.warns(UserWarning, match="'crab' is registered by fruits.malus"):
        fruits.register("crab")("an animal")
    assert (fruits.get("crab"), fruits.canonical("crab"), fruits.get("malus")) == ("an animal", "crab", "tree")
    assert "crab" in fruits.names()


def test_an_alias_of_another_package_replaces_no_entry(packages: Packages) -> None:
    code = "from fruits import FRUITS\n\nFRUITS.register('plum', alias='apple')('a plum')\n"
    packages.install("orchard", {"plum": "plums"}, {"plums": code})
    fruits = registry()
    with pytest.warns(UserWarning, match="that of fruits.apple, which no entry point replaces, is used"):
        assert fruits.get("plum") == "a plum"
    assert (fruits.get("apple"), fruits.canonical("apple")) == ("own apple", "apple")


def test_functions_classes_and_instances(packages: Packages) -> None:
    fruits = registry()

    @fruits.register("function")
    def function() -> int:
        return 1

    @fruits.register("class")
    @dataclass(frozen=True)
    class Settings:
        size: int = 3
        name = ""

    fruits.register("instance")(Settings(4))
    assert fruits.get("function") is function
    assert (fruits.get("class"), Settings.name) == (Settings(3), "class")
    assert fruits.get("instance") == Settings(4)
    assert fruits.find("class:size=5") == Settings(5)


@pytest.mark.parametrize("name", ["", "a b", "a|b", "a:b", "a,b", "a=b", "../a", "a\n"])
def test_names_that_a_signature_cannot_hold(packages: Packages, name: str) -> None:
    with pytest.raises(ValueError, match="may have letters, digits"):
        registry().register(name)


def test_a_registry_may_create_its_entries(packages: Packages) -> None:
    metrics: Registry[Metric] = Registry("metric", "fruits", create=Metric)

    @metrics.register("one", title="One")
    @metrics.register("two", better="lower")
    def curves(stats: Any) -> Any:
        return stats.curves

    assert metrics._entries["one"] == Metric("one", curves, title="One")
    assert metrics._entries["two"] == Metric("two", curves, better="lower")


@pytest.mark.slow
def test_the_modules_of_this_package_register_no_name_twice() -> None:
    code = """
from wsol.baselines import BASELINES
from wsol.datasets import DATASETS
from wsol.methods import METHODS
from wsol.metrics.base import METRICS
from wsol.models import MODELS
from wsol.protocols import PROTOCOLS
import importlib, sys, warnings

added = {}
for registry in (BASELINES, DATASETS, METHODS, METRICS, MODELS, PROTOCOLS):
    keep = registry._add
    def add(name, entry, module, registry=registry, keep=keep):
        assert (registry.kind, name) not in added, (name, module)
        assert module.startswith("wsol."), module
        added[registry.kind, name] = entry
        keep(name, entry, module)
    registry._add = add
    before = set(registry._entries)
    assert registry.names()
    assert {name for kind, name in added if kind == registry.kind} | before == set(registry.names())
"""
    subprocess.run([sys.executable, "-W", "error::UserWarning:wsol", "-c", code], check=True)
