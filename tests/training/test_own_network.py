"""A user's own network, ``FILE.py:FUNCTION``, from its weights to a training on another number of classes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from wsol.errors import InputError
from wsol.models import load_model
from wsol.runtime.distributed import process_group
from wsol.training import Recipe, Stage, train
from wsol.training.config import TrainConfig, prepare_training
from wsol.training.methods import find_train_method

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 7, 8, 3)
        self.fc = nn.Linear(6, classes)

    def forward(self, images):
        return self.fc(self.stem(images).relu().mean((2, 3)))


def fixed():
    torch.manual_seed(5)  # the weights that the network comes with
    return Net(7)


def make(classes=7):
    network = fixed()
    if classes != 7:
        network.fc = nn.Linear(6, classes)
        nn.init.zeros_(network.fc.weight)
    return network
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A file with a network that comes with weights for seven classes."""
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


@pytest.fixture
def images(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    """Six images of three classes to train on, and one for val."""
    names = ["cat", "dog", "fox"]
    rows = ["image_id,label,x0,y0,x1,y1,split", *(f"{i}.png,{names[i % 3]},,,,,train" for i in range(6))]
    for i in range(7):
        draw(tmp_path / f"{i}.png", (32, 32))
    (tmp_path / "boxes.csv").write_text("\n".join([*rows, "6.png,dog,2,2,20,20,val\n"]))
    return tmp_path


def run(images: Path, model: str, **more: object) -> Path | None:
    recipe = Recipe((Stage(2, 32, 3),))
    return train(model, "csv", recipe, data_root=images, device="cpu", out=images / "out", workers=1, **more)


@pytest.mark.parametrize("freeze", ["features", None])
def test_it_is_fine_tuned_from_the_weights_it_comes_with(
    own: Path, images: Path, freeze: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(images, f"{own}:make", freeze=freeze)
    assert path is not None
    assert f"note: no --weights given: the training starts from the network as {own}:make returns it" in (
        capsys.readouterr().out
    )
    torch.manual_seed(5)
    stem, _ = nn.Conv2d(3, 6, 7, 8, 3), nn.Linear(6, 7)  # the network of the file, written down again
    trained = load_file(path)
    assert trained["fc.weight"].shape == (3, 6)
    assert trained["fc.weight"].any()
    assert torch.equal(trained["stem.weight"], stem.weight) == (freeze == "features")
    model = load_model(f"{own}:make", path)
    assert (model.classes, model.class_names) == (3, ("cat", "dog", "fox"))
    with safe_open(path, "pt") as file:
        recipe = json.loads(file.metadata()["wsol"])["recipe"]
    assert recipe["code"] == model.code_sha256
    assert len(recipe["weights"]) == 64


def test_trainings_with_several_seeds_start_from_the_same_recorded_weights(own: Path, images: Path) -> None:
    """A new last layer is random, and the seed must not look like another network to a group of seeds."""
    own.write_text(NET.replace("        nn.init.zeros_(network.fc.weight)\n", "").replace("torch.manual_seed(5)", ""))
    found = {}
    for seed, changed in ((0, False), (3, False), (3, True)):
        if changed:
            own.write_text(
                own.read_text().replace("return network", "nn.init.ones_(network.stem.bias)\n    return network")
            )
        config = TrainConfig(
            model=f"{own}:make", dataset="csv", recipe=Recipe((Stage(2, 32, 3),), seed=seed), weights=None, freeze=None,
            map_size=None, data_root=images, dataset_args={}, validation=False, device="cpu", precision="float32",
            train_method=find_train_method("cam"),
        )  # fmt: skip
        plan = prepare_training(config, process_group())
        found[seed, changed] = plan.request["weights"], plan.network.fc.weight[0, 0].item()
    (zero, first), (three, second), (other, third) = found.values()
    assert zero == three != other
    assert first != second == third
    torch.manual_seed(3)
    nn.Conv2d(3, 6, 7, 8, 3), nn.Linear(6, 7)
    assert second == nn.Linear(6, 3).weight[0, 0].item()  # the seed of the recipe draws the new layer


def test_its_file_may_move_after_the_training(own: Path, images: Path) -> None:
    path = run(images, f"{own}:make", train_method="has:grid=2")
    (images / "elsewhere").mkdir()
    moved = shutil.move(own, images / "elsewhere" / "net.py")
    model = load_model(f"{moved}:make", path)
    assert (model.classes, model.train_method) == (3, "has:grid=2,rate=0.5")
    with pytest.raises(InputError, match=r"was trained as .*make, not .*fixed"):
        load_model(f"{moved}:fixed", path)


def test_weights_of_another_program_say_how_many_classes_there_are(own: Path, tmp_path: Path) -> None:
    state = {"stem.weight": torch.ones(6, 3, 7, 7), "stem.bias": torch.ones(6)}
    torch.save({**state, "fc.weight": torch.ones(4, 6), "fc.bias": torch.zeros(4)}, tmp_path / "w.pth")
    assert load_model(f"{own}:make", tmp_path / "w.pth").classes == 4


def test_a_function_without_classes_that_has_others(own: Path, images: Path) -> None:
    with pytest.raises(InputError, match=r"shape 1 x 7, not 1 x 3 .*; its function may take .* def FUNCTION\(classes="):
        run(images, f"{own}:fixed")
    assert not (images / "out").exists()


def test_a_training_is_not_resumed_with_other_code(own: Path, images: Path) -> None:
    recipe = Recipe((Stage(2, 32, 3),))
    more = {"data_root": images, "device": "cpu", "out": images / "out", "workers": 1}
    assert train(f"{own}:make", "csv", recipe, stop_after=1, **more) is None
    own.write_text(NET.replace(".relu()", ".sigmoid()"))
    with pytest.raises(InputError, match="belongs to a training with code = "):
        train(f"{own}:make", "csv", recipe, **more)


def test_a_network_that_has_no_linear_layer_to_train_alone(images: Path, tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\n\n\ndef make(classes):\n"
        "    pool = nn.AdaptiveAvgPool2d(1)\n"
        "    return nn.Sequential(nn.Conv2d(3, classes, 7, 8, 3), nn.ReLU(), pool, nn.Flatten())\n"
    )
    with pytest.raises(InputError, match=r"no linear layer after its pooling .* such as NAME-gap"):
        run(images, f"{file}:make", freeze="features")
