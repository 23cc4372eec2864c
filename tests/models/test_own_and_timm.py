"""A user's own network in a Python file, and the networks of timm."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import wsol
from wsol.datasets import load_dataset
from wsol.errors import InputError
from wsol.models import GapClassifier, Preprocessing, load_model

OWN = """
import torch
from torch import nn
from helper import WIDTH


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, WIDTH, 7, 8, 3), nn.ReLU(inplace=True))
        self.last = nn.Conv2d(WIDTH, 12, 3, 2, 1)
        self.fc = nn.Linear(12, 7)

    def forward(self, images):
        return self.fc(self.last(self.stem(images)).relu().mean((2, 3)))


def make(seed=0):
    torch.manual_seed(seed)
    return Net()


def other():
    return make(1)


def normalized():
    from wsol.models import Preprocessing
    network = make()
    network.preprocessing = Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    return network


def misnamed():
    network = make()
    network.preprocessing = "imagenet"
    return network


def raises():
    raise KeyError("conv9")


def wants(arguments):
    return make()


def nothing():
    pass


number = 3
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A file with factories, which imports one beside it."""
    (tmp_path / "helper.py").write_text("WIDTH = 6\n")
    (tmp_path / "nets.py").write_text(OWN)
    sys.modules.pop("helper", None)
    return str(tmp_path / "nets.py")


def plain(seed: int) -> nn.Module:
    """The same network, written down again."""
    torch.manual_seed(seed)
    net = nn.Module()
    net.stem = nn.Sequential(nn.Conv2d(3, 6, 7, 8, 3), nn.ReLU())
    net.last, net.fc = nn.Conv2d(6, 12, 3, 2, 1), nn.Linear(12, 7)
    return net


def scores(net: Any, images: Tensor) -> Tensor:
    return net.fc(net.last(net.stem(images)).relu().mean((2, 3)))


def noise() -> Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(3))


def test_own_network_with_the_weights_it_comes_with(own: str) -> None:
    path = list(sys.path)
    model = load_model(f"{own}:make")
    assert sys.path == path
    with torch.no_grad():
        torch.testing.assert_close(model.network(noise()), scores(plain(0), noise()))
    assert isinstance(model.network, GapClassifier)
    assert model.network.features(noise()).shape == (2, 12, 14, 14)
    assert (model.name, model.classes, model.layer) == (f"{own}:make", 7, None)
    assert model.preprocessing == Preprocessing()
    assert not any(module.training for module in model.network.modules())
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


def test_own_network_with_weights_from_a_file(own: str, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file(plain(5).state_dict(), file)
    model = load_model(f"{own}:make", file)
    with torch.no_grad():
        torch.testing.assert_close(model.network(noise()), scores(plain(5), noise()))
    assert model.weights == "w.safetensors"
    assert load_model(f"{own}:other", file).sha256 == model.sha256  # the file's, whoever builds the network

    state = plain(5).state_dict()
    save_file({**state, "fc.weight": torch.zeros(9, 12)}, file)
    with pytest.raises(InputError, match=r"w\.safetensors does not fit .*fc\.weight is 9 x 12, not 7 x 12"):
        load_model(f"{own}:make", file)
    save_file({k: v for k, v in state.items() if k != "last.bias"}, file)
    with pytest.raises(InputError, match=r"missing in the file: last\.bias"):
        load_model(f"{own}:make", file)
    with pytest.raises(InputError, match=r"there is no weights file .*gone\.pth"):
        load_model(f"{own}:make", tmp_path / "gone.pth")


def test_signature_is_that_of_the_weights(own: str, tmp_path: Path) -> None:
    first, again, other = (load_model(f"{own}:{name}") for name in ("make", "make", "other"))
    assert first.signature == again.signature
    assert len(first.sha256) == 64
    assert first.signature.endswith(f":{first.sha256[:8]}")
    assert first.sha256 != other.sha256
    named = load_model(f"{own}:make", layer="last")
    assert named.sha256 == first.sha256
    code = hashlib.sha256(Path(own).read_bytes()).hexdigest()[:8]
    assert named.signature == f"nets.py:make@{code}@last:{first.sha256[:8]}"

    # The same numbers in a network of other names are other weights, and so is one changed bit.
    text = Path(own).read_text()
    renamed = tmp_path / "renamed.py"
    renamed.write_text(text.replace("self.last", "self.final"))
    nudged = tmp_path / "nudged.py"
    nudged.write_text(text + "\n\ndef bit():\n    n = make()\n    n.fc.bias.data[3] += 1e-6\n    return n\n")
    digests = {first.sha256, load_model(f"{renamed}:make").sha256, load_model(f"{nudged}:bit").sha256}
    assert len(digests) == 3


def test_own_preprocessing(own: str, tmp_path: Path) -> None:
    given = Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert load_model(f"{own}:normalized").preprocessing == given
    save_file(plain(2).state_dict(), tmp_path / "w.safetensors")
    assert load_model(f"{own}:normalized", tmp_path / "w.safetensors").preprocessing == given
    with pytest.raises(InputError, match=r"nets\.py:misnamed: preprocessing is str; make it a wsol\.models\.Preproc"):
        load_model(f"{own}:misnamed")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("gone", r"nets\.py has no function 'gone'"),
        ("number", r"nets\.py has no function 'number'"),
        ("", r"nets\.py has no function ''"),
        ("raises", r"nets\.py:raises raises KeyError: 'conv9'"),
        ("wants", r"nets\.py:wants raises TypeError: .*arguments"),
        ("nothing", r"nets\.py:nothing returns NoneType, not a torch\.nn\.Module"),
    ],
)
def test_own_functions_that_will_not_do(own: str, function: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        load_model(f"{own}:{function}")
    assert "\n" not in str(refusal.value)


def test_own_files_that_will_not_do(own: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*gone\.py; --model takes FILE\.py:FUNCTION"):
        load_model(f"{tmp_path / 'gone.py'}:make")
    before = list(sys.path)
    for text, says in (
        ("import nowhere_to_be_found", r"bad\.py raises ModuleNotFoundError: .*nowhere_to_be_found"),
        ("raise ValueError('so early')", r"bad\.py raises ValueError: so early"),
        ("def make(:\n    pass", r"bad\.py raises SyntaxError"),
    ):
        (tmp_path / "bad.py").write_text(text)
        with pytest.raises(InputError, match=says) as refusal:
            load_model(f"{tmp_path / 'bad.py'}:make")
        assert "\n" not in str(refusal.value)
        assert sys.path == before
    with pytest.raises(InputError, match="leave out --map-size"):
        load_model(f"{own}:make", map_size=28)


def test_evaluating_an_own_network_at_a_named_layer(own: str, csv_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = wsol.evaluate(
        f"{own}:make", dataset="csv", data_root=csv_data, device="cpu", method="gradcam", layer="stem.0", out=out
    )
    maps = np.load(out / "maps.npy")
    assert maps.shape[1:] == (6, 28, 28)  # a stride of 8; the ground-truth class and five guesses
    assert "@stem.0:" in result.signature
    assert "|gradcam" in result.signature

    # Grad-CAM of the ground-truth class by hand: the images in the order of the predictions, as the model takes them.
    net = plain(0)
    own_rows = result.predictions[result.predictions["rank"] == 0]
    for i, (sample, label) in enumerate(zip(load_dataset("csv", csv_data), own_rows.label, strict=True)):
        with Image.open(sample.path) as image:
            small = image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
        pixels = Preprocessing().normalize(np.asarray(small)[None].copy(), torch.device("cpu"))
        features = net.stem[0](pixels).detach().requires_grad_()
        score = net.fc(net.last(features.relu()).relu().mean((2, 3)))[0, label]
        weights = torch.autograd.grad(score, features)[0].mean((2, 3), keepdim=True)
        expected = (weights * features).sum(1).relu().detach()[0].numpy()
        np.testing.assert_allclose(maps[i, 0], expected, rtol=1e-3, atol=1e-5 * max(expected.max(), 1e-6))
    assert maps.max() > 0

    with pytest.raises(InputError, match=r"has no layer stam; its children are stem, last, fc"):
        wsol.evaluate(f"{own}:make", dataset="csv", data_root=csv_data, device="cpu", layer="stam")
    with pytest.raises(InputError, match="cam cannot be applied"):
        wsol.evaluate(f"{own}:make", dataset="csv", data_root=csv_data, device="cpu", layer="stem.0")


def saved(net: nn.Module, path: Path) -> Path:
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, path)
    return path


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("resnet10t", 13),
        ("test_convnext", 13),  # a classifier behind a norm
        ("vit_tiny_patch16_224", 13),
        ("levit_128s", 1000),  # a batch normalization and a linear layer, twice
        ("levit_128s", 13),
        ("mobilenetv3_small_050", 13),
    ],
)
@pytest.mark.sample(3)
def test_a_file_says_how_many_classes_timms_network_has(tmp_path: Path, name: str, classes: int) -> None:
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=classes).eval()
    file = saved(net, tmp_path / "w.safetensors")
    model = load_model(f"timm/{name}", file)
    assert model.classes == classes
    images = noise()[:1]
    with torch.no_grad():
        expected = net(images)
        assert (model.network(images) - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (model.name, model.weights) == (f"timm/{name}", "w.safetensors")


@pytest.mark.slow
def test_timms_own_preprocessing(tmp_path: Path) -> None:
    # Google's vision transformers take [-1, 1], most others ImageNet's mean and deviation.
    file = saved(timm.create_model("resnet10t"), tmp_path / "w.safetensors")
    assert load_model("timm/resnet10t", file).preprocessing == Preprocessing()
    file = saved(timm.create_model("vit_tiny_patch16_224"), tmp_path / "v.safetensors")
    halves = (0.5, 0.5, 0.5)
    assert load_model("timm/vit_tiny_patch16_224", file).preprocessing == Preprocessing(halves, halves, 224)


@pytest.mark.parametrize(
    ("slip", "near"), [("resnet10x", "resnet10t"), ("vit_tiny_patch16_225", "vit_tiny_patch16_224")]
)
def test_near_names(slip: str, near: str) -> None:
    with pytest.raises(InputError, match=rf"timm has no model '{slip}'; did you mean .*{near}\b"):
        load_model(f"timm/{slip}")


def test_timms_networks_that_will_not_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"timm has no model 'zzz'$"):
        load_model("timm/zzz")
    with pytest.raises(InputError, match=r"timm/resnet10t: no weights; give --weights .*or pretrained$"):
        load_model("timm/resnet10t")
    with pytest.raises(InputError, match=r"there is no weights file gone\.pth"):
        load_model("timm/resnet10t", "gone.pth")
    file = saved(timm.create_model("resnet10t"), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="leave out --map-size"):
        load_model("timm/resnet10t", file, map_size=14)
    with pytest.raises(InputError, match="does not fit timm/test_resnet: missing in the file"):
        load_model("timm/test_resnet", file)


def test_a_tag_that_timm_does_not_know() -> None:
    # What stands behind the dot says whose weights and whose preprocessing: a slip of the pen must not pass for it.
    with pytest.raises(InputError, match=r"resnet10t\.c3_in2k"):
        load_model("timm/resnet10t.c3_in2k", "pretrained")


def test_pretrained_weights_come_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = timm.create_model("resnet10t").eval()
    file, asked = saved(net, tmp_path / "model.safetensors"), []

    def download(repo: str, name: str, *_: Any, **__: Any) -> str:
        asked.append((repo, name))
        return str(file)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))
    model = load_model("timm/resnet10t", "pretrained")
    assert asked == [("timm/resnet10t.c3_in1k", "model.safetensors")]
    assert (model.weights, model.classes, model.preprocessing) == ("pretrained", 1000, Preprocessing(size=224))
    with torch.no_grad():
        torch.testing.assert_close(model.network(noise()), net(noise()))


@pytest.mark.parametrize("error", [ConnectionError("no route\nto host"), OSError(""), KeyError("x")])
def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=fail))
    with pytest.raises(InputError, match=r"cannot download timm/resnet10t\.c3_in1k .*give --weights FILE") as refusal:
        load_model("timm/resnet10t", "pretrained")
    assert "\n" not in str(refusal.value)


def test_without_the_hubs_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"huggingface_hub.*give --weights FILE"):
        load_model("timm/resnet10t", "pretrained")


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"timm/resnet10t needs the package timm; pip install 'wsol\[timm\]'"):
        load_model("timm/resnet10t")


@pytest.mark.slow
def test_a_network_that_does_not_classify(tmp_path: Path, csv_data: Path) -> None:
    name = "vit_small_patch16_224.dino"
    torch.manual_seed(0)
    bare = timm.create_model(name)
    assert bare.num_classes == 0  # as DINO's teachers come: features, and no head
    model = load_model(f"timm/{name}", saved(bare, tmp_path / "w.safetensors"))
    assert model.classes == 0

    def run(method: str) -> Any:
        return wsol.evaluate(model, dataset="csv", data_root=csv_data, device="cpu", method=method, limit=4)

    result = run("self-attention")
    metrics = {*result.metrics.metric}
    assert {"gt_known_loc_acc", "mean_iou", "max_box_acc"} <= metrics
    assert not [metric for metric in metrics if "cls" in metric or "top1" in metric or "top5" in metric]
    assert set(result.predictions["rank"]) == {0}
    for method in ("tokencut", "lost", "dino-seg"):
        assert {*run(method).metrics.metric} == metrics
    for method in ("gradcam", "chefer", "cam", "rise"):
        with pytest.raises(InputError, match=rf"{method} cannot be applied: .* does not classify"):
            run(method)


@pytest.mark.parametrize("make", [Path, str], ids=["path", "str"])
def test_weights_as_a_path_or_a_string(tmp_path: Path, own: str, make: Callable[[Path], Any]) -> None:
    file = saved(plain(4), tmp_path / "w.safetensors")
    assert load_model(f"{own}:make", make(file)).weights == "w.safetensors"
