"""The command ``python -m wsol.explain``: files, options, messages and processes."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from wsol.datasets import Dataset, Sample
from wsol.errors import InputError
from wsol.explain import main, parse_methods, parse_networks
from wsol.models import Model
from wsol.reports.canvas import PngFigure
from wsol.visualization import explain as explain_module
from wsol.visualization import predictor as predictor_module
from wsol.visualization import renderer as renderer_module
from wsol.visualization.child_process import ChildProcess
from wsol.visualization.predictor import PhotoPredictor
from wsol.visualization.renderer import PhotoRenderer, _file_name

ODD = [
    "$\\frac{1}{0}$ $x.png",
    "<script>alert('1')<.png",
    'two\nlines "quoted".png',
    "café 猫 \u202e.png",
    "x" * 240 + ".png",
]


@pytest.fixture
def without_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the figure by a tiny one, for tests that ignore its contents."""
    figure = PngFigure(figsize=(0.1, 0.1))
    monkeypatch.setattr(renderer_module, "draw_overlays", lambda *_: figure)


@given(st.text(st.characters()), st.text(min_size=1))
@example("caf\udce9", "net")
def test_a_file_name_never_leaves_its_folder(name: str, network: str) -> None:
    file_name = _file_name(name, [network, "b"], ["cam"], [name])
    assert Path("out", file_name).resolve().parent == Path("out").resolve()
    assert not {*file_name} & {*'/\\:*?"<>|\0\n'}
    assert len(file_name.encode()) < 250
    assert file_name.endswith(".png")
    assert not file_name.startswith((".", "-"))


def test_another_figure_gets_another_name(
    tmp_path: Path, tiny_model: Model, draw: Callable[..., Path], without_drawing: None
) -> None:
    files = [draw(tmp_path / "one" / "a.png"), tmp_path / "two" / "a.png", tmp_path / "one" / "a.jpg"]
    for file in files[1:]:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(files[0].read_bytes())

    samples = tuple(Sample(str(file), 0, np.array([[1, 2, 30, 30.0]]), "edges", file) for file in files)
    images = Dataset("three", "test", samples, tuple("abcdefg"))

    def write(top: int = 5, dataset: Dataset | None = None, **changes: Any) -> list[str]:
        settings = {"protocol": "wsolevaluation", "tau": 0.2, "cmap": "inferno", "alpha": 0.6} | changes
        renderer = PhotoRenderer(**settings)
        names, classes = renderer.find(files, dataset)
        for i, name in enumerate(names):
            predictor = PhotoPredictor([tiny_model], ["cam"], top)
            renderer.write(i, predictor.predict(renderer.load(i), classes, name), tmp_path, False)
        return sorted(path.name for path in tmp_path.glob("*.png"))

    assert len(first := write()) == 3
    assert write() == first  # the same again
    others = [{"tau": 0.3}, {"cmap": "jet"}, {"alpha": 0.5}, {"protocol": "exact"}, {"top": 2}, {"dataset": images}]
    for k, change in enumerate(others, 2):
        assert len(write(**change)) == 3 * k
    assert not [*tmp_path.glob("*.tmp")]


COMMAND = """
import sys
from wsol.explain import main

code = main(sys.argv[1:])
assert not {"matplotlib", "numba", "pandas"} & {*sys.modules}  # only the child process imports these
sys.exit(code)
"""


@pytest.mark.slow
def test_the_command(tmp_path: Path, weights: Path, csv_data: Path, draw: Callable[..., Path]) -> None:
    odd = [draw(tmp_path / "odd" / name) for name in ODD]
    (tmp_path / "odd" / "broken\n\x1b.jpg").write_bytes(b"no image")
    call = [str(tmp_path / "odd"), "01.png", "--model", "squeezenet1_1", "--weights", str(weights), "--dataset", "csv"]
    call += ["--data-root", str(csv_data), "--compare-methods", "cam,gradcam:relu=false", "--top", "2", "--save-maps"]
    call += ["--device", "cpu", "--out", str(tmp_path / "out"), "--skip-bad-images"]
    process = subprocess.run([sys.executable, "-c", COMMAND, *call], capture_output=True, check=False)
    assert (process.returncode, process.stderr.decode()) == (0, "")
    lines = process.stdout.decode().splitlines()
    assert len(lines) == len(odd) + 2
    assert sum(line.startswith("skipped: ") and "broken \\x1b.jpg is not an image" in line for line in lines) == 1
    pictures = sorted((tmp_path / "out").glob("*.png"))
    assert len(pictures) == len(odd) + 1
    assert {line.partition(".png: ")[0] + ".png" for line in lines if ".png: " in line} == {str(p) for p in pictures}
    for picture in pictures:
        with Image.open(picture) as file:
            assert file.width > 500
            cam, gradcam = file.info["signature"].splitlines()
        assert [part.split(":")[0] for part in cam.split("|")[1:]] == [
            "squeezenet1_1", "cam", "wsolevaluation", "tau", "wsol",
        ]  # fmt: skip
        assert "|gradcam:relu=false|" in gradcam
        for k in (1, 2):
            with np.load(picture.with_name(f"{picture.stem}-row{k}.npz"), allow_pickle=False) as saved:
                assert saved["maps"].shape == (2, 13, 13)
                assert saved["boxes"].shape == (2, 4)
                assert {*saved["names"]} <= {*"0123456"}
                assert saved["probabilities"].sum() <= 1
                assert str(saved["signature"]) == (cam, gradcam)[k - 1]


class InProcess:
    """Stand-in for ``ChildProcess`` that runs in this process."""

    def __init__(self, _: str, *args: Any) -> None:
        self.args = args

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, method: str, *args: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            self.renderer = getattr(self, "renderer", None) or PhotoRenderer(*self.args)
            future.set_result(getattr(self.renderer, method)(*args))
        except (InputError, IndexError) as error:
            future.set_exception(error)
        return future


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ([], "not an image; restore the file, or give --skip-bad-images to continue without it"),
        (["--skip-bad-images"], "none of the 1 photos can be read"),
        (["--tau", "0.12345"], "is not on the protocol's grid"),
        (["--data-root", "x"], "require a data set"),
        (["--cmap", "spectrum"], "no colormap 'spectrum'"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    sentence: str,
) -> None:
    monkeypatch.setattr(explain_module, "ChildProcess", InProcess)
    monkeypatch.setattr(predictor_module, "PhotoPredictor", lambda *_: SimpleNamespace(side=224))  # no photo reaches it
    (tmp_path / "a.png").write_bytes(b"no image")
    assert main([str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), *more]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("wsol: ")
    assert sentence in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--model", "a", "--compare-models", "b"], "--compare-models excludes --model and --weights"),
        (["--dataset-arg", "corners"], "should be KEY=VALUE"),
        (["--out", "{file}"], "cannot be created"),
    ],
)
def test_wrong_options_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], sentence: str
) -> None:
    (tmp_path / "file").touch()
    assert main(["a.png", *(word.format(file=tmp_path / "file") for word in more)]) == 2
    assert sentence in capsys.readouterr().err


def test_lists_of_the_command() -> None:
    assert parse_methods("cam") == ["cam"]
    assert parse_methods("cam,rise:masks=9,seed=1,gradcam") == ["cam", "rise:masks=9,seed=1", "gradcam"]
    assert parse_networks("a,timm/b=c.pth,=d.safetensors") == [
        ("a", None),
        ("timm/b", "c.pth"),
        (None, "d.safetensors"),
    ]


def test_the_map_of_a_class(
    tmp_path: Path,
    weights: Path,
    draw: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(explain_module, "ChildProcess", InProcess)
    call = [str(draw(tmp_path / "a.png")), "--model", "squeezenet1_1", "--weights", str(weights), "--device", "cpu"]
    call += ["--out", str(tmp_path / "out")]
    assert main([*call, "--class", "5", "--class", "2", "--save-maps"]) == 0
    assert re.search(r"\.png: class 5 [\d.]+ %; class 2 [\d.]+ %\n$", capsys.readouterr().out)
    (file,) = (tmp_path / "out").glob("*.npz")
    with np.load(file) as saved:
        assert saved["classes"].tolist() == [5, 2]
        assert saved["maps"].shape == (2, 13, 13)
    assert main([*call, "--class", "cat"]) == 2
    assert "these weights have no class names, so 'cat' cannot be found" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*call, "--class", "5", "--top", "2"])
    assert "not allowed with argument" in capsys.readouterr().err


class Killed(InProcess):
    """The same, but killed from outside."""

    def submit(self, *_: object) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_exception(BrokenProcessPool("gone"))
        return future


def test_a_killed_process_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(explain_module, "ChildProcess", Killed)
    assert main(["a.png", "--out", str(tmp_path)]) == 2
    assert "the process that draws was killed" in capsys.readouterr().err


def test_an_object_in_a_child_process() -> None:
    with ChildProcess("builtins:str", "abc") as letters:
        assert letters.submit("upper").result() == "ABC"
        with pytest.raises(ValueError, match="substring not found"):
            letters.submit("index", "z").result()
        assert letters.submit("__len__").result() == 3
        (process,) = letters._pool._processes
    assert process != os.getpid()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("imports", "lacks"),
    [
        (
            "from wsol.visualization.renderer import PhotoRenderer as R; R('wsolevaluation', .2, 'jet', .5).warm_up()",
            "torch",
        ),
        ("import wsol.explain", "torch, numpy"),
    ],
)
def test_what_a_process_does_not_import(imports: str, lacks: str) -> None:
    code = f"import sys; {imports}; assert not {{*'{lacks}'.split(', ')}} & {{*sys.modules}}"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("protocol", ["zhou2016", "zhou2016:crops=1,box=script", "exact"])
def test_every_protocol_can_be_warmed_up(protocol: str) -> None:
    PhotoRenderer(protocol, 0.2, "inferno", 0.6).warm_up()
