"""The networks of Choe et al., CVPR 2020, compared with what their code, clovaai/wsolevaluation, lists."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models
from torch import Tensor, nn
from torch.nn import functional

from wsol.errors import InputError
from wsol.models import GapClassifier, find_architecture, find_classifier, load_matching
from wsol.models.heads.base import find_features

VGG, INCEPTION = "vgg16-wsolevaluation", "inception_v3-wsolevaluation"


def build(name: str, side: int | None = None) -> Any:
    return find_architecture(name).build_for_training(5, side, from_scratch=False).eval()


@pytest.mark.parametrize("name", [VGG, INCEPTION])
@pytest.mark.parametrize(("side", "size"), [(None, 14), (28, 28)])
@pytest.mark.slow
def test_map_sizes(name: str, side: int | None, size: int) -> None:
    with torch.device("meta"):
        found = find_classifier(build(name, side), name)
        assert isinstance(found, GapClassifier)
        assert found.pooling == "average"
        channels = 1024 if name == VGG else 5  # InceptionV3 ends in one map a class
        assert found.features(torch.zeros(1, 3, 224, 224)).shape == (1, channels, size, size)


def test_other_map_sizes_are_refused() -> None:
    with pytest.raises(InputError, match=r"vgg16-wsolevaluation: maps of 7 x 7 are not possible; --map-size can be 14"):
        build(VGG, 7)


@pytest.mark.parametrize("side", [14, 28])
@pytest.mark.slow
def test_vgg16_layer_by_layer(side: int) -> None:
    """Convolutions and poolings in the order of their configuration; then conv6, the mean and the linear layer."""
    torch.manual_seed(0)
    network = build(VGG, side)
    state = network.state_dict()
    plan: list[int | str] = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512]
    if side == 28:
        plan = [*plan[:13], *plan[14:]]
    maps = images = torch.randn(1, 3, 64, 64)
    keys = iter(key.removesuffix(".weight") for key in state if key.startswith("features.") and "weight" in key)
    for step in plan:
        if step == "M":
            maps = functional.max_pool2d(maps, 2)
        else:
            key = next(keys)
            maps = functional.conv2d(maps, state[f"{key}.weight"], state[f"{key}.bias"], padding=1).relu()
            assert maps.shape[1] == step
    maps = functional.conv2d(maps, state["conv6.weight"], state["conv6.bias"], padding=1).relu()
    with torch.no_grad():
        torch.testing.assert_close(network(images), maps.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"])
    assert next(keys, None) is None
    assert state["conv6.weight"].shape == (1024, 512, 3, 3)  # a single group
    assert not state["conv6.bias"].any()
    # fan_out is 1024 * 9, so that the standard deviation is the root of 2 / 9216.
    assert state["conv6.weight"].std().item() == pytest.approx((2 / 9216) ** 0.5, rel=0.01)


@pytest.mark.slow
def test_inception_v3_sides_and_layers() -> None:
    with torch.device("meta"):
        network = build(INCEPTION, 14)
        sides = {}
        maps = torch.zeros(1, 3, 224, 224)
        for name, layer in network.named_children():
            maps = layer(maps)
            sides[name] = maps.shape[-1]
    # 224 padded by 1: (226 - 3) / 2 + 1 = 112; unpadded 110; pooled (112 - 3) / 2 + 1 = 55.5, up to 56; unpadded 54;
    # pooled (56 - 3) / 2 + 1 = 27.5, up to 28; pooled without padding (28 - 3) / 2 + 1 = 13.5, up to 14.
    expected = {"Conv2d_1a_3x3": 112, "Conv2d_2a_3x3": 110, "Conv2d_2b_3x3": 110, "pool1": 56, "Conv2d_3b_1x1": 56}
    expected |= {"Conv2d_4a_3x3": 54, "pool2": 28, "Mixed_5b": 28, "Mixed_5c": 28, "Mixed_5d": 28, "pool3": 14}
    expected |= dict.fromkeys(["Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"], 14)
    added = ["dropout1", "SPG_A3_1b", "dropout2", "SPG_A3_2b", "dropout3", "SPG_A4"]
    assert sides == {**expected, **dict.fromkeys(added, 14), "avgpool": 1, "flatten": 5}
    assert [*sides] == [*expected, *added, "avgpool", "flatten"]  # in this order
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items() if key.startswith("SPG")}
    assert shapes == {
        "SPG_A3_1b.0.weight": (1024, 768, 3, 3),
        "SPG_A3_1b.0.bias": (1024,),
        "SPG_A3_2b.0.weight": (1024, 1024, 3, 3),
        "SPG_A3_2b.0.bias": (1024,),
        "SPG_A4.weight": (5, 1024, 1, 1),
        "SPG_A4.bias": (5,),
    }


def noise_state(network: nn.Module) -> dict[str, Tensor]:
    return {key: torch.full(value.shape, 0.5, dtype=value.dtype) for key, value in network.state_dict().items()}


@pytest.mark.parametrize(("name", "added"), [(VGG, {"conv6", "fc"}), (INCEPTION, {"SPG_A3_1b", "SPG_A3_2b", "SPG_A4"})])
@pytest.mark.slow
def test_training_starts_from_the_weights_of_torchvision(name: str, added: set[str], tmp_path: Path) -> None:
    with torch.device("meta"):
        donor = torchvision.models.get_model(name.partition("-")[0], weights=None, init_weights=False)
        network = build(name)
    torch.save(noise_state(donor), tmp_path / "weights.pth")
    network.to_empty(device="cpu")
    found = load_matching(network, name, tmp_path / "weights.pth")
    assert {key.split(".")[0] for key in found.missing} == added
    assert found.preprocessing.mean == (0.485, 0.456, 0.406)  # also of InceptionV3, as in their code
    assert [weights.name for weights in find_architecture(name).published_weights()] == [
        weights.name for weights in torchvision.models.get_model_weights(name.partition("-")[0])
    ]


@pytest.mark.parametrize(("name", "channels"), [(VGG, 512), (INCEPTION, 768)])
@pytest.mark.slow
def test_other_heads_take_the_layers_before_the_added_ones(name: str, channels: int) -> None:
    with torch.device("meta"):
        network = build(name)
        features, width = find_features(network, name)
        assert width == channels
        assert features(torch.zeros(1, 3, 224, 224)).shape == (1, channels, 14, 14)
        owned = {id(parameter) for parameter in network.parameters()}
        assert all(id(parameter) in owned for parameter in features.parameters())
        prefix = "" if name == VGG else "body."
        known = torchvision.models.get_model(name.partition("-")[0], weights=None, init_weights=False).state_dict()
        keys = [key.removeprefix(prefix) for key in features.state_dict()]
        assert {f"features.{key}" if name == VGG else key for key in keys} <= known.keys()


@pytest.mark.slow
def test_weights_are_read_with_their_number_of_classes() -> None:
    with torch.device("meta"):
        for name in (VGG, INCEPTION):
            state = build(name).state_dict()
            again = find_architecture(name).build(state, None, 28)
            assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in state.items()}
