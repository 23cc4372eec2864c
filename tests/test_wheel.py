"""The archives for an index are complete: the wheel works in an environment of its own, from an empty folder."""

import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
EXTRA = ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md")  # in the source archive
README = ROOT / "README.md"
NEEDED = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "wsol", *EXTRA)


def succeed(command: Sequence[str | Path], **options: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source archive and the wheel, built from a copy of the tree."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("archives")
    for name in NEEDED:
        source, target = ROOT / name, folder / "tree" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copy(source, target)
    succeed([sys.executable, "-m", "build", "--outdir", folder / "dist", folder / "tree"])
    (source_archive,), (wheel,) = (folder / "dist").glob("wsol-*.tar.gz"), (folder / "dist").glob("wsol-*.whl")
    return {"source": source_archive, "wheel": wheel}


@pytest.fixture(scope="module")
def installed(archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment that has the wheel, and the dependencies from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    succeed([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", archives["wheel"]])
    (packages(python) / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    for path in (packages(python) / "wsol").rglob("*.py"):  # Numba stores kernels with the time of their file
        shutil.copystat(ROOT / path.relative_to(packages(python)), path)
    return python


def packages(installed: Path) -> Path:
    """The folder of the installed package."""
    (found,) = installed.parents[1].glob("lib/python3*/site-packages")
    return found


def compiled(folder: Path, *suffixes: str) -> list[Path]:
    """Files of Numba's cache in a package in ``folder``."""
    return [path for path in (folder / "wsol").rglob("__pycache__/*") if path.suffix in suffixes]


def run(installed: Path, folder: Path, *arguments: str) -> str:
    """Run Python in an empty folder, without the checkout and with the kernels that are stored in the package."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "NUMBA_CACHE_DIR")}
    return succeed([installed, *arguments], cwd=folder, env=environment)


def test_twine_accepts_the_archives(archives: dict[str, Path]) -> None:
    pytest.importorskip("twine")
    printed = succeed([sys.executable, "-m", "twine", "check", "--strict", *archives.values()])
    assert printed.count("PASSED") == 2


def test_the_archives_are_complete(archives: dict[str, Path]) -> None:
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "wsol").rglob("*") if path.is_file()}
    package = {name for name in package if "__pycache__" not in name}
    with zipfile.ZipFile(archives["wheel"]) as wheel:
        assert {name for name in wheel.namelist() if ".dist-info/" not in name} == package
    with tarfile.open(archives["source"]) as source:
        names = {member.name.partition("/")[2] for member in source.getmembers() if member.isfile()}
    made = {"PKG-INFO", "setup.cfg"}
    assert {name for name in names if not name.startswith("wsol.egg-info/")} == {
        *package, *made, *NEEDED,
    } - {"wsol"}  # fmt: skip


def test_the_metadata(archives: dict[str, Path]) -> None:
    with zipfile.ZipFile(archives["wheel"]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(wheel.read(name).decode("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_all("Project-URL") == [f"{name}, {url}" for name, url in project["urls"].items()]
    assert metadata.get_all("Classifier") == project["classifiers"]
    assert metadata["Keywords"] == ",".join(project["keywords"])
    assert {*project["optional-dependencies"]} == {*metadata.get_all("Provides-Extra")}
    description = metadata.get_payload()
    assert "# wsol" in description
    assert "```python\nimport torch" in description
    targets = re.findall(r"\]\(([^)]*)\)", description)
    assert [target for target in targets if not target.startswith("https://")] == []  # an index has no other files
    assert "evaluate, tutorial |" in description  # what was a link is text
    assert "![" not in description


def test_the_default_command(installed: Path, tmp_path: Path) -> None:
    """The first command of the README from an empty cache of kernels: the files, and all that it prints."""
    text = README.read_text(encoding="utf-8")
    (command,) = re.findall(r"^    pip install -e \. && python -m (wsol\.eval .*)$", text, re.M)
    (shown,) = re.findall(r"^```\n(synthetic-test#.*?)```$", text, re.M | re.S)
    assert compiled(packages(installed), ".compiled") == []
    printed, _ = run(installed, tmp_path, "-m", *command.split()).split("\n\n240 images")
    number = re.compile(r"\d+\.\d+")
    lines, shown_lines = printed.rstrip().split("\n"), shown.rstrip().split("\n")
    assert [number.sub("#", line).split() for line in lines] == [number.sub("#", line).split() for line in shown_lines]
    values, shown_values = ([float(value) for value in number.findall(block)] for block in (printed, shown))
    assert values == pytest.approx(shown_values, abs=0.5)  # an image of 240, on another machine
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    (folder,) = (tmp_path / "results").iterdir()
    assert {"report.html", "run.json", "metrics.csv"} <= {path.name for path in folder.iterdir()}
    assert len(compiled(packages(installed), ".compiled")) == 3  # one for each process that compiled


MISSED = """
import gc
from numba.core.registry import CPUDispatcher
kernels = [each for each in gc.get_objects() if type(each) is CPUDispatcher and each.__module__.startswith("wsol.")]
assert sum(each.stats.cache_hits.total() for each in kernels) > 5
print([(each.__module__, each.__name__) for each in kernels if each.stats.cache_misses])
"""


def test_the_python_lines_of_the_readme(installed: Path, tmp_path: Path) -> None:
    """They compile no kernel: all are those that the command has stored."""
    code = README.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert run(installed, tmp_path, "-c", code + MISSED).splitlines()[-1] == "[]"


def test_the_console_script(installed: Path, tmp_path: Path) -> None:
    assert succeed([installed.with_name("wsol"), "--version"], cwd=tmp_path).startswith("wsol ")


TYPED = """
from typing import assert_type

import wsol
from wsol.comparison.compare import Comparison
from wsol.leaderboards import Leaderboard
from wsol.runs.read import Evaluation

assert_type(wsol.evaluate("vgg16-gap", limit=8), Evaluation)
assert_type(wsol.score(baseline="center-box", dataset="synthetic").to_dict(), dict[str, float | int | str])
assert_type(wsol.compare(["a", "b"]), Comparison)
assert_type(wsol.leaderboard("a"), Leaderboard)
wsol.evaluate("vgg16-gap", limit="8")  # type: ignore[arg-type]  # the checker sees that this is wrong
error: type[Exception] = wsol.InputError
"""


def test_a_type_checker_sees_the_public_api(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "typed.py").write_text(TYPED)
    command = ["-m", "mypy", "--strict", "--python-executable", str(installed), "typed.py"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    assert "Success" in succeed([sys.executable, *command], cwd=tmp_path, env=environment)


def test_it_is_the_wheel_that_runs(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "-c", "import wsol; print(wsol.__file__)").strip()
    assert Path(where).is_relative_to(installed.parents[1])


def test_the_self_check(installed: Path, tmp_path: Path) -> None:
    """With the kernels of the checkout, of all protocols: that an installed package compiles its own is seen above."""
    for path in compiled(ROOT, ".nbi", ".nbc"):
        target = packages(installed) / path.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    assert "all" in run(installed, tmp_path, "-m", "wsol.selfcheck").splitlines()[-1]
    assert not [*tmp_path.iterdir()]


SCORE = """
import numpy as np
import wsol
from wsol.datasets import Dataset, Sample

sample = Sample("a.jpg", 0, np.array([[1.0, 2, 30, 40]]), "inclusive", size=(60, 50))
wsol.score(baseline="center-box", dataset=Dataset("ilsvrc", "test", (sample,), ("x",)), out="results/run")
"""


def test_a_leaderboard_with_published_numbers(installed: Path, tmp_path: Path) -> None:
    run(installed, tmp_path, "-c", SCORE)
    printed = run(installed, tmp_path, "-m", "wsol.leaderboard", "results", "--all-published")
    assert "Zhou" in (tmp_path / "results" / "leaderboard.md").read_text()
    assert int(printed.splitlines()[-1].split()[2]) > 10  # "1 run, 21 published rows, 0 runs left out, ..."
