"""Every torchvision classifier either keeps the contract of CAM exactly or says why it cannot."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision.models
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.methods import find_method, forward
from wsol.models.architectures.vgg16_gap import VGG16GAP
from wsol.models.global_pooling import find_gap

NAMES = torchvision.models.list_models(module=torchvision.models)
# What ends otherwise, and what the message points at.
OTHERS = {
    "alexnet": "ReLU",
    "vgg": "ReLU",
    "vit": "getitem",
    "convnext": "permute",
    "mobilenet_v3": "Hardswish",
    "maxvit": "Tanh",
}
LARGE = 100e6  # parameters from which on the structure alone is looked at; smaller members of each family are run


def family(name: str) -> str:
    return next((part for part in OTHERS if name.startswith(part)), "")


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], nn.Module]:
    """Builds networks without sampling weights that nobody looks at."""
    for name in dir(nn.init):
        if name.endswith("_") and not name.startswith("_"):
            monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)

    def make(name: str) -> nn.Module:
        arguments: dict[str, Any] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        network: nn.Module = torchvision.models.get_model(name, weights=None, **arguments)
        return network.eval()

    return make


def randomize(network: nn.Module) -> None:
    """Random weights, also where zeros are usual (biases, batch statistics): nothing may cancel out."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            fan = parameter[0].numel() if parameter.dim() > 1 else 1
            parameter.uniform_(-1, 1).mul_((3 / fan) ** 0.5 if parameter.dim() > 1 else 1)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.5, 1.5)


def check_contract(network: nn.Module, side: int) -> None:
    """The split network gives the same logits, and each map's mean is its logit, less the bias."""
    gap = find_gap(network, "network")
    images = torch.rand(2, 3, side, side) * 4 - 2
    with torch.inference_mode():
        expected: Tensor = network(images)
    passed = forward(gap, images)
    scale = expected.abs().max().item()
    assert 0 < scale < float("inf")
    torch.testing.assert_close(passed.logits, expected, rtol=0, atol=1e-5 * scale)
    classes = torch.tensor([[0, 1, expected.shape[1] - 1], [5, 2, 5]]) % expected.shape[1]
    maps = find_method("cam").maps(passed, classes)
    assert maps.shape == (2, 3, *passed.features.shape[2:])
    assert maps.shape[2] > 1
    means = maps.mean((2, 3))
    if gap.linear is not None and gap.linear.bias is not None:
        means = means + gap.linear.bias[classes]
    torch.testing.assert_close(means, expected.gather(1, classes), rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("name", [name for name in NAMES if not family(name)])
@pytest.mark.slow
def test_contract(name: str, build: Callable[[str], nn.Module]) -> None:
    network = build(name)
    if torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"] > LARGE:
        gap = find_gap(network, name)
        assert gap.linear is not None
        assert gap.linear.out_features == 1000
        return
    randomize(network)
    check_contract(network, 128 if name == "inception_v3" else 96)  # for maps of more than one pixel


@pytest.mark.parametrize("name", [name for name in NAMES if family(name)])
def test_other_heads_say_what_stands_in_the_way(name: str) -> None:
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None).eval()
    with pytest.raises(
        InputError, match=f"{name}: class activation maps need .* at the end; found {OTHERS[family(name)]}"
    ):
        find_gap(network, name)


@pytest.mark.parametrize(("groups", "bias"), [(2, False), (1, True)])
def test_vgg16_gap(groups: int, bias: bool) -> None:
    network = VGG16GAP(11, groups, bias).eval()
    randomize(network)
    check_contract(network, 64)
    assert network.features(torch.zeros(1, 3, 224, 224)).shape == (1, 512, 14, 14)
    assert network.conv6.weight.shape == (1024, 512 // groups, 3, 3)


class Written(nn.Module):
    """A network whose last lines are given by a function."""

    def __init__(self, head: Callable[["Written", Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 2)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(6, 6)
        self.one = nn.Conv2d(6, 5, 1)
        self.three = nn.Conv2d(6, 5, 3, padding=1)
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self, self.conv(images))


@pytest.mark.parametrize(
    "head",
    [
        lambda net, x: net.fc(x.mean((2, 3))),
        lambda net, x: net.fc(x.mean(dim=[-1, -2])),
        lambda net, x: net.fc(x.mean(keepdim=False, dim=(2, 3))),
        lambda net, x: net.fc(torch.mean(x, dim=(2, 3), keepdim=True).flatten(1)),
        lambda net, x: net.fc(net.drop(net.pool(x).squeeze(-1).squeeze(-1))),
        lambda net, x: net.fc(nn.functional.adaptive_avg_pool2d(x, 1).view(-1, 6)),
        lambda net, x: net.fc(nn.functional.adaptive_avg_pool2d(x, output_size=1).reshape(-1, 6)),
        lambda net, x: net.one(net.pool(x)).flatten(1),
        lambda net, x: net.one(net.drop(x.mean((2, 3), keepdim=True))).squeeze(-1).squeeze(-1),
        lambda net, x: net.pool(net.one(x).relu()).flatten(1),
        lambda net, x: net.pool(x.relu()).flatten(1),
        lambda net, x: x.mean((2, 3)),
    ],
)
def test_ways_to_write_the_same_head(head: Callable[[Written, Tensor], Tensor]) -> None:
    network = Written(head).eval()
    randomize(network)
    check_contract(network, 20)


@pytest.mark.parametrize(
    ("head", "named"),
    [
        (lambda net, x: net.fc(net.norm(net.pool(x).flatten(1))), "BatchNorm1d"),
        (lambda net, x: net.fc(x.amax((2, 3))), "amax"),
        (lambda net, x: net.three(net.pool(x)).flatten(1), "Conv2d"),
        (lambda net, x: net.fc(x.mean(1).flatten(1)[:, :6]), "getitem"),
        (lambda net, x: net.fc(x.mean((2, 3))).softmax(1), "softmax"),
        (lambda net, x: net.fc(net.fc(x.mean((2, 3)))), "Linear"),
        (lambda net, x: {"logits": net.fc(x.mean((2, 3)))}, "something other than one tensor"),
        (lambda net, x: net.fc(x.mean((2, 3))) if x.sum() > 0 else x, "cannot be traced"),
    ],
)
def test_what_is_no_such_head_is_named(head: Callable[[Written, Tensor], Tensor], named: str) -> None:
    with pytest.raises(InputError, match=named):
        find_gap(Written(head).eval(), "mine")
