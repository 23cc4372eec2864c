"""Backbones with a suffix, their map sizes, and weights to start from."""

from pathlib import Path

import pytest
import torch
import torchvision.models
from torch import nn

from wsol.errors import InputError
from wsol.models import MODELS, find_gap, load_matching
from wsol.models._feature_extractor import enlarge_maps
from wsol.models.architectures.vgg16_gap import VGG16GAP


class Branches(nn.Module):
    """Two branches of which one shrinks the map by no layer that could be dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.convolution(images), nn.functional.max_pool2d(images, 2)], 1)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "side", "features"),
    [
        ("alexnet-gap", None, (1024, 13)),  # the CAM paper: pool5 goes, a convolution of 1024 comes
        ("googlenet-gmp", None, (1024, 14)),  # the CAM paper: what follows inception4e goes
        ("resnet18-gap", None, (512, 7)),
        ("resnet18-gap", 14, (512, 14)),
        ("resnet18-gmp", 28, (512, 28)),
        ("densenet121-gap", 14, (1024, 14)),
        ("mobilenet_v3_small-gap", 14, (576, 14)),
        ("shufflenet_v2_x0_5-gmp", 14, (1024, 14)),
        ("squeezenet1_1-gap", None, (1000, 13)),
        ("regnet_y_400mf-gap", 14, (440, 14)),
        ("convnext_tiny-gap", 14, (768, 14)),  # its kernels are even
    ],
)
@pytest.mark.sample(3)
def test_pooling_is_global_and_maps_have_the_size_asked_for(
    name: str, side: int | None, features: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    network = MODELS.get(name).build_for_training(5, side).eval()
    found = find_gap(network, name)
    images = noise(1, 3, 224, 224)
    with torch.no_grad():
        maps, logits = found.features(images), network(images)
        assert maps.shape == (1, features[0], features[1], features[1])
        assert logits.shape == (1, 5)
        torch.testing.assert_close(found(images), logits)
        pooled = maps.mean((2, 3)) if name.endswith("gap") else maps.amax((2, 3))
        torch.testing.assert_close(found.linear(pooled), logits)
    again = MODELS.get(name).build(network.state_dict(), None, side)
    assert again.state_dict().keys() == network.state_dict().keys()


def test_the_last_strides_go_and_the_earlier_ones_stay() -> None:
    network = MODELS.get("resnet18-gap").build_for_training(5, 14)
    strided = [n for n, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    assert not any("layer4" in name for name in strided)
    assert any("layer3" in name for name in strided)


@pytest.mark.slow
def test_a_map_size_that_cannot_be_had_is_named() -> None:
    with pytest.raises(InputError, match=r"maps of 20 x 20 are not possible; --map-size can be 7, 14, 28"):
        MODELS.get("resnet18-gap").build_for_training(5, 20)
    with pytest.raises(InputError, match="--map-size can be 7"):
        MODELS.get("resnet18-gap").build_for_training(5, 6)
    with pytest.raises(InputError, match="densenet121 cannot have maps of 14 x 14; use densenet121-gap"):
        MODELS.get("densenet121").build_for_training(5, 14)
    with pytest.raises(InputError, match=r"x: maps of 300 x 300 are not possible; --map-size can be 224$"):
        enlarge_maps(nn.Conv2d(3, 4, 1), 300, "x")
    with pytest.raises(InputError, match="y: its maps cannot be made larger than 112"):
        enlarge_maps(Branches(), 224, "y")


def test_vision_transformers_have_no_suffix() -> None:
    assert "vit_b_16-gap" not in MODELS.names()
    assert {"alexnet-gap", "vgg16-gmp", "googlenet-gap", "resnet18-gap", "vgg16-gap"} <= {*MODELS.names()}


@pytest.mark.slow
def test_normalization_is_folded_into_the_convolutions() -> None:
    torch.manual_seed(0)
    architecture = MODELS.get("vgg16-gap")
    network = architecture.build_for_training(3)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.2, 0.2)
    state = architecture.export_state(network.eval())
    plain = VGG16GAP(3).eval()
    plain.load_state_dict(state)  # the paper's network, name by name
    images = noise(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(plain(images), network(images), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_weights_to_start_from_may_be_the_backbones(tmp_path: Path) -> None:
    torch.manual_seed(1)
    donor = torchvision.models.alexnet()
    torch.save(donor.state_dict(), tmp_path / "a.pth")
    network = MODELS.get("alexnet-gap").build_for_training(3, from_scratch=False)
    before = network.fc.weight.clone()
    found = load_matching(network, "alexnet-gap", tmp_path / "a.pth")
    assert found.missing == ("added.0.weight", "added.0.bias", "fc.weight", "fc.bias")
    taken = dict(network.named_parameters())["backbone.body.features.10.weight"]
    assert torch.equal(taken, donor.features[10].weight)
    assert torch.equal(network.fc.weight, before)

    torch.save(torchvision.models.vgg16(init_weights=False).state_dict(), tmp_path / "v.pth")
    vgg = MODELS.get("vgg16-gap").build_for_training(3, from_scratch=False)
    load_matching(vgg, "vgg16-gap", tmp_path / "v.pth")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in vgg.modules())

    with pytest.raises(InputError, match="no layer that fits resnet18-gap"):
        load_matching(MODELS.get("resnet18-gap").build_for_training(3), "resnet18-gap", tmp_path / "v.pth")
    with pytest.raises(InputError, match=r"no weights file gone.pth; give a file or IMAGENET1K_V1"):
        load_matching(network, "alexnet-gap", "gone.pth")
