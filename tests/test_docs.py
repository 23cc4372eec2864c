"""The documentation: it builds, its commands and code run, and it knows of everything that has a name."""

import argparse
import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wsol
from wsol.baselines import BASELINES
from wsol.datasets import DATASETS
from wsol.methods import METHODS
from wsol.metrics.base import METRICS
from wsol.metrics.error_types import ERROR_TYPES
from wsol.protocols import PROTOCOLS
from wsol.runs.store import FILES, FOLDERS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
WRITTEN = [*PAGES, DOCS / "tutorial.ipynb", ROOT / "README.md", *sorted((ROOT / "datasets").glob("*.md"))]
# A command: what follows it up to the end of the line or of the code, and lines that a backslash continues.
COMMAND = re.compile(r"python -m wsol\.(\w+)((?:[^`\n\\]|\\\n)*)")
# Of Choe et al.; their others have an underscore, which none of ours has.
THEIRS = {"--architecture", "--pretrained", "--lr"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"]) if path.suffix == ".ipynb" else text


def commands(path: Path) -> list[tuple[str, list[str]]]:
    """The module and the arguments of every whole command on a page."""
    found = COMMAND.findall(text_of(path))
    return [(name, shlex.split(rest.replace("\\\n", " "))) for name, rest in found if "..." not in rest]


class Stopped(Exception):  # noqa: N818  # no error: a command got as far as it should
    """Carries the parser of a command."""


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], argparse.ArgumentParser]:
    """Gives the parser of a command, which is stopped where it would read its arguments."""

    def stop(self, args=None, namespace=None):
        raise Stopped(self)

    def find(name: str) -> argparse.ArgumentParser:
        with monkeypatch.context() as patch:
            patch.setattr(argparse.ArgumentParser, "parse_args", stop)
            with pytest.raises(Stopped) as stopped:
                importlib.import_module(f"wsol.{name}").main([])
        return stopped.value.args[0]

    return find


def test_there_are_pages_and_commands() -> None:
    assert len(PAGES) > 25
    assert sum(len(commands(path)) for path in WRITTEN) > 30


@pytest.mark.parametrize("path", WRITTEN, ids=named)
def test_commands_are_understood_and_name_what_there_is(path: Path, parser) -> None:
    for name, arguments in commands(path):
        command = parser(name)
        options = {word for word in arguments if word.startswith("-")}
        assert options <= command._option_string_actions.keys()  # none is shortened
        if "--help" in options:
            continue
        given = vars(command.parse_args(arguments))
        if given.get("dataset"):
            assert given["dataset"] in DATASETS.names()
        for key, registry in (("method", METHODS), ("protocol", PROTOCOLS)):
            if given.get(key):
                registry.find(given[key])


@pytest.mark.parametrize("path", WRITTEN, ids=named)
def test_options_in_the_text_are_some_commands(path: Path, parser) -> None:
    named_anywhere = {name for page in WRITTEN for name in COMMAND.findall(text_of(page))}
    known = {option for name in {name for name, _ in named_anywhere} for option in parser(name)._option_string_actions}
    spans = re.findall(r"`(--[^`]+)`", text_of(path))
    options = {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", span)}
    assert {option for option in options if "_" not in option} - known - THEIRS == set()


@pytest.mark.parametrize("path", WRITTEN, ids=named)
def test_settings_in_the_text_are_taken(path: Path) -> None:
    text = text_of(path)
    known = {name: registry for registry in (METHODS, PROTOCOLS) for name in registry.names()}
    for name, settings in re.findall(r"(?<![\w-])([a-z][\w+-]*):((?:\w+=[\w.]+)(?:,\w+=[\w.]+)*)", text):
        if name in known:
            known[name].find(f"{name}:{settings}")


def test_code_runs(tmp_path: Path) -> None:
    """All pages in one process of its own: what they register is not for other tests, and torch is slow to import."""
    runner = """
import re, sys
for page in sys.argv[1:]:
    with open(page, encoding="utf-8") as file:
        blocks = re.findall(r"^```python\\n(.*?)^```$", file.read(), re.S | re.M)
    names = {}
    for place, block in enumerate(blocks):
        exec(compile(block, f"{page}, block {place}", "exec"), names)
"""
    pages = [str(path) for path in PAGES if "```python" in path.read_text(encoding="utf-8")]
    assert len(pages) >= 6
    call = [sys.executable, "-c", runner, *pages]
    done = subprocess.run(call, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def headings(folder: str) -> Iterator[str]:
    for path in sorted((DOCS / folder).glob("*.md")):
        if path.name != "index.md":
            yield from re.findall(r"^## (\S+)$", path.read_text(encoding="utf-8"), re.M)


def test_every_method_has_a_place_with_its_docstring_and_settings() -> None:
    assert sorted(headings("methods")) == METHODS.names()
    text = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "methods").glob("*.md"))
    for name in METHODS.names():
        kind = type(METHODS.get(name))
        assert f"## {name}\n" in text
        assert f"::: {kind.__module__}.{kind.__name__}\n" in text
        for setting in vars(METHODS.get(name)):
            assert re.search(rf"`{re.escape(name)}:[^`]*\b{setting}=", text), f"{name}: {setting}"


def test_methods_stand_with_those_that_need_the_same() -> None:
    for path in (DOCS / "methods").glob("*.md"):
        names = re.findall(r"^## (\S+)$", path.read_text(encoding="utf-8"), re.M)
        needs = {METHODS.get(name).needs for name in names if name in METHODS.names()}
        assert needs in (set(), {path.stem.replace("-", " ")})


@pytest.mark.parametrize(("folder", "registry"), [("datasets", DATASETS), ("protocols", PROTOCOLS)])
def test_every_data_set_and_protocol_has_a_page(folder: str, registry) -> None:
    assert sorted(path.stem for path in (DOCS / folder).glob("*.md") if path.stem != "index") == registry.names()


def test_every_protocols_default_and_settings_are_named() -> None:
    for name in PROTOCOLS.names():
        protocol = PROTOCOLS.get(name)
        assert f"`{protocol.signature}`" in (DOCS / "protocols" / "index.md").read_text(encoding="utf-8")
        own = (DOCS / "protocols" / f"{name}.md").read_text(encoding="utf-8")
        for setting in type(protocol).__dataclass_fields__:
            assert f"| `{setting}` |" in own, f"{name}: {setting}"


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("metrics.md", METRICS.names()),
        ("metrics.md", BASELINES.names()),
        ("metrics.md", list(ERROR_TYPES)),
        ("runs.md", [*FILES, *(f"{name}/" for name in FOLDERS)]),
    ],
    ids=["metrics", "baselines", "error types", "files"],
)
def test_every_name_is_explained(page: str, names: list[str]) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_signature_that_is_explained_is_one_of_this_version() -> None:
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    (whole,) = re.findall(r"^synthetic-test#.*$", text, re.M)
    stations = whole.split("|")
    assert stations[-1] == f"wsol:{wsol.__version__}"
    assert re.findall(r"^\| (?:images|model|method|protocol|threshold|version) \| `([^`]+)` \|", text, re.M) == stations


def test_the_pages_build_and_fetch_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    site = tmp_path / "site"
    call = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(ROOT / "mkdocs.yml")]
    call += ["--site-dir", str(site)]
    done = subprocess.run(call, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for page in PAGES:
        assert (site / page.relative_to(DOCS)).with_suffix(".html").is_file()
    assert "What the choice of the threshold costs" in (site / "tutorial.html").read_text(encoding="utf-8")
    assert (site / "tutorial.ipynb").is_file()
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'\bsrc="(?:https?:)?//[^"]*"', text)
        assert not re.findall(r'<link[^>]+(?:stylesheet|icon|preload)[^>]+href="(?:https?:)?//[^"]*"', text)
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"url\([\"']?(?:https?:)?//|@import", sheet.read_text(encoding="utf-8"))
    for name in ("GradCAM", "Efron", "IoU from which on"):  # out of docstrings
        assert any(name in page.read_text(encoding="utf-8") for page in site.rglob("*.html"))
