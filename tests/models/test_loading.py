"""Weights files, as people have them."""

import argparse
import collections
import datetime
import hashlib
import pickle
import shlex
import sys
import types
import urllib.error
import zipfile
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import googlenet, resnet18, squeezenet1_1

from wsol.errors import InputError
from wsol.models import MODELS, load_matching, load_model
from wsol.models.architectures.vgg16_gap import VGG16GAP
from wsol.models.base import Preprocessing, PublishedWeights
from wsol.models.checkpoint import read_checkpoint


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return resnet18(weights=None, num_classes=13).eval()


def same(path: Path, network: nn.Module) -> None:
    model = load_model("resnet18", path)
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model.network(images), network(images))
    assert model.classes == 13
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.signature == f"resnet18:{model.sha256[:8]}"
    assert model.weights == path.name
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


def holds(path: Path, network: nn.Module) -> None:
    """Compare the tensors of a file with those of a network."""
    expected = network.state_dict()
    state = read_checkpoint(path).select(expected)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def with_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add what a counter of operations leaves behind at every layer."""
    layers = {key.rpartition(".")[0] for key in state}
    counts = [f"{layer}.{name}" for layer in layers for name in ("total_ops", "total_params")]
    return state | {count: torch.zeros(1, dtype=torch.float64) for count in counts}


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 9},
        lambda state: {"model": prefixed(state, "module."), "optimizer": {"lr": 0.1}},
        lambda state: {"state_dict": prefixed(state, "model.module.")},
        lambda state: prefixed(state, "module._orig_mod."),
    ],
)
@pytest.mark.slow
def test_wrappings(tmp_path: Path, resnet: nn.Module, wrap: Callable[[dict[str, Tensor]], Any]) -> None:
    torch.save(wrap(resnet.state_dict()), tmp_path / "w.pth")
    same(tmp_path / "w.pth", resnet)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": prefixed(state, "net."), "hyper_parameters": {"lr": 0.1}},  # Lightning
        lambda state: (
            prefixed(state, "network.") | {"network.total_ops": torch.zeros(1), "n_averaged": torch.tensor(3)}
        ),
        with_counters,
        lambda state: {"swa_model": {"n_averaged": torch.tensor(9), **prefixed(state, "module.")}},
        lambda state: {
            "module": state,
            "optimizer": None,
            "param_shapes": {"conv1.weight": torch.Size([1])},
        },  # DeepSpeed
        lambda state: {"weights": state, "arch": "resnet18"},
        lambda state: {"params": prefixed(state, "encoder.")},
        lambda state: {"backbone": prefixed(state, "module.")},
        lambda state: {f"backbone.{key}" if key[:2] != "fc" else key: value for key, value in state.items()},
        lambda state: {"teacher": prefixed(state, "module.teacher."), "student": None},
    ],
)
def test_wrappings_of_training_packages(
    tmp_path: Path, resnet: nn.Module, wrap: Callable[[dict[str, Tensor]], Any]
) -> None:
    torch.save(wrap(resnet.state_dict()), tmp_path / "w.pth")
    holds(tmp_path / "w.pth", resnet)


@pytest.mark.parametrize(
    ("average", "plain"),
    [("model_ema", "model"), ("state_dict_ema", "state_dict"), ("teacher", "student"), ("params_ema", "params")],
)
def test_the_average_is_taken_and_named(tmp_path: Path, resnet: nn.Module, average: str, plain: str) -> None:
    other = {key: torch.zeros_like(value) for key, value in resnet.state_dict().items()}
    torch.save({plain: other, average: prefixed(resnet.state_dict(), "module."), "epoch": 3}, tmp_path / "w.pth")
    holds(tmp_path / "w.pth", resnet)
    (note,) = read_checkpoint(tmp_path / "w.pth").notes
    assert note == f"w.pth holds {average!r} and {plain!r}; {average!r}, the running average, is used"


@pytest.mark.slow
def test_model_and_training_carry_the_note(tmp_path: Path, resnet: nn.Module) -> None:
    other = {key: torch.zeros_like(value) for key, value in resnet.state_dict().items()}
    torch.save({"model": other, "model_ema": prefixed(resnet.state_dict(), "module.")}, tmp_path / "w.pth")
    network = resnet18(weights=None, num_classes=13)
    report = load_matching(network, "resnet18", tmp_path / "w.pth")
    assert torch.equal(network.fc.weight, resnet.fc.weight)
    assert report.missing == ()
    assert "'model_ema', the running average, is used" in report.notes[0]
    assert load_model("resnet18", tmp_path / "w.pth").notes == report.notes


def test_an_empty_average_is_not_taken(tmp_path: Path, resnet: nn.Module) -> None:
    torch.save({"model": resnet.state_dict(), "model_ema": {"decay": 0.99, "module": {}}}, tmp_path / "w.pth")
    holds(tmp_path / "w.pth", resnet)
    assert read_checkpoint(tmp_path / "w.pth").notes == ()


class Attributes(dict[str, Any]):
    """A dictionary with attributes, as EasyDict and Lightning's AttributeDict are."""

    __module__, __qualname__ = "easydict", "EasyDict"

    def __init__(self, **items: Any) -> None:
        super().__init__(items)
        vars(self).update(items)


@pytest.mark.parametrize(
    "settings",
    [
        {
            "best": np.float64(0.5),
            "epoch": np.int64(3),
            "mean": np.arange(3.0),
            "dtype": np.dtype("f4"),
            "type": np.float32,
        },
        argparse.Namespace(lr=0.1, out=Path("runs"), nested=argparse.Namespace(betas=(0.9, 0.99))),
        types.SimpleNamespace(out=PureWindowsPath("C:/runs")),
        collections.defaultdict(list, losses=[0.5]),
        {"date": datetime.datetime(2024, 1, 2, 3, 4, 5), "took": datetime.timedelta(seconds=3)},
        pytest.param(Attributes(lr=0.1, out=Path("runs")), id="EasyDict"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("zipped", [True, False])
def test_plain_data_beside_the_tensors(
    tmp_path: Path, resnet: nn.Module, monkeypatch: pytest.MonkeyPatch, settings: object, zipped: bool
) -> None:
    fake = types.ModuleType("easydict")  # a package that need not be installed
    fake.EasyDict = Attributes
    monkeypatch.setitem(sys.modules, "easydict", fake)
    content = {"args": settings, "state_dict": resnet.state_dict()}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "easydict")
    before = torch.serialization.get_safe_globals()
    holds(tmp_path / "w.pth", resnet)
    assert {*torch.serialization.get_safe_globals()} == {*before}


def test_files_of_numpy_1_are_read_with_numpy_2_and_the_reverse(tmp_path: Path, resnet: nn.Module) -> None:
    torch.save({"best": np.float64(0.5), "model": resnet.state_dict()}, tmp_path / "w.pth")
    here, there = b"numpy._core.multiarray", b"numpy.core.multiarray"
    with zipfile.ZipFile(tmp_path / "w.pth") as old, zipfile.ZipFile(tmp_path / "v.pth", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                assert data.count(here) + data.count(there) == 1
                data = data.replace(here, there) if here in data else data.replace(there, here)
            new.writestr(name, data)
    holds(tmp_path / "w.pth", resnet)
    holds(tmp_path / "v.pth", resnet)


class Wrapper(nn.Module):
    """A network that keeps another one as ``model``."""

    def __init__(self) -> None:
        super().__init__()
        self.model = resnet18(weights=None, num_classes=13)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.model(images)
        return scores


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod."])
def test_a_network_whose_own_names_have_a_prefix_keeps_it(tmp_path: Path, resnet: nn.Module, prefix: str) -> None:
    torch.save(prefixed(resnet.state_dict(), f"{prefix}model."), tmp_path / "w.pth")
    checkpoint = read_checkpoint(tmp_path / "w.pth")
    network = Wrapper()
    network.load_state_dict(checkpoint.select(network.state_dict()))
    assert torch.equal(network.model.fc.weight, resnet.fc.weight)
    assert checkpoint.state.keys() == checkpoint.select(resnet.state_dict()).keys() == resnet.state_dict().keys()


def test_a_pickled_network_is_refused_with_the_command_that_converts_it(
    tmp_path: Path, resnet: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for content in (resnet, {"model": resnet, "epoch": 3}, {"state_dict": resnet.state_dict(), "net": Wrapper()}):
        torch.save(content, "my w.pth")
        with pytest.raises(InputError, match=r"not unpickled \(it needs \S+\), which could run any code") as caught:
            read_checkpoint(Path("my w.pth"))
        code = shlex.split(str(caught.value).partition("alone: ")[2])
        assert code[:2] == ["python", "-c"]
        exec(code[2], {})
        holds(tmp_path / "my w.tensors.pth", resnet)


def test_safetensors(tmp_path: Path, resnet: nn.Module) -> None:
    save_file(resnet.state_dict(), tmp_path / "w.safetensors")
    same(tmp_path / "w.safetensors", resnet)


def test_old_files_without_batch_counters_and_half_precision(tmp_path: Path, resnet: nn.Module) -> None:
    state = {k: v.half() for k, v in resnet.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.pth")
    weight = load_model("resnet18", tmp_path / "w.pth").network.linear.weight
    torch.testing.assert_close(weight.data, resnet.fc.weight.data.half().float())


@pytest.mark.slow
def test_squeezenet_and_vgg16_gap_take_their_classes_from_the_file(tmp_path: Path) -> None:
    save_file(squeezenet1_1(num_classes=9).state_dict(), tmp_path / "s.safetensors")
    assert load_model("squeezenet1_1", tmp_path / "s.safetensors").classes == 9
    save_file(VGG16GAP(200, groups=2).state_dict(), tmp_path / "v.safetensors")
    model = load_model("vgg16-gap", tmp_path / "v.safetensors")
    assert model.classes == 200
    save_file({"fc.weight": torch.tensor(1.0), "conv6.weight": torch.zeros(2)}, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match=r"b\.safetensors does not fit vgg16-gap: missing in the file: features\.0"):
        load_model("vgg16-gap", tmp_path / "b.safetensors")
    assert model.network.linear.bias is None


@pytest.mark.slow
def test_auxiliary_heads_may_be_missing(tmp_path: Path) -> None:
    state = googlenet(weights=None, init_weights=False, num_classes=5).state_dict()
    save_file({k: v for k, v in state.items() if not k.startswith("aux")}, tmp_path / "g.safetensors")
    assert load_model("googlenet", tmp_path / "g.safetensors").classes == 5


@pytest.mark.slow
def test_a_published_file_is_known_by_its_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "downloaded.safetensors"
    save_file(googlenet(weights=None, init_weights=False).state_dict(), path)
    architecture = MODELS.get("googlenet")
    other = Preprocessing((0.1, 0.2, 0.3), (1, 1, 1))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(type(architecture), "published_weights", lambda _: (PublishedWeights("V9", digest, other),))
    model = load_model("googlenet", path)
    assert (model.weights, model.preprocessing) == ("V9", other)
    images = torch.rand(1, 3, 64, 64)
    monkeypatch.setattr(type(architecture), "published_weights", lambda _: ())
    plain = load_model("googlenet", path)
    assert "input is not transformed" in plain.notes[0]
    assert model.notes == ()
    assert plain.preprocessing == Preprocessing()
    # torchvision's own weights of the Inception family want their input transformed; a user's do not.
    assert not torch.allclose(model.network(images), plain.network(images))


def test_published_names_carry_checksums_and_preprocessing() -> None:
    offered = {p.name: p for p in MODELS.get("resnet50").published_weights()}
    assert offered["IMAGENET1K_V1"].sha256_prefix == "0676ba61"  # resnet50-0676ba61.pth
    assert offered["IMAGENET1K_V2"].sha256_prefix == "11ad3fa6"
    assert offered["IMAGENET1K_V1"].preprocessing == Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224)


def test_what_does_not_fit_is_named(tmp_path: Path, resnet: nn.Module) -> None:
    state = dict(resnet.state_dict())
    state["layer1.0.conv1.weight"] = torch.zeros(3, 3)
    del state["layer4.0.conv1.weight"]
    state["extra.weight"] = torch.zeros(1)
    state["fc.bias"] = torch.tensor(1.0)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError) as caught:
        load_model("resnet18", tmp_path / "w.safetensors")
    for part in (
        "does not fit resnet18",
        "missing in the file: layer4.0.conv1.weight",
        "unknown to the network: extra.weight",
        "layer1.0.conv1.weight is 3 x 3, not 64 x 64 x 3 x 3",
    ):
        assert part in str(caught.value)


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harm"),))


def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Harmful()}, "w.pth")
    Path("p.pth").write_bytes(pickle.dumps(Harmful()))
    for name in ("w.pth", "p.pth"):
        with pytest.raises(InputError, match="save its state_dict"):
            load_model("resnet18", name)
    assert not Path("harm").exists()


def test_without_a_model_a_weights_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no weights file .*gone\.safetensors; give --model, or --weights"):
        load_model(None, tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (None, "no weights; give --weights a .safetensors, .pth or .caffemodel file or IMAGENET1K_V1"),
        ("IMAGENET1K_V7", "there is no weights file IMAGENET1K_V7; give .* or IMAGENET1K_V1"),
        ("gone.pth", "there is no weights file gone.pth"),
        ("empty.pth", "empty.pth is not a readable weights file"),
        ("text.safetensors", "text.safetensors is not a readable weights file"),
        ("page.pth", "page.pth is not a readable weights file; check --weights"),
        ("log.csv", "log.csv is not a readable weights file; check --weights"),
        ("cut.pth", "cut.pth is not a readable weights file"),
        ("list.pth", "list.pth has no named tensors"),
    ],
)
def test_bad_weights_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str | None, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.pth").touch()
    Path("log.csv").write_text("epoch,train_loss\n1,0.5\n")
    Path("page.pth").write_text("<html>not found</html>")
    Path("text.safetensors").write_text("no weights at all, but some text")
    torch.save([torch.zeros(1)], "list.pth")
    torch.save({"a": torch.zeros(9)}, "cut.pth", _use_new_zipfile_serialization=False)
    Path("cut.pth").write_bytes(Path("cut.pth").read_bytes()[:150])
    with pytest.raises(InputError, match=sentence):
        load_model("resnet18", weights)


def test_unknown_models_name_the_close_ones() -> None:
    with pytest.raises(InputError, match=r"did you mean .*resnet50"):
        load_model("resnet5", None)


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(InputError, match=r"cannot download https.*resnet18-.*no route.*give --weights FILE"):
        load_model("resnet18", "IMAGENET1K_V1")


def test_a_damaged_cache_is_not_taken_for_the_published_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, resnet: nn.Module
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cached.parent.mkdir(parents=True)
    torch.save(resnet.state_dict(), cached)
    with pytest.raises(InputError, match=r"resnet18-f37072fd\.pth is not the file published as IMAGENET1K_V1"):
        load_model("resnet18", "IMAGENET1K_V1")
