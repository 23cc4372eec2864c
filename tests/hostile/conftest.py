"""Shared fixtures of the tests of hostile files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from commands import tree

from wsol.eval import main

CommandError = Callable[..., str]


@pytest.fixture
def command_error(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, weights: Path, capfd: pytest.CaptureFixture[str]
) -> CommandError:
    """Evaluates a data set in ``tmp_path`` that cannot be evaluated; returns the sentence of the error."""

    def run(dataset: str, root: Path, *more: str) -> str:
        before = tree(tmp_path)
        out = tmp_path_factory.mktemp("out") / "run"
        argv = ["--dataset", dataset, "--data-root", root, "--model", "squeezenet1_1", "--weights", weights]
        capfd.readouterr()
        argv += ["--device", "cpu", "--assume-class-order"]  # the weights have seven classes
        assert main([*map(str, argv), "--out", str(out), *more]) == 2
        *before_it, sentence = capfd.readouterr().err.splitlines(keepends=True)
        assert all(line.startswith("wsol: squeezenet1_1 on ") for line in before_it)  # what a run starts with
        assert len(before_it) <= 1
        assert sentence.startswith("wsol: ")
        assert sentence.endswith("\n")
        assert tree(tmp_path) == before
        return sentence

    return run
