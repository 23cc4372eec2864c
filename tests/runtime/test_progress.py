"""The progress of a loop where there is no terminal, as in the log of a cluster."""

import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import wsol
from wsol.evaluation.suite import run_suite
from wsol.models import Model
from wsol.runtime import progress
from wsol.runtime.progress import Progress, track

NET = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(3, 8, 7, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 12))
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that the test turns; lines are due at once."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    return clock


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Waits for two more lines, so that the last one was written after the call."""
    lines: list[str] = []
    while len(lines) < 2:
        time.sleep(0.005)
        lines += capsys.readouterr().err.splitlines()
    return lines[-1]


def test_lines_by_hand(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("cub test", 1000, done=200) as bar:
        clock.now += 90
        assert last_line(capsys) == "wsol: cub test: 200 of 1000 images, after 01:30"
        bar.update(32)
        bar.update(32)
        clock.now += 10
        # 64 images in 90 s, 736 left: 1035 s, of which 10 s are over
        assert last_line(capsys) == "wsol: cub test: 264 of 1000 images, 0.71 images/s, 17:05 left"
        clock.now += 2000
        assert last_line(capsys) == "wsol: cub test: 264 of 1000 images, 0.71 images/s, 00:00 left"
        clock.now -= 2000
        bar.update(736)
        clock.now += 100
        last_line(capsys)
    # 800 images in 200 s
    assert capsys.readouterr().err.splitlines()[-1] == "wsol: cub test: 1000 of 1000 images, 4.0 images/s, took 03:20"


def test_a_short_loop_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert progress.INTERVAL == 30
    threads = threading.active_count()
    assert [*track("abc", "letters", unit="letter")] == ["a", "b", "c"]
    with Progress("nothing", 0):
        pass
    assert capsys.readouterr().err == ""
    assert threading.active_count() == threads


def test_an_error_ends_the_lines(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    threads = threading.active_count()

    def stop() -> None:
        with Progress("images", 5) as bar:
            bar.update()
            clock.now += 1
            last_line(capsys)
            raise KeyError

    with pytest.raises(KeyError):
        stop()
    assert "took" not in capsys.readouterr().err
    assert threading.active_count() == threads


def test_one_of_several_processes_speaks(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("images", 5, shown=False):
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.001)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress("cub test", 4, leave=True) as bar:
        bar.update(3)
        time.sleep(0.02)
    printed = capsys.readouterr().err
    assert "3/4" in printed
    assert "wsol:" not in printed


@pytest.mark.slow
def test_runs_suites_and_scores_say_where_they_are(
    tmp_path: Path, synthetic_model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.001)
    speed = r"\d+ of 3 images, (after \d\d:\d\d|\S+ images/s, (\d\d:\d\d left|took \d\d:\d\d))"
    wsol.evaluate(synthetic_model, limit=3, device="cpu", out=tmp_path / "run")
    assert re.search(f"^wsol: synthetic test, tiny, cam: {speed}$", capsys.readouterr().err, re.M)
    wsol.score(run=tmp_path / "run", protocol="exact")
    assert re.search(f"^wsol: synthetic test: {speed}$", capsys.readouterr().err, re.M)
    suite = tmp_path / "suite.toml"
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    suite.write_text('models = ["net.py:make"]\nlimit = 3\n')
    run_suite(suite)
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(f"wsol: synthetic test, net.py:make, cam: {speed}", lines[0])
    assert lines[-1] == "wsol: 1 of 1, synthetic-test-net.py-make-cam: new"


def test_every_loop_says_where_it_is() -> None:
    """A bar of tqdm alone is silent where there is no terminal."""
    package = Path(wsol.__file__).parent
    bars = {
        str(path.relative_to(package)) for path in package.rglob("*.py") if re.search(r"\btqdm\(", path.read_text())
    }
    assert bars == {"runtime/progress.py"}
