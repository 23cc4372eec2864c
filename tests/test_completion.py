"""Completion in a shell: the script names every command and option, and bash completes with it."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wsol.__main__ import _COMMANDS, main
from wsol.datasets import DATASETS
from wsol.methods import METHODS


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["wsol", *arguments])
    return main()


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert call(monkeypatch, "--print-completion", "bash") == 2
    assert capsys.readouterr() == (
        "",
        "wsol: completion needs the package shtab; run pip install 'wsol[completion]'\n",
    )


def test_an_unknown_shell_and_an_old_version(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    shtab = pytest.importorskip("shtab")
    with pytest.raises(SystemExit, match="2"):
        call(monkeypatch, "--print-completion", "cmd")
    assert "choose from" in capsys.readouterr().err
    monkeypatch.setattr(shtab, "SUPPORTED_SHELLS", ["bash"])
    assert call(monkeypatch, "--print-completion", "fish") == 2
    assert "has no completion for fish; run pip install --upgrade shtab" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_every_command_and_option_is_named(shell: str, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert call(monkeypatch, "--print-completion", shell) == 0
    script = capsys.readouterr().out
    for command in _COMMANDS:
        assert f"wsol_{command}" in script
        for action in importlib.import_module(f"wsol.{command}")._make_parser()._actions:
            assert all(option in script for option in action.option_strings), command


COMPLETE = """
. ./wsol.bash
COMP_WORDS=(wsol "$@"); COMP_CWORD=$#; COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}
$(complete -p wsol | sed 's/.*-F \\([^ ]*\\).*/\\1/') wsol "${COMP_WORDS[$COMP_CWORD]}" "${COMP_WORDS[$COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def test_bash_completes(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash on this machine")
    call(monkeypatch, "--print-completion", "bash")
    (tmp_path / "wsol.bash").write_text(capsys.readouterr().out)
    (tmp_path / "run-1").mkdir()
    (tmp_path / "run-2.csv").touch()

    def complete(*words: str) -> set[str]:
        command = [bash, "--norc", "-c", COMPLETE, "complete", *words]
        done = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
        return {word.strip() for word in done.stdout.splitlines()}

    assert complete("") == {*_COMMANDS}
    assert complete("s") == {"score", "search", "select", "selfcheck"}
    assert complete("eval", "--meth") == {"--method"}
    assert complete("eval", "--method", "gradcam") == {name for name in METHODS.names() if name.startswith("gradcam")}
    assert complete("train", "--dataset", "") == {*DATASETS.names()}
    assert complete("eval", "--precision", "") == {"float32", "tf32", "bfloat16"}
    assert complete("compare", "run") == {"run-1"}  # runs are folders
    assert complete("score", "--boxes", "run") == {"run-1", "run-2.csv"}
