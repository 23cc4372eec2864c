"""Weights files, as people have them."""

import hashlib
import pickle
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import googlenet, resnet18, squeezenet1_1

from wsol.errors import InputError
from wsol.models import MODELS, load_model
from wsol.models.architectures.vgg16_gap import VGG16GAP
from wsol.models.base import Preprocessing, PublishedWeights


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
def test_wrappings(tmp_path: Path, resnet: nn.Module, wrap: Callable[[dict[str, Tensor]], Any]) -> None:
    torch.save(wrap(resnet.state_dict()), tmp_path / "w.pth")
    same(tmp_path / "w.pth", resnet)


def test_safetensors(tmp_path: Path, resnet: nn.Module) -> None:
    save_file(resnet.state_dict(), tmp_path / "w.safetensors")
    same(tmp_path / "w.safetensors", resnet)


def test_old_files_without_batch_counters_and_half_precision(tmp_path: Path, resnet: nn.Module) -> None:
    state = {k: v.half() for k, v in resnet.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.pth")
    weight = load_model("resnet18", tmp_path / "w.pth").network.linear.weight
    torch.testing.assert_close(weight.data, resnet.fc.weight.data.half().float())


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


def test_auxiliary_heads_may_be_missing(tmp_path: Path) -> None:
    state = googlenet(weights=None, init_weights=False, num_classes=5).state_dict()
    save_file({k: v for k, v in state.items() if not k.startswith("aux")}, tmp_path / "g.safetensors")
    assert load_model("googlenet", tmp_path / "g.safetensors").classes == 5


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
    assert offered["IMAGENET1K_V1"].preprocessing == Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


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


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (None, "no weights; give --weights a .safetensors, .pth or .caffemodel file or IMAGENET1K_V1"),
        ("IMAGENET1K_V7", "there is no weights file IMAGENET1K_V7; give .* or IMAGENET1K_V1"),
        ("gone.pth", "there is no weights file gone.pth"),
        ("empty.pth", "empty.pth is not a readable weights file"),
        ("text.safetensors", "text.safetensors is not a readable weights file"),
        ("page.pth", "page.pth is not a readable weights file; check --weights"),
        ("cut.pth", "cut.pth is not a readable weights file"),
        ("list.pth", "list.pth has no named tensors"),
    ],
)
def test_bad_weights_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str | None, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.pth").touch()
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
