"""Tests of the documentation: it builds, its commands and code run, and every registered name is described."""

import argparse
import html
import importlib
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import wsol
from wsol.baselines import BASELINES
from wsol.datasets import DATASETS
from wsol.methods import METHODS, find_method
from wsol.metrics.base import METRICS
from wsol.metrics.error_types import ERROR_TYPES
from wsol.models.base import MODELS
from wsol.protocols import PROTOCOLS
from wsol.runs.store import FILES, FOLDERS
from wsol.training.methods import TRAIN_METHODS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
README = ROOT / "README.md"
TEXTS = [*PAGES, DOCS / "tutorial.ipynb", README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "datasets").glob("*.md"))]
REGISTRIES = {
    "DATASETS": DATASETS,
    "MODELS": MODELS,
    "METHODS": METHODS,
    "PROTOCOLS": PROTOCOLS,
    "METRICS": METRICS,
    "BASELINES": BASELINES,
}
# A command with its arguments, up to the end of the line or of the code; a backslash continues the line.
COMMAND = re.compile(r"python -m wsol\.(\w+)((?:[^`\n\\]|\\\n)*)")
# Options of the code of Choe et al.; their other options have an underscore, which none of ours has.
PEER_OPTIONS = {"--architecture", "--pretrained", "--lr"}


def relative_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"]) if path.suffix == ".ipynb" else text


def commands(path: Path) -> list[tuple[str, list[str]]]:
    """Return the module and the arguments of every complete command on a page."""
    matches = COMMAND.findall(text_of(path))
    return [(name, shlex.split(rest.replace("\\\n", " "))) for name, rest in matches if "..." not in rest]


class ParserFound(Exception):  # noqa: N818  # not an error: the command was stopped on purpose
    """Carries the parser of a command."""


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], argparse.ArgumentParser]:
    """Return a function that returns the parser of a command, by stopping the command before it parses arguments."""

    def stop(self, args=None, namespace=None):
        raise ParserFound(self)

    def find_parser(name: str) -> argparse.ArgumentParser:
        with monkeypatch.context() as patch:
            patch.setattr(argparse.ArgumentParser, "parse_args", stop)
            with pytest.raises(ParserFound) as stopped:
                importlib.import_module(f"wsol.{name}").main([])
        return stopped.value.args[0]

    return find_parser


def test_there_are_pages_and_commands() -> None:
    assert len(PAGES) > 35
    assert sum(len(commands(path)) for path in TEXTS) > 40


@pytest.mark.parametrize("path", TEXTS, ids=relative_path)
def test_commands_parse_and_name_registered_entries(path: Path, parser) -> None:
    for name, arguments in commands(path):
        command = parser(name)
        options = {word for word in arguments if word.startswith("-")}
        assert options <= command._option_string_actions.keys()  # none is abbreviated
        if "--help" in options:
            continue
        values = vars(command.parse_args(arguments))
        if values.get("dataset"):
            assert values["dataset"] in DATASETS.names()
        for key, find in (("method", find_method), ("protocol", PROTOCOLS.find)):
            if values.get(key):
                find(values[key])


@pytest.mark.parametrize("path", TEXTS, ids=relative_path)
def test_options_in_the_text_exist(path: Path, parser) -> None:
    modules = {name for page in TEXTS for name, _ in COMMAND.findall(text_of(page))}
    known = {option for name in modules for option in parser(name)._option_string_actions}
    spans = re.findall(r"`(--[^`]+)`", text_of(path))
    options = {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", span)}
    assert {option for option in options if "_" not in option} - known - PEER_OPTIONS == set()


@pytest.mark.parametrize("path", TEXTS, ids=relative_path)
def test_settings_in_the_text_are_valid(path: Path) -> None:
    text = text_of(path)
    finders = dict.fromkeys(PROTOCOLS.names(), PROTOCOLS.find) | dict.fromkeys(METHODS.names(), find_method)
    trained = dict.fromkeys(TRAIN_METHODS.names(), TRAIN_METHODS.find)
    pattern = r"(--train-method )?(?<![\w-])([a-z][\w+-]*):((?:\w+=[\w.]+)(?:,\w+=[\w.]+)*)"
    for option, name, settings in re.findall(pattern, text):
        known = trained if option else finders
        if name in known and ".py" not in settings:  # a file of the reader
            known[name](f"{name}:{settings}")


@pytest.mark.slow
def test_code_runs(tmp_path: Path) -> None:
    """Run the code of all pages in one separate process: its registrations do not affect other tests.

    The code of the README runs in ``test_wheel.py``.
    """
    runner = """
import re, sys
for page in sys.argv[1:]:
    with open(page, encoding="utf-8") as file:
        blocks = re.findall(r"^```python\\n(.*?)^```$", file.read(), re.S | re.M)
    names = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page}, block {number}", "exec"), names)
"""
    texts = {path: path.read_text(encoding="utf-8") for path in [*PAGES, README]}
    assert not [path for path, text in texts.items() if "```py\n" in text]  # every block of Python is run
    pages = [str(path) for path in PAGES if "```python\n" in texts[path]]
    assert len(pages) >= 12
    call = [sys.executable, "-c", runner, *pages]
    done = subprocess.run(call, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def headings(folder: str) -> Iterator[str]:
    for path in sorted((DOCS / folder).glob("*.md")):
        if path.name != "index.md":
            yield from re.findall(r"^## (\S+)$", path.read_text(encoding="utf-8"), re.M)


def test_every_method_has_a_section_with_its_docstring_and_settings() -> None:
    assert sorted(headings("methods")) == METHODS.names()
    text = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "methods").glob("*.md"))
    for name in METHODS.names():
        kind = type(METHODS.get(name))
        assert f"## {name}\n" in text
        assert f"::: {kind.__module__}.{kind.__name__}\n" in text
        for setting in vars(METHODS.get(name)):
            assert re.search(rf"`{re.escape(name)}:[^`]*\b{setting}=", text), f"{name}: {setting}"


def test_methods_are_grouped_by_their_needs() -> None:
    for path in (DOCS / "methods").glob("*.md"):
        names = re.findall(r"^## (\S+)$", path.read_text(encoding="utf-8"), re.M)
        needs = {METHODS.get(name).needs for name in names if name in METHODS.names()}
        page = "attention" if path.stem in ("clip", "discovery") else path.stem.replace("-", " ")
        assert needs in (set(), {page})


@pytest.mark.parametrize(("folder", "registry"), [("datasets", DATASETS), ("protocols", PROTOCOLS)])
def test_every_data_set_and_protocol_has_a_page(folder: str, registry) -> None:
    assert sorted(path.stem for path in (DOCS / folder).glob("*.md") if path.stem != "index") == registry.names()


def test_defaults_and_settings_of_every_protocol_are_described() -> None:
    for name in PROTOCOLS.names():
        protocol = PROTOCOLS.get(name)
        assert f"`{protocol.signature}`" in (DOCS / "protocols" / "index.md").read_text(encoding="utf-8")
        page = (DOCS / "protocols" / f"{name}.md").read_text(encoding="utf-8")
        for setting in (field.name for field in fields(protocol)):
            assert f"| `{setting}` |" in page, f"{name}: {setting}"


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
def test_every_name_is_described(page: str, names: list[str]) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_example_of_a_signature_is_one_of_this_version() -> None:
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    (signature,) = re.findall(r"^synthetic-test#.*$", text, re.M)
    fields = signature.split("|")
    assert fields[-1] == f"wsol:{wsol.__version__}"
    assert re.findall(r"^\| (?:images|model|method|protocol|threshold|version) \| `([^`]+)` \|", text, re.M) == fields


def test_every_kind_of_entry_has_an_example_and_an_entry_point_group() -> None:
    text = (DOCS / "extending.md").read_text(encoding="utf-8")
    for kind, registry in REGISTRIES.items():
        assert f"@{kind}.register(" in text
        assert f".{kind}` | `wsol/{registry.package.removeprefix('wsol.').replace('.', '/')}/" in text
        assert f"| `{registry.group}` |" in text


def test_the_table_of_layers_is_the_one_that_is_checked() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text.partition("## Layers")[2].partition("\n## ")[0], re.M)
    with (ROOT / "pyproject.toml").open("rb") as file:
        contract = tomllib.load(file)["tool"]["importlinter"]["contracts"][0]
    layers = [[name.removeprefix("wsol.") for name in layer.split(" | ")] for layer in contract["layers"]]
    assert [re.findall(r"\w+", row) for row in rows] == layers


def test_members_that_the_api_pages_select_exist() -> None:
    """mkdocstrings ignores unknown members."""
    for path in (DOCS / "api").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        for module, members in re.findall(r"^::: (\S+)\n(?:    .*\n)*?      members: \[(.*)\]", text, re.M):
            assert [name for name in members.split(", ") if not hasattr(importlib.import_module(module), name)] == []


def test_repository_paths_in_the_text_exist() -> None:
    """Code spans that start with a folder of the repository, unless they are examples of new files."""
    examples = re.compile(r"two-birds|my[-_]|mine|positive|NAME|\*|\.\.\.")
    for path in [*TEXTS, ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md"]:
        spans = re.findall(
            r"`((?:wsol|tests|benchmarks|docs|datasets)/[^` ]*|results/[^` ]+/README\.md)`", text_of(path)
        )
        assert [span for span in spans if not examples.search(span) and not (ROOT / span).exists()] == [], path


def test_no_benchmark_has_the_name_of_a_module_that_others_import() -> None:
    """A script's folder comes first in the path, and numba, for one, imports ``coverage`` if there is one."""
    code = "import sys; sys.path.insert(0, 'benchmarks'); import numba, pandas; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    stems = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert not stems & {*run.stdout.split()}
    assert not stems & sys.stdlib_module_names


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    """https://keepachangelog.com/en/1.1.0: unreleased changes first, dated versions, six kinds of changes."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.startswith("# Changelog\n")
    unreleased, *versions = re.split(r"^## ", text, flags=re.M)[1:]
    assert unreleased.startswith("[Unreleased]\n")
    assert all(re.match(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d\n", version) for version in versions)
    for version in (unreleased, *versions):
        kinds = re.findall(r"^### (.*)$", version, re.M)
        assert kinds == [
            kind for kind in ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security") if kind in kinds
        ]


def test_the_readme_is_short_and_counts_correctly() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert f"one of {len(METHODS.names())} methods" in text
    assert f"report {len(METRICS.names())} metrics" in text
    assert f"version = {{{wsol.__version__}}}" in text
    assert f"version: {wsol.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / target).exists(), target


def test_pictures_are_small_and_used() -> None:
    pictures = sorted((DOCS / "pictures").iterdir())
    texts = [path.read_text(encoding="utf-8") for path in [*PAGES, README]]
    assert [path.name for path in pictures if not any(f"pictures/{path.name}" in text for text in texts)] == []
    for path in pictures:
        limit = 40_000 if path.name.startswith("methods-") else 120_000
        assert path.stat().st_size <= limit, path
    assert sum(path.stat().st_size for path in pictures) + (DOCS / "tutorial.ipynb").stat().st_size < 500_000


def test_every_method_has_a_picture() -> None:
    """Each picture names its methods; ``python docs/make_pictures.py`` makes those of all registered ones."""
    pictures = {path.stem.removeprefix("methods-"): path for path in (DOCS / "pictures").glob("methods-*.webp")}
    shown = {family: Image.open(path).getexif().get(0x010E, "").split(", ") for family, path in pictures.items()}
    needs = {name: METHODS.get(name).needs.replace(" ", "-") for name in METHODS.names()}
    assert [name for name, family in needs.items() if name not in shown.get(family, [])] == []
    for family in shown:
        assert f"pictures/methods-{family}.webp" in (DOCS / "methods" / f"{family}.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("docs") / "site"
    call = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(ROOT / "mkdocs.yml")]
    call += ["--site-dir", str(folder)]
    done = subprocess.run(call, check=False, cwd=folder.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_the_pages_build_and_refer_to_no_other_host(site: Path) -> None:
    for page in PAGES:
        assert (site / page.relative_to(DOCS)).with_suffix(".html").is_file()
    tutorial = (site / "tutorial.html").read_text(encoding="utf-8")
    assert "The cost of choosing a threshold" in tutorial
    assert tutorial.count('src="tutorial/') >= 4
    assert "<td>gt_known_loc_acc</td>" in tutorial
    assert (site / "tutorial.ipynb").is_file()
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'\bsrc="(?:https?:)?//[^"]*"', text)
        assert not re.findall(r'<link[^>]+(?:stylesheet|icon|preload|preconnect)[^>]+href="(?:https?:)?//[^"]*"', text)
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"url\([\"']?(?:https?:)?//|@import", sheet.read_text(encoding="utf-8"))
    for name in ("GradCAM", "Efron", "IoU from which on"):  # from docstrings
        assert any(name in page.read_text(encoding="utf-8") for page in site.rglob("*.html"))


@pytest.mark.slow
def test_every_public_name_has_a_section_with_its_docstring(site: Path) -> None:
    text = html.unescape(re.sub("<[^>]+>", "", page := (site / "api" / "wsol.html").read_text(encoding="utf-8")))
    for name in wsol.__all__:
        assert f"wsol.{name}" in text
        if name != "__version__":
            value = getattr(wsol, name)
            assert f'id="{value.__module__}.{value.__qualname__}"' in page
            assert inspect.getdoc(value).splitlines()[0].replace("`", "") in text


@pytest.mark.slow
def test_pages_opened_from_disk_make_no_requests_and_can_be_searched(site: Path) -> None:
    api: Any = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine: the pages are not opened in a browser")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        requests: list[str] = []
        errors: list[str] = []
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        for page in ("tutorial.html", "methods/gradients.html", "api/wsol.html", "index.html"):
            tab.goto((site / page).as_uri())
            tab.wait_for_load_state("networkidle")
            broken = "images => images.filter(image => !image.naturalWidth).map(image => image.src)"
            assert tab.eval_on_selector_all("main img", broken) == []
        tab.locator("[data-md-component=search-query]").press_sequentially("Romano")
        tab.wait_for_selector(".md-search-result__item >> text=Romano")
        browser.close()
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
