"""Learning rates: what the schedule gives, what the head gets, and trainings that diverge."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from wsol.errors import InputError
from wsol.runtime.distributed import ProcessGroup
from wsol.train import main
from wsol.training import Recipe, Stage, train
from wsol.training.divergence import check_growth
from wsol.training.trainer import Trainer

NET = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.fc = torch.nn.Conv2d(3, 6, 8, 8), torch.nn.Linear(6, 12)
    def forward(self, images):
        return self.fc(self.stem(images).relu().mean((2, 3)))
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path / 'net.py'}:Net"


def images(count: int) -> dict[str, str]:
    return {"images": str(count), "size": "32", "object_scale": "0.6"}


def read_log(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "log.csv")


@pytest.mark.parametrize("epochs", [1, 10])
def test_no_epoch_of_a_single_step_has_a_rate_of_zero(net: str, tmp_path: Path, epochs: int) -> None:
    recipe = Recipe((Stage(epochs, 32, 32),), learning_rate=0.01)
    train(net, "synthetic", recipe, dataset_args=images(6), validation=False, device="cpu", out=tmp_path / "out")
    rates = read_log(tmp_path / "out")["learning_rate"]
    # Each step is rated in its middle: (i + 1/2) / n of the way, after a warm-up of one twentieth.
    shares = (np.arange(epochs) + 0.5) / epochs
    expected = 0.01 * (1 + np.cos(np.pi * (shares - 0.05) / 0.95)) / 2
    assert rates.tolist() == pytest.approx(expected.tolist())
    assert (rates > 0).all()


def test_the_command_names_the_effective_rate(net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = tmp_path / "stages.toml"
    stages.write_text("[[stage]]\nepochs = 2\nimage_size = 32\nbatch_size = 8\n")
    options = [
        "--model",
        net,
        "--dataset",
        "synthetic",
        "--device",
        "cpu",
        "--no-validation",
        "--learning-rate",
        "0.03",
    ]
    options += [word for key, value in images(20).items() for word in ("--dataset-arg", f"{key}={value}")]
    options += ["--image-size", "32", "--epochs", "1", "--batch-size"]
    assert main([*options, "64", "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert "1 epochs of 1 steps of 64 images, peak learning rate 0.06 = 0.03 x 64 / 32\n" in said
    assert main([*options, "8", "--out", str(tmp_path / "b")]) == 0
    assert "1 epochs of 3 steps of 8 images, peak learning rate 0.0075 = 0.03 x 8 / 32\n" in capsys.readouterr().out


def rows(losses: list[float]) -> list[dict[str, float]]:
    return [{"epoch": i, "train_loss": loss} for i, loss in enumerate(losses, 1)]


TEN = 10  # classes; a guess has a loss of 2.30, and 25 % more is 2.88


@pytest.mark.parametrize(
    ("losses", "epochs", "grows_in"),
    [
        ([3.07, 3.3, 3.5, 3.7, 3.9], 10, 3),  # reported by a user
        ([55, 226, 141], 10, 3),
        ([55, 226], 2, 2),
        ([2.5, 3.0, 2.4, 3.0, 2.9], 10, 5),
        ([2.5, 3.0, 2.4, 3.0, 2.3], 10, None),  # a single bad epoch
        ([9, 8, 8.5, 7, 6], 5, None),  # bad, but better than at first
        ([0.1, 0.5, 0.9, 1.3, 2.2], 5, None),  # still better than a guess
        ([2.4, 2.5, 2.6, 2.7, 2.8], 5, None),
        ([55], 1, None),
    ],
)
def test_a_loss_that_grows(losses: list[float], epochs: int, grows_in: int | None) -> None:
    recipe = Recipe((Stage(epochs),), learning_rate=0.03)
    for i in range(1, grows_in or len(losses) + 1):
        check_growth(rows(losses[:i]), recipe, math.log(TEN))
    if grows_in:
        last = f"to {losses[grows_in - 1]:.4g} in epoch {grows_in}, where guessing has 2.303"
        with pytest.raises(InputError, match=f"{re.escape(last)}; give a --learning-rate below 0.03"):
            check_growth(rows(losses[:grows_in]), recipe, math.log(TEN))


def test_a_harder_stage_may_have_a_larger_loss() -> None:
    recipe = Recipe((Stage(3), Stage(3, 64)))
    check_growth(rows([2.3, 1.2, 0.3, 4.0, 3.5, 3.2]), recipe, math.log(TEN))
    with pytest.raises(InputError, match=r"grew from 4 in epoch 4 to 4\.6 in epoch 6"):
        check_growth(rows([2.3, 1.2, 0.3, 4.0, 4.5, 4.6]), recipe, math.log(TEN))


def test_a_training_that_diverges_stops(net: str, tmp_path: Path) -> None:
    recipe = Recipe((Stage(8, 32, 12),), learning_rate=3000)
    with pytest.raises(InputError, match=r"the loss .* --learning-rate below 3000"):
        train(net, "synthetic", recipe, dataset_args=images(36), validation=False, device="cpu", out=tmp_path / "out")


class _Loud(nn.Module):
    """Two-layer network whose features have a squared norm of 512 x 100."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.fc = nn.Linear(8, 512), nn.Linear(512, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.fc(10 * self.body(inputs).sign())
        return logits


class _Batches:
    """Forty inputs in two batches."""

    def __init__(self) -> None:
        self.inputs = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
        self.labels = (self.inputs[:, 0] > 0).long()

    def train_batches(self, *_: object) -> Iterator[tuple[Tensor, Tensor, int]]:
        for half in (slice(20), slice(20, 40)):
            yield self.inputs[half], self.labels[half], 20


def test_the_head_of_loud_features_takes_normalized_steps() -> None:
    module, recipe = _Loud(), Recipe((Stage(1, 1, 20),), momentum=0, weight_decay=0, warm_up=0, learning_rate=1)
    first = _Batches()
    trainer = Trainer(module, first, recipe, torch.device("cpu"), 40, ProcessGroup(), module.fc)
    expected = _Loud()
    for (inputs, labels, _), middle in zip(first.train_batches(), (0.25, 0.75), strict=True):
        loss = cross_entropy(expected(inputs), labels)
        weight, bias = torch.autograd.grad(loss, [expected.fc.weight, expected.fc.bias])
        rate = 20 / 32 * (1 + math.cos(math.pi * middle)) / 2
        with torch.no_grad():
            expected.fc.weight -= rate * 256 / 51200 * weight
            expected.fc.bias -= rate * bias
    trainer.train(recipe.stages[0], 0, 0)
    torch.testing.assert_close(module.fc.weight, expected.fc.weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(module.fc.bias, expected.fc.bias, rtol=1e-4, atol=1e-6)


def test_quiet_features_take_the_full_step() -> None:
    recipe = Recipe((Stage(1, 1, 20),), learning_rate=1)
    weights = []
    for has_head in (True, False):
        module = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 2))
        torch.manual_seed(0)
        for parameter in module.parameters():
            nn.init.normal_(parameter)
        head = module[2] if has_head else None
        Trainer(module, _Batches(), recipe, torch.device("cpu"), 40, ProcessGroup(), head).train(recipe.stages[0], 0, 0)
        weights.append(module[2].weight)
    assert torch.equal(*weights)


PARTS = {
    "CUB_200_2011": ("cub", 64),
    "tiny-imagenet-200": ("tiny-imagenet", 64),
    "": ("oxford-pets", 64),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize(("folder", "freeze"), [*[(f, "features") for f in PARTS], ("CUB_200_2011", None)])
def test_the_defaults_converge_on_real_photos(
    real_data: Path, tmp_path: Path, folder: str, freeze: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    name, side = PARTS[folder]
    options = ["--model", "squeezenet1_0-gap", "--weights", real_data / "weights" / "squeezenet1_0.safetensors"]
    options += ["--dataset", name, "--data-root", real_data / folder, "--image-size", side, "--no-validation"]
    options += ["--device", "cpu", "--out", tmp_path, "--epochs", 4, *(["--freeze", freeze] if freeze else [])]
    assert main([str(word) for word in options]) == 0, capsys.readouterr().err
    losses = read_log(tmp_path)["train_loss"].tolist()
    chance = math.log(10 if name == "tiny-imagenet" else 3)
    assert losses[-1] < min(losses[0], 0.9 * chance)
    assert max(losses) < 1.5 * chance
    assert re.search("peak learning rate 0.015 ", capsys.readouterr().out)
