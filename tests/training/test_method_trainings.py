"""Trainings by methods that keep the network: resumed, of several processes, in bfloat16, evaluated."""

import itertools
import math
import random
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from children import begin_together, compute_in_float32
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import wsol
from wsol.models import load_model
from wsol.runtime.distributed import ProcessGroup
from wsol.training import Recipe, Stage, config, train
from wsol.training.methods import find_train_method
from wsol.training.trainer import Trainer

METHODS = ["has", "cutmix", "adl:layers=stem.1+stem.3"]
# Without dropout and batch normalization, so that processes could agree.
NET = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(16, 3)
    def forward(self, images):
        return self.fc(self.stem(images).mean((2, 3)))
make = Net
"""
LEARNS = Recipe((Stage(12, 32, 6),), learning_rate=0.1)


@pytest.fixture(scope="module", autouse=True)
def _float32() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "has_bf16", compute_in_float32)
        yield


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Images of a red, green or blue square on gray noise."""
    root = tmp_path_factory.mktemp("data")
    (root / "net.py").write_text(NET)
    rng = random.Random(0)
    rows = ["image_id,label,x0,y0,x1,y1,split"]
    for i in range(36):
        image = Image.frombytes("L", (32, 32), bytes(rng.randrange(96, 160) for _ in range(1024))).convert("RGB")
        x, y = rng.randrange(8), rng.randrange(8)
        image.paste(tuple(220 * (c == i % 3) for c in range(3)), (x, y, x + 24, y + 24))
        image.save(root / f"{i}.png")
        rows.append(f"{i}.png,{i % 3},{x},{y},{x + 24},{y + 24},{'train' if i < 23 else 'val' if i < 30 else 'test'}")
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    return {
        "model": f"{root / 'net.py'}:make",
        "dataset": "csv",
        "data_root": root,
        "recipe": Recipe((Stage(3, 32, 5),), learning_rate=0.1),
        "device": "cpu",
        "workers": 1,
    }


@pytest.fixture(scope="module")
def plain(asked: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    return train(out=tmp_path_factory.mktemp("plain"), **asked)


def tensors(path: Path | None) -> dict[str, Tensor]:
    assert path is not None
    return load_file(path)


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_resumed_trainings_give_the_same_bits_and_the_method_is_signed(
    asked: dict[str, object], plain: Path, tmp_path: Path, name: str
) -> None:
    method = find_train_method(name)
    whole = train(out=tmp_path / "whole", train_method=name, **asked)
    assert train(out=tmp_path / "parts", train_method=name, stop_after=2, **asked) is None
    parts = train(out=tmp_path / "parts", train_method=method, **asked)
    assert parts.read_bytes() == whole.read_bytes()
    assert (tmp_path / "parts" / "log.csv").read_bytes() == (tmp_path / "whole" / "log.csv").read_bytes()
    assert not same(tensors(whole), tensors(plain))
    assert tensors(whole).keys() == tensors(plain).keys()
    model = load_model(asked["model"], whole)
    assert model.train_method == method.signature
    assert f"+{method.signature}:{model.sha256[:8]}" in model.signature

    options = {"dataset": "csv", "data_root": asked["data_root"], "device": "cpu", "workers": 1, "bootstrap": 0}
    run = wsol.evaluate(asked["model"], whole, tau=0.5, out=tmp_path / "run", **options)
    assert f"|{model.signature}|" in run.signature


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_methods_learn_in_bfloat16_too(asked: dict[str, object], tmp_path: Path, name: str) -> None:
    path = train(out=tmp_path, train_method=name, precision="bfloat16", **{**asked, "recipe": LEARNS})
    assert all(value.dtype == torch.float32 for value in tensors(path).values())
    log = pd.read_csv(tmp_path / "log.csv")
    assert log["train_loss"].iloc[-1] < 0.95 * math.log(3) < 1.2 * log["train_loss"].iloc[0]
    assert log["val_err"].iloc[-1] < 30  # of whole images; a guess has 67


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_two_processes_train_alike_every_time(asked: dict[str, object], plain: Path, tmp_path: Path, name: str) -> None:
    children = [begin_together(tmp_path / out, {**asked, "train_method": name}) for out in ("one", "two")]
    for child in itertools.chain(*children):
        child.join(60)
        assert child.exitcode == 0
    one, two = (tmp_path / out / plain.name for out in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert not same(tensors(one), tensors(plain))


class _Meta:
    """Steps of images on the device ``meta``, where no value can be read."""

    used = 0

    def train_batches(self, *_: object) -> Iterator[tuple[Tensor, Tensor, int]]:
        for _ in range(4):
            yield torch.rand(4, 3, 8, 8, device="meta"), torch.zeros(4, dtype=torch.int64, device="meta"), 4
            self.used += 1


@pytest.mark.parametrize("name", METHODS)
def test_no_step_reads_from_the_device(name: str) -> None:
    stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    module = nn.Sequential(OrderedDict(stem=stem, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(4, 3)))
    method, batches = find_train_method(name), _Meta()
    method.prepare(module.eval(), "any", 8)
    arguments = (Recipe((Stage(1, 8, 4),)), torch.device("cpu"), 16, ProcessGroup(), None, "float32", method)
    with pytest.raises((NotImplementedError, RuntimeError), match=r"item\(\)"):
        Trainer(module.to("meta"), batches, *arguments).train(Stage(1, 8, 4), 0, 0)
    assert batches.used == 4
