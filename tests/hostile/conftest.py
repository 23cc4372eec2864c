"""What the tests of hostile files share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from wsol.eval import main

Refused = Callable[..., str]


def tree(folder: Path) -> list[tuple[str, int, int, int]]:
    """Returns path, mode, size and time of everything below."""
    states = ((str(path), path.lstat()) for path in folder.rglob("*"))
    return sorted((path, s.st_mode, s.st_size, s.st_mtime_ns) for path, s in states)


@pytest.fixture
def refused(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, weights: Path, capfd: pytest.CaptureFixture[str]
) -> Refused:
    """Evaluates a data set in ``tmp_path`` that cannot be evaluated; returns the one sentence that is said."""

    def run(dataset: str, root: Path, *more: str) -> str:
        before = tree(tmp_path)
        out = tmp_path_factory.mktemp("out") / "run"
        given = ["--dataset", dataset, "--data-root", root, "--model", "squeezenet1_1", "--weights", weights]
        capfd.readouterr()
        assert main([*map(str, given), "--device", "cpu", "--out", str(out), *more]) == 2
        said = capfd.readouterr().err
        assert said.startswith("wsol: ")
        assert said.count("\n") == 1
        assert said.endswith("\n")
        assert "Traceback" not in said
        assert tree(tmp_path) == before
        return said

    return run
