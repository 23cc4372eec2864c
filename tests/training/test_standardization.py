"""Standardized features, and a linear layer folded back to the features themselves."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy

from wsol.datasets import load_dataset, read_batches
from wsol.models import load_model
from wsol.training import Recipe, Stage, train
from wsol.training.standardization import Standardization

CENTERED = pytest.mark.parametrize("centered", [True, False])


def features(images: int = 40, channels: int = 24, factor: float = 1) -> torch.Tensor:
    """Draw non-negative features whose channels differ in scale by a factor of a thousand."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.logspace(-1.5, 1.5, channels) * factor
    return (torch.randn(images, channels, generator=generator) + 1).relu() * scales


def test_by_hand() -> None:
    # Channel 0 has mean 2 and standard deviation 1, channel 1 mean 10 and 4; the squared norm 256 is shared by both.
    given = torch.tensor([[1.0, 14.0], [3.0, 6.0]])
    found = Standardization.fit(given, centered=True)
    torch.testing.assert_close(found.mean, torch.tensor([2.0, 10.0]))
    side = 128**0.5
    torch.testing.assert_close(found.apply(given), torch.tensor([[-side, side], [side, -side]]))
    # Without a bias nothing is subtracted: the squares of channel 0 have the mean 5, of channel 1 116.
    plain = Standardization.fit(given, centered=False)
    torch.testing.assert_close(plain.apply(given), given * side / torch.tensor([5.0, 116.0]).sqrt())


@CENTERED
@pytest.mark.parametrize("factor", [1e-4, 1, 1e4])
def test_the_squared_norm_depends_neither_on_the_scale_nor_on_the_channels(centered: bool, factor: float) -> None:
    for channels in (2, 24, 1000):
        given = features(channels=channels, factor=factor)
        scaled = Standardization.fit(given, centered).apply(given)
        assert scaled.square().sum(1).mean().item() == pytest.approx(256, rel=1e-4)


@CENTERED
def test_a_folded_layer_is_the_same_function(centered: bool) -> None:
    torch.manual_seed(1)
    given, linear = features(), nn.Linear(24, 5, bias=centered)
    standardization = Standardization.fit(given, centered)
    before = linear(standardization.apply(given))
    standardization.fold(linear)
    torch.testing.assert_close(linear(given), before, rtol=1e-4, atol=1e-4)
    standardization.unfold(linear)
    torch.testing.assert_close(linear(standardization.apply(given)), before, rtol=1e-4, atol=1e-4)


def test_a_channel_without_variation_is_not_amplified() -> None:
    given = features()
    given[:, 3], given[:, 4] = 0, 7 + 1e-6 * torch.rand(40)  # the latter as rounding leaves it
    standardization = Standardization.fit(given, centered=True)
    assert standardization.scale[3] == standardization.scale[4] == standardization.scale.max()
    assert standardization.apply(given).isfinite().all()
    same = Standardization.fit(torch.full((3, 2), 5.0), centered=True)
    assert same.apply(torch.full((1, 2), 5.0)).tolist() == [[0, 0]]


def test_the_default_rate_is_stable_for_the_worst_features() -> None:
    """Gradient descent diverges above 2 (1 + momentum) / curvature; all features equal have the largest curvature."""
    recipe = Recipe()
    given = torch.cat([torch.ones(20, 512), -torch.ones(20, 512)]) * 300
    labels = torch.tensor([0, 1] * 20)  # cannot be told apart: the minimum is a guess
    x = Standardization.fit(given, centered=True).apply(given)
    linear = nn.Linear(512, 2)
    nn.init.normal_(linear.weight, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(linear.parameters(), recipe.peak_rate(Stage()), recipe.momentum)
    for _ in range(300):
        optimizer.zero_grad()
        loss = cross_entropy(linear(x), labels)
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(torch.tensor(2.0).log().item(), abs=1e-3)


NET = """
import torch
class Loud(torch.nn.Module):
    def __init__(self, bias=True):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.fc = torch.nn.Conv2d(3, 6, 8, 8), torch.nn.Linear(6, 12, bias=bias)
    def forward(self, images):
        return self.fc(self.stem(500 * images).relu().mean((2, 3)))
def loud(): return Loud()
def loud_without_bias(): return Loud(bias=False)
"""
ARGS = {"images": "36", "size": "32", "object_scale": "0.6"}


@pytest.fixture(params=["loud", "loud_without_bias"])
def loud(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, torch.Tensor]]:
    """A network whose features are in the hundreds, as ``FILE.py:FUNCTION``, and its weights."""
    (tmp_path / "net.py").write_text(NET)
    scope: dict[str, Any] = {}
    exec(NET, scope)
    return f"{tmp_path / 'net.py'}:{request.param}", scope[request.param]().state_dict()


def test_loud_features_converge_at_the_default_rate(loud: tuple[str, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    model, state = loud
    save_file({key: value for key, value in state.items() if "stem" in key}, tmp_path / "w.safetensors")
    path = train_head(model, tmp_path, Recipe((Stage(6, 32, 12),)))
    log = pd.read_csv(path.parent / "log.csv")
    losses = log["train_loss"].tolist()
    assert losses[-1] < losses[0] < 2.7  # a guess has ln 12 = 2.48
    trained = load_file(path)
    assert all(torch.equal(trained[key], state[key]) for key in state if "stem" in key)
    # The saved network is an ordinary one: alone it makes the errors that the log has.
    saved, data = load_model(model, path), load_dataset("synthetic", None, "val", ARGS)
    (batch,) = read_batches(data.samples, 32, len(data), 1, skip_bad=False)
    scores = saved.network(saved.preprocessing.normalize(batch.pixels, torch.device("cpu")))
    wrong = scores.argmax(1) != torch.tensor([sample.label for sample in data.samples])
    assert 100 * wrong.double().mean().item() == pytest.approx(log["val_err"].iloc[-1])


def test_a_layer_with_weights_is_continued(loud: tuple[str, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    model, state = loud
    save_file(state, tmp_path / "w.safetensors")
    trained = load_file(train_head(model, tmp_path, Recipe((Stage(1, 32, 12),), learning_rate=0)))
    for key in state:
        torch.testing.assert_close(trained[key], state[key], rtol=1e-5, atol=1e-4)


def train_head(model: str, folder: Path, recipe: Recipe) -> Path:
    more = {"weights": folder / "w.safetensors", "freeze": "features", "dataset_args": ARGS, "device": "cpu"}
    path = train(model, "synthetic", recipe, out=folder / "out", **more)
    assert path is not None
    return path
