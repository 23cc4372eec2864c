"""The conditions that a network must meet to be trained."""

import json
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import safetensors
import safetensors.torch
import torch

from wsol.errors import InputError
from wsol.eval import main as eval_main
from wsol.models import Preprocessing, load_model
from wsol.models.checkpoint import read_checkpoint
from wsol.train import main as train_main
from wsol.training import Recipe, Stage, train
from wsol.training.network import check_step

NETS = """
import collections, torch
from torch import nn
class Net(nn.Module):
    def __init__(self, norm=nn.Identity):
        super().__init__()
        self.stem, self.norm, self.fc = nn.Conv2d(3, 6, 8, 8), norm(), nn.Linear(6, 12)
    def forward(self, images):
        return self.fc(self.norm(self.stem(images)).relu().mean((2, 3)))
def plain(): return Net()
def batch_norm(): return Net(lambda: nn.BatchNorm2d(6))
def instance_norm(): return Net(lambda: nn.InstanceNorm2d(6))
class Pooled(Net):
    def forward(self, images):
        maps = self.stem(images)
        return self.fc(self.norm(nn.functional.adaptive_avg_pool2d(maps, 1)).flatten(1))
def norm_of_one(): return Pooled(lambda: nn.BatchNorm2d(6))
class Auxiliary(Net):
    def forward(self, images):
        scores = super().forward(images)
        return collections.namedtuple("Outputs", "scores aux")(scores, scores) if self.training else scores
def auxiliary(): return Auxiliary()
class Dictionary(Net):
    def forward(self, images):
        return {"logits": super().forward(images)}
def dictionary(): return Dictionary()
class Picky(Net):
    def forward(self, images):
        assert images.shape[-1] == 64, "made for 64"
        return super().forward(images)
def picky(): return Picky()
"""


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path / "nets.py"


def run(nets: Path, name: str, batch_size: int, images: int = 7, side: int = 32, **more: Any) -> Path:
    out, data = nets.parent / name, {"images": str(images), "size": "32", "object_scale": "0.6"}
    more = {"dataset_args": data, "validation": False, "device": "cpu", "out": out, **more}
    path = train(f"{nets}:{name}", "synthetic", Recipe((Stage(2, side, batch_size),)), **more)
    assert path is not None
    return path


@pytest.mark.parametrize("name", ["plain", "batch_norm", "instance_norm"])
def test_batches_of_one_image(nets: Path, name: str) -> None:
    path = run(nets, name, 1)
    log = pd.read_csv(path.parent / "log.csv")
    assert log["train_loss"].between(0.1, 10).all()
    assert (log["train_err"] * 7 / 100).round(6).isin(range(8)).all()  # of all seven images


def test_only_a_last_single_image_is_skipped(nets: Path) -> None:
    log = pd.read_csv(run(nets, "plain", 3).parent / "log.csv")
    assert (log["train_err"] * 6 / 100).round(6).isin(range(7)).all()


def test_a_data_set_of_one_image(nets: Path) -> None:
    assert run(nets, "plain", 8, images=1).is_file()


@pytest.mark.parametrize(
    ("name", "batch_size", "images", "side"), [("norm_of_one", 1, 7, 32), ("norm_of_one", 8, 1, 32)]
)
def test_normalization_of_a_single_value(nets: Path, name: str, batch_size: int, images: int, side: int) -> None:
    with pytest.raises(InputError) as caught:
        run(nets, name, batch_size, images, side)
    assert "cannot be trained on 1 image of 32 x 32 per step: normalization needs two values" in str(caught.value)
    assert str(caught.value).endswith("give a larger --batch-size or --image-size")
    assert not (nets.parent / name).exists()
    run(nets, name, 2)


def test_instance_normalization_of_a_single_value(nets: Path) -> None:
    with pytest.raises(InputError, match=r"cannot take images of 8 x 8 \(Expected more than 1 spatial element"):
        run(nets, "instance_norm", 4, side=8)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("auxiliary", "auxiliary for 2 images in training mode is a Outputs, not a tensor of class scores"),
        ("dictionary", "dictionary for one image is a dict, not a tensor of class scores"),
        ("picky", r"picky cannot take images of 32 x 32 \(made for 64\)"),
    ],
)
def test_outputs_and_sizes_that_cannot_be_trained(nets: Path, name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        run(nets, name, 4)


def test_torchvision_networks_of_a_fixed_size(tmp_path: Path) -> None:
    recipe = Recipe((Stage(1, 384, 4),))
    with pytest.raises(InputError, match="vit_b_16 cannot take images of 384 x 384"):
        train("vit_b_16", "synthetic", recipe, dataset_args={"images": "4"}, device="cpu", out=tmp_path / "out")


def test_the_check_of_a_step_leaves_no_trace() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 8, 8), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    check_step(network, "it", 8, 4, 2)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_the_weights_remember_the_size_of_their_images(nets: Path) -> None:
    path = run(nets, "picky", 4, side=64)
    with safetensors.safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["wsol"])
    assert facts["preprocessing"]["size"] == 64
    assert read_checkpoint(path).metadata.preprocessing == Preprocessing(size=64)
    # A curriculum ends at the size of its last stage.
    recipe = Recipe((Stage(1, 32, 4), Stage(1, 48, 4)))
    more = {"dataset_args": {"images": "4", "size": "32", "object_scale": "0.6"}, "validation": False, "device": "cpu"}
    curriculum = train(f"{nets}:plain", "synthetic", recipe, out=nets.parent / "two", **more)
    assert read_checkpoint(curriculum).metadata.preprocessing.size == 48


SMALL = """
import torch.nn.functional as F
from torch import nn
class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.fc = nn.Sequential(nn.Conv2d(3, 24, 8, 8), nn.ReLU()), nn.Linear(24, 12)
    def forward(self, images):
        return self.fc(F.avg_pool2d(self.body(images), 8).flatten(1))
"""


@pytest.mark.slow
def test_the_printed_command_evaluates_a_network_for_small_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.py").write_text(SMALL)
    options = "--model small.py:Small --dataset synthetic --image-size 64 --epochs 1 --device cpu --no-validation"
    options += " --dataset-arg images=12 --dataset-arg size=64 --dataset-arg object_scale=0.6"
    assert train_main(shlex.split(options)) == 0
    command = shlex.split(capsys.readouterr().out.partition("Evaluate it: ")[2])
    assert command[:3] == ["python", "-m", "wsol.eval"]
    assert eval_main([*command[3:], "--device", "cpu"]) == 0, capsys.readouterr().err
    # A network that takes no other size has been run at its own.
    with pytest.raises(InputError, match="does not accept images of 224 x 224"):
        load_model("small.py:Small", command[4], side=224)


DENSE = """
import torch
def dense(classes=12):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 8, 8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(24, classes),
    )
def pooled(classes=12):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 8, 8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(6, classes),
    )
"""


@pytest.mark.parametrize("name", ["dense", "pooled"])
def test_the_printed_command_has_a_method_that_applies(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(DENSE)
    options = f"--model nets.py:{name} --dataset synthetic --image-size 32 --epochs 1 --device cpu --no-validation"
    options += " --dataset-arg images=12 --dataset-arg size=32 --dataset-arg object_scale=0.6"
    assert train_main(shlex.split(options)) == 0
    printed, _, command = capsys.readouterr().out.partition("Evaluate it: ")
    note = "note: cam cannot be applied: class activation maps need class scores that are linear in"
    assert (note in printed) == ("--method" in command) == (name == "dense")
    if name == "pooled":
        return
    assert " --method gradcam " in command
    assert eval_main([*shlex.split(command)[3:], "--device", "cpu"]) == 0, capsys.readouterr().err


def test_files_from_before_sizes_were_stored_are_read(nets: Path) -> None:
    path = run(nets, "plain", 4)
    with safetensors.safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["wsol"])
    del facts["preprocessing"]["size"]
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {"wsol": json.dumps(facts)})
    assert read_checkpoint(path).metadata.preprocessing == Preprocessing()
    assert load_model(f"{nets}:plain", path).preprocessing.size is None
