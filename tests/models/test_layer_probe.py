"""The target layer in one pass: size of its maps, gradients, and the layer before it where methods differ."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from tiny_net import TinyNet
from torch import nn

from wsol.models import Classifier, find_classifier
from wsol.models.layer_probe import LayerProbe


def probe(network: nn.Module, layer: str | None = None, side: int = 96) -> tuple[Classifier, LayerProbe]:
    torch.manual_seed(0)
    classifier = find_classifier(network.eval().requires_grad_(False), "net", layer)
    return classifier, LayerProbe(classifier, side)


class Block(nn.Module):
    """Two convolutions and a shortcut; one ReLU is called twice, as in torchvision's ResNets."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.relu = nn.BatchNorm2d(8), nn.ReLU(inplace=True)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        inside = self.norm(self.second(self.relu(self.first(maps))))
        inside += maps
        return self.relu(inside)


def end(channels: int, *head: nn.Module) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head, nn.Linear(channels, 5)]


def stem() -> list[nn.Module]:
    return [nn.Conv2d(3, 8, 7, 8, 3), nn.ReLU()]


def test_the_size_is_that_for_the_side_of_the_image() -> None:
    network = TinyNet()
    assert probe(network, side=96)[1].size == (6, 6)
    assert probe(network, side=224)[1].size == (14, 14)
    assert probe(network, "stem.0", side=96)[1].size == (24, 24)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "earlier"),
    [
        (TinyNet, "stem"),
        (lambda: nn.Sequential(*stem(), Block(), Block(), *end(8)), "2"),  # the block before, no layer inside the last
        (lambda: nn.Sequential(*stem(), Block(), nn.Dropout(), *end(8)), "1"),
        (lambda: nn.Sequential(*stem(), nn.Conv2d(8, 4, 1, bias=False), *end(4)), None),  # linear: it is CAM there, too
        (lambda: nn.Sequential(*stem(), Block(), nn.Conv2d(8, 4, 1, bias=False), *end(4)), "1"),
        (lambda: nn.Sequential(*stem(), Block(), *end(8, nn.LayerNorm(8))), "1"),  # not linear, but it sees the mean
    ],
    ids=["convolutions", "blocks", "dropout", "one layer", "linear", "norm"],
)
def test_before_the_layer_that_is_averaged(build: Callable[[], nn.Module], earlier: str | None) -> None:
    torch.manual_seed(1)
    network = build()
    _, found = probe(network)
    assert found.has_constant_gradient()
    assert found.find_earlier_layer() == earlier
    if earlier:
        classifier, there = probe(network, earlier)  # it can be chosen
        assert classifier.layer == earlier
        assert not there.has_constant_gradient()


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(*stem(), Block(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
        nn.Sequential(*stem(), Block(), nn.Flatten(), nn.Linear(8 * 28 * 28, 5)),
    ],
    ids=["max", "flatten"],
)
def test_gradients_that_differ(network: nn.Module) -> None:
    assert not probe(network, side=224)[1].has_constant_gradient()


def test_a_score_without_a_gradient_is_not_a_constant_one() -> None:
    network = nn.Sequential(*stem(), *end(8))
    nn.init.zeros_(network[-1].weight)
    assert not probe(network)[1].has_constant_gradient()


def test_the_network_is_not_changed() -> None:
    network = nn.Sequential(*stem(), Block(), *end(8))
    images = torch.rand(1, 3, 96, 96)
    before = network.eval()(images)
    state = torch.random.get_rng_state()
    classifier, found = probe(network)
    torch.random.set_rng_state(state)
    found = LayerProbe(classifier, 96)
    assert found.find_earlier_layer()
    assert torch.equal(torch.random.get_rng_state(), state)  # of others' random numbers none is taken
    assert torch.equal(network(images), before)
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("name", "earlier"),
    [
        ("resnet18", "layer4.0"),
        ("vgg16-gap", "features"),
        ("googlenet", "inception5a"),
        ("squeezenet1_1", "features.12.squeeze_activation"),  # before it is one map per class: CAM, at features as well
        ("densenet121", "features.transition3"),
        ("mobilenet_v2", "features.17"),
        ("shufflenet_v2_x0_5", "stage4"),
        ("regnet_y_400mf", "trunk_output.block4.block4-4"),
        ("swin_t", "features.7.0"),
    ],
)
def test_in_well_known_networks(name: str, earlier: str) -> None:
    from wsol.models import find_architecture  # noqa: PLC0415

    torch.manual_seed(0)
    if name.endswith("-gap"):
        network = find_architecture(name).build_for_training(10)
    else:
        network = torchvision.models.get_model(name)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics of one batch, so that features differ from place to place
    with torch.no_grad():
        network.train()(nn.functional.interpolate(torch.randn(4, 3, 8, 8), (96, 96)))
    _, found = probe(network, side=224)
    assert found.has_constant_gradient()
    assert found.find_earlier_layer() == earlier
    assert probe(network, earlier, side=224)[0].layer == earlier
