"""The precision of a training: what the layers see in both directions, what the files record, what is restored."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch_switches import lower_everything, read_switches, restored_switches

from wsol.errors import InputError
from wsol.train import main
from wsol.training import Recipe, Stage, config, train

NET = """
from pathlib import Path
import torch
from torch import nn
from torch_switches import arithmetic_of, read_switches
def note(what):
    switches = read_switches()
    half = "bfloat16" if torch.is_autocast_enabled("cpu") and what == "forward" else ""
    with Path(__file__).with_name("seen").open("a") as file:
        print(what, arithmetic_of(switches), switches["benchmark"], half, file=file)
def look(_, __, output):
    note("forward")
    if output.requires_grad:
        output.register_hook(lambda _: note("backward"))
def make():
    net = nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7))
    for layer in (net[0], net[4]):
        layer.register_forward_hook(look)
    return net
"""


@pytest.fixture(autouse=True)
def before() -> Iterator[dict[str, Any]]:
    """Settings of a host program, which are the same afterwards."""
    with restored_switches():
        lower_everything()
        set_by_host = read_switches()
        yield set_by_host
        assert read_switches() == set_by_host


@pytest.fixture
def images(csv_data: Path) -> Path:
    """Images to train on, and others for validation."""
    table = csv_data / "boxes.csv"
    table.write_text(table.read_text().replace(",test", ",train"))
    return csv_data


def run(data: Path, out: Path, **options: Any) -> tuple[set[str], dict[str, Any]]:
    """Train; return what the layers saw in the training, and the recipe in the weights file."""
    (data / "net.py").write_text(NET)
    recipe = Recipe((Stage(1, 32, 4),))
    path = train(f"{data / 'net.py'}:make", "csv", recipe, data_root=data, device="cpu", out=out, workers=1, **options)
    assert path is not None
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["wsol"])
    lines = (data / "seen").read_text().splitlines()
    (data / "seen").unlink()
    return {line for line in lines if "False" not in line}, metadata[
        "recipe"
    ]  # without checks, where nothing benchmarks


def test_float32(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, recipe = run(images, tmp_path / "given", precision="float32")
    assert {line.strip() for line in seen} == {"forward ieee True", "backward ieee True"}
    assert "precision" not in recipe
    monkeypatch.setattr(config, "has_bf16", lambda device: False)
    assert run(images, tmp_path / "auto")[1] == recipe
    given, auto = (load_file(tmp_path / name / "state.safetensors") for name in ("given", "auto"))
    assert given.keys() == auto.keys()
    assert all(torch.equal(given[key], auto[key]) for key in given)


def test_bfloat16_is_in_the_files_also_where_it_was_chosen(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "has_bf16", lambda device: True)
    seen, recipe = run(images, tmp_path / "out")
    assert {line.strip() for line in seen} == {"forward ieee True bfloat16", "backward ieee True"}
    assert recipe["precision"] == "bfloat16"
    with pytest.raises(InputError, match="belongs to a training with precision = bfloat16, not float32; give the same"):
        run(images, tmp_path / "out", precision="float32")


def test_tf32(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^tf32 is a format of GPUs, and the device is cpu; leave out --precision$"):
        run(images, tmp_path / "out", precision="tf32")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(config, "check_precision", lambda *_: None)  # as on a GPU
    seen, recipe = run(images, tmp_path / "out", precision="tf32")
    assert {line.strip() for line in seen} == {"forward tf32 True", "backward tf32 True"}
    assert recipe["precision"] == "tf32"


def test_a_training_that_fails(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(torch.optim.SGD, "step", fail)
    with pytest.raises(ZeroDivisionError):
        run(images, tmp_path / "out")


def test_the_command_has_the_option(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (images / "net.py").write_text(NET)
    call = ["--model", f"{images / 'net.py'}:make", "--dataset", "csv", "--data-root", str(images)]
    call += ["--device", "cpu", "--out", str(tmp_path / "out"), "--precision", "tf32"]
    assert main(call) == 2
    assert "tf32 is a format of GPUs, and the device is cpu" in capsys.readouterr().err
