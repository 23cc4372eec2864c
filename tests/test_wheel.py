"""A wheel built from the tree is complete: it works from an empty folder, without the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NEEDED = ("pyproject.toml", "README.md", "LICENSE", "wsol")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, built from a copy of the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in NEEDED:
        source, target = ROOT / name, folder / "tree" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copy(source, target)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, folder / "tree"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("wsol-*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    shutil.rmtree(folder / "tree")
    return folder / "site"


def run(installed: Path, folder: Path, *arguments: str) -> str:
    """Runs Python in an empty folder, with the unpacked wheel in place of the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_it_is_the_wheel_that_runs(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "-c", "import wsol; print(wsol.__file__)").strip()
    assert Path(where).is_relative_to(installed)


def test_the_self_check(installed: Path, tmp_path: Path) -> None:
    assert "all" in run(installed, tmp_path, "-m", "wsol.selfcheck").splitlines()[-1]
    assert not [*tmp_path.iterdir()]


def test_the_python_lines_of_the_readme(installed: Path, tmp_path: Path) -> None:
    code = (ROOT / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    run(installed, tmp_path, "-c", code)


SCORE = """
import numpy as np
import wsol
from wsol.datasets import Dataset, Sample

sample = Sample("a.jpg", 0, np.array([[1.0, 2, 30, 40]]), "inclusive", size=(60, 50))
wsol.score(baseline="center-box", dataset=Dataset("ilsvrc", "test", (sample,), ("x",)), out="results/run")
"""


def test_a_leaderboard_with_published_numbers(installed: Path, tmp_path: Path) -> None:
    run(installed, tmp_path, "-c", SCORE)
    printed = run(installed, tmp_path, "-m", "wsol.leaderboard", "results", "--with-published")
    assert "Zhou" in (tmp_path / "results" / "leaderboard.md").read_text()
    assert int(printed.splitlines()[-1].split()[2]) > 10  # "1 run, 21 published rows, 0 left out, ..."
