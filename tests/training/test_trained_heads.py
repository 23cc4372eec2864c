"""Trainings of networks with heads from end to end: resumed, evaluated by the printed command, in several processes."""

import shlex
from pathlib import Path

import pandas as pd
import pytest
import torch
import torchvision
from children import begin, begin_together, compute_in_float32
from safetensors.torch import load_file

from wsol.errors import InputError
from wsol.eval import main as evaluate
from wsol.models import load_matching, load_model
from wsol.models.loading import find_architecture
from wsol.runs.read import read_run
from wsol.train import main as train_command
from wsol.training import Recipe, Stage, config, train

pytestmark = pytest.mark.slow

SIDE = 64
ARGS = {"images": "24", "size": str(SIDE), "object_scale": "0.6"}
METHODS = {
    "acol": "acol:threshold=0.6,channels=32",
    "spg": "spg:high_b2=0.7,low_b2=0.01,high_b1=0.5,low_b1=0.05,high_c=0.7,low_c=0.1,b1=features.2,b2=end,channels=32,"
    "width=16",
}
MODEL = "squeezenet1_1-gap"
TWO = Recipe((Stage(2, SIDE, 12),), learning_rate=0.02)
# ``plain`` has no dropout and no batch normalization, so that processes agree.
NETS = """
from collections import OrderedDict
from torch import nn
def block(inputs, outputs, stride, norm):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), norm(outputs), nn.ReLU())
def normalized(norm=nn.BatchNorm2d):
    features = nn.Sequential(block(3, 16, 2, norm), block(16, 32, 2, norm), block(32, 32, 1, norm))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 12))
    return nn.Sequential(OrderedDict(features=features, head=head))
def plain():
    return normalized(nn.Identity)
"""


@pytest.fixture(params=METHODS.values(), ids=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(out: Path, method: str, model: str = MODEL, recipe: Recipe = TWO, **more: object) -> Path | None:
    options = {"dataset_args": ARGS, "device": "cpu", "workers": 1, "precision": "float32", **more}
    return train(model, "synthetic", recipe, out=out, train_method=method, validation=False, **options)  # type: ignore[arg-type]


def test_it_resumes_and_starts_from_plain_weights(method: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = torchvision.models.squeezenet1_1().state_dict()
    torch.save(backbone, weights := tmp_path / "squeezenet1_1.pth")
    network = find_architecture(f"{MODEL}+{method}").build_for_training(12, from_scratch=False)
    report = load_matching(network, f"{MODEL}+{method}", weights)
    assert not [key for key in report.missing if key.startswith("features.")]  # the heads alone are random
    loaded = network.state_dict()
    kept = [key for key in backbone if key.startswith("features.")]
    assert kept
    assert all(torch.equal(loaded[f"features.body.{key}"], backbone[key]) for key in kept)

    whole = run(tmp_path / "whole", method, weights=weights)
    assert run(tmp_path / "resumed", method, weights=weights, stop_after=1) is None
    resumed = run(tmp_path / "resumed", method, weights=weights)
    assert resumed.read_bytes() == whole.read_bytes()
    with pytest.raises(InputError, match="belongs to a training with train_method = "):
        run(tmp_path / "whole", "cam", weights=weights)


def test_the_printed_command_evaluates_the_weights(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    call = ["--model", MODEL, "--dataset", "synthetic", "--train-method", method]
    call += [word for key, value in ARGS.items() for word in ("--dataset-arg", f"{key}={value}")]
    call += [
        "--epochs",
        "1",
        "--image-size",
        str(SIDE),
        "--batch-size",
        "8",
        "--device",
        "cpu",
        "--precision",
        "bfloat16",
    ]
    assert train_command([*call, "--no-validation", "--workers", "1"]) == 0
    (command,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Evaluate it: ")]
    words = shlex.split(command.removeprefix("Evaluate it: python -m wsol.eval"))
    assert evaluate([*words, "--device", "cpu", "--out", "run"]) == 0
    signature = read_run(Path("run")).signature
    assert f"|{MODEL}+{method}" in signature
    kept = load_model(None, words[words.index("--weights") + 1])
    assert f"|{kept.signature}|" in signature
    assert all(value.isfinite().all() for value in load_file(words[words.index("--weights") + 1]).values())


def test_a_network_of_a_training_method_is_no_model_to_train(method: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is the network of a training method; give --model squeezenet1_1-gap --tr"):
        run(tmp_path / "out", "cam", f"{MODEL}+{method}")


def test_it_learns(method: str, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    recipe = Recipe((Stage(20, 32, 8),), learning_rate=0.4)
    more = {"model": f"{tmp_path / 'nets.py'}:normalized", "recipe": recipe, "dataset_args": {**ARGS, "size": "32"}}
    assert run(tmp_path / "out", method, **more) is not None
    loss = pd.read_csv(tmp_path / "out" / "log.csv")["train_loss"]
    assert loss.iloc[-1] < 0.8 * loss.iloc[0]


def test_two_processes_train_the_network_of_one(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "has_bf16", compute_in_float32)
    (tmp_path / "nets.py").write_text(NETS)
    recipe = Recipe((Stage(2, 32, 5),), learning_rate=0.1)  # 24 images: two processes share 5 unevenly
    asked = {"model": f"{tmp_path / 'nets.py'}:plain", "dataset": "synthetic", "recipe": recipe, "device": "cpu"}
    asked |= {"dataset_args": {**ARGS, "size": "32"}, "train_method": method, "validation": False, "workers": 1}
    children = [begin(tmp_path / "one", asked), *begin_together(tmp_path / "two", asked)]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    one, two = (load_file(next((tmp_path / each).glob("*plain.safetensors"))) for each in ("one", "two"))
    assert one.keys() == two.keys()
    start = find_architecture(f"{asked['model']}+{method}")
    torch.manual_seed(recipe.seed)
    initial = start.build_for_training(12).state_dict()
    moved = 0
    for key, value in one.items():
        change = (value - initial[key]).abs().max()
        torch.testing.assert_close(two[key], value, rtol=0, atol=float(1e-3 * change + 1e-7))
        moved += int(change > 0)
    assert moved == len(one)
