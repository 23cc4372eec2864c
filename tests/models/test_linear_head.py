"""CAM applies wherever the scores are linear in globally pooled maps, however the network spells it.

The contract needs no reference: the network itself gives the logits, and the mean (or maximum) over the places of a
map, plus the bias, must be that logit.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wsol.errors import InputError
from wsol.methods import find_method, forward
from wsol.models import GapClassifier, find_classifier, find_gap
from wsol.models.hooked import HookedClassifier

SIDE = 14
CHANNELS, CLASSES = 6, 5


class Written(nn.Module):
    """A network whose last lines are given by a function."""

    def __init__(self, head: Callable[[Any, Tensor], Tensor], channels: int = CHANNELS) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, channels, 16, 16)
        self.fc, self.more = nn.Linear(channels, CLASSES), nn.Linear(CLASSES, CLASSES)
        self.one = nn.Conv2d(channels, CLASSES, 1)
        self.norm, self.layer_norm = nn.BatchNorm1d(channels), nn.LayerNorm(channels)
        self.drop, self.pool = nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1)
        self.average, self.average1 = nn.AvgPool2d(SIDE), nn.AdaptiveAvgPool1d(1)
        self.max1 = nn.AdaptiveMaxPool1d(1)
        self.query = nn.Parameter(torch.randn(channels))
        self.head = head
        with torch.no_grad():
            self.norm.running_mean.uniform_(-0.3, 0.3)
            self.norm.running_var.uniform_(0.5, 1.5)
            self.norm.weight.uniform_(0.5, 1.5)
            self.norm.bias.uniform_(-0.5, 0.5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self, self.conv(images))


AVERAGE: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "mean of two axes": lambda net, x: net.fc(x.mean((2, 3))),
    "negative axes": lambda net, x: net.fc(x.mean(dim=[-1, -2])),
    "keepdim": lambda net, x: net.fc(torch.mean(x, dim=(2, 3), keepdim=True).flatten(1)),
    "mean of mean": lambda net, x: net.fc(x.mean(3).mean(2)),
    "mean of mean, other way": lambda net, x: net.fc(torch.mean(torch.mean(x, 2), 2)),
    "flatten + mean": lambda net, x: net.fc(x.flatten(2).mean(-1)),
    "view + mean": lambda net, x: net.fc(x.view(x.shape[0], CHANNELS, -1).mean(-1)),
    "tokens + mean": lambda net, x: net.fc(x.flatten(2).transpose(1, 2).mean(1)),
    "sum / 196": lambda net, x: net.fc(x.sum((2, 3)) / 196),
    "sum / (h w)": lambda net, x: net.fc(x.sum(-1).sum(-1) / (x.shape[2] * x.shape[3])),
    "avg_pool2d(x, 14)": lambda net, x: net.fc(functional.avg_pool2d(x, SIDE).flatten(1)),
    "avg_pool2d(x, x.shape[2:])": lambda net, x: net.fc(functional.avg_pool2d(x, x.shape[2:]).flatten(1)),
    "AvgPool2d": lambda net, x: net.fc(net.average(x).squeeze(-1).squeeze(-1)),
    "adaptive_avg_pool2d": lambda net, x: net.fc(functional.adaptive_avg_pool2d(x, output_size=1).flatten(1)),
    "AdaptiveAvgPool1d": lambda net, x: net.fc(net.average1(x.flatten(2)).flatten(1)),
    "AdaptiveAvgPool2d + Dropout": lambda net, x: net.fc(net.drop(net.pool(x).flatten(1))),
    "channels last": lambda net, x: net.fc(x.permute(0, 2, 3, 1).mean((1, 2))),
    "class maps, channels last": lambda net, x: net.fc(x.permute(0, 2, 3, 1)).mean((1, 2)),
    "class maps": lambda net, x: net.pool(net.one(x).relu()).flatten(1),
    "nothing after the pooling": lambda net, x: net.one(x).mean((2, 3)),
    "1 x 1 convolution after the pooling": lambda net, x: net.one(net.pool(x)).flatten(1),
    "linear as a function": lambda net, x: functional.linear(x.mean((2, 3)), net.fc.weight, net.fc.bias),
    "matrix product": lambda net, x: x.mean((2, 3)) @ net.fc.weight.t() + net.fc.bias,
    "einsum": lambda net, x: torch.einsum("nchw,kc->nk", x, net.fc.weight) / SIDE**2 + net.fc.bias,
    "no bias": lambda net, x: x.mean((2, 3)) @ net.fc.weight.t(),
    "two linear layers": lambda net, x: net.more(net.fc(x.mean((2, 3)))),
    "batch normalization after the pooling": lambda net, x: net.fc(net.norm(net.pool(x).flatten(1))),
    "a scale after it": lambda net, x: 3 * net.fc(x.mean((2, 3))) - 1,
}
MAXIMUM: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "amax": lambda net, x: net.fc(x.amax((2, 3))),
    "amax of amax": lambda net, x: net.fc(x.amax(3).amax(2)),
    "max of max": lambda net, x: net.fc(x.max(3)[0].max(2)[0]),
    "flatten + max": lambda net, x: net.fc(x.flatten(2).max(-1)[0]),
    "flatten + max.values": lambda net, x: net.fc(x.flatten(2).max(-1).values),
    "max_pool2d(x, 14)": lambda net, x: net.fc(functional.max_pool2d(x, SIDE).flatten(1)),
    "adaptive_max_pool2d": lambda net, x: net.fc(functional.adaptive_max_pool2d(x, 1).flatten(1)),
    "AdaptiveMaxPool1d": lambda net, x: net.fc(net.max1(x.flatten(2)).squeeze(-1)),
    "topk(1)": lambda net, x: net.fc(x.flatten(2).topk(1, -1)[0].squeeze(-1)),
}
# Not linear in the pooled maps: the layer is found all the same, and gradients of it.
OTHERS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "log-sum-exp (Pinheiro and Collobert, 2015)": lambda net, x: net.fc(x.flatten(2).logsumexp(-1)),
    "top-k mean (WILDCAT)": lambda net, x: net.fc(x.flatten(2).topk(9, -1)[0].mean(-1)),
    "mean and maximum": lambda net, x: net.fc(x.mean((2, 3)) + x.amax((2, 3))),
    "attention pooling": lambda net, x: net.fc(
        torch.einsum("ncp,np->nc", x.flatten(2), torch.einsum("ncp,c->np", x.flatten(2), net.query).softmax(-1))
    ),
    "generalized mean": lambda net, x: net.fc(x.clamp(min=1e-3).pow(3).mean((2, 3)).pow(1 / 3)),
    "ReLU after the pooling": lambda net, x: net.fc(x.mean((2, 3)).relu()),
    "layer normalization after the pooling": lambda net, x: net.fc(net.layer_norm(x.mean((2, 3)))),
    "hidden layer": lambda net, x: net.more(net.fc(x.mean((2, 3))).relu()),
    "one place": lambda net, x: net.fc(x[:, :, 3, 4]),
    "standard deviation": lambda net, x: net.fc(x.flatten(2).std(-1)),
}


def images() -> Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))


CHOSEN = torch.tensor([[0, 3], [4, 1]])


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", [*AVERAGE, *MAXIMUM])
def test_the_pooled_map_and_the_bias_are_the_logit(name: str) -> None:
    net = Written({**AVERAGE, **MAXIMUM}[name]).eval().requires_grad_(False)
    found = find_classifier(net, name)
    assert find_method("cam").unsupported_reason(found) is None
    passed, expected = forward(found, images()), net(images())
    torch.testing.assert_close(passed.logits, expected)
    assert passed.features.shape[2:] == (SIDE, SIDE)
    bias = net.head(net, torch.zeros(2, CHANNELS, SIDE, SIDE)).gather(1, CHOSEN)  # the scores of no features
    if "class maps" in name or "nothing" in name:
        bias = torch.zeros(())  # is in the maps
    maps = find_method("cam").maps(passed, CHOSEN)
    if name in AVERAGE:
        torch.testing.assert_close(maps.mean((2, 3)) + bias, expected.gather(1, CHOSEN), rtol=1e-4, atol=1e-4)
    else:  # eq. 2 by hand: every channel, weighted
        weighted = torch.einsum("nchw,nkc->nkhw", passed.features, net.fc.weight[CHOSEN])
        torch.testing.assert_close(maps, weighted, rtol=1e-4, atol=1e-4)
        pooled = passed.features.flatten(2).max(2).values
        torch.testing.assert_close(net.fc(pooled), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", [*AVERAGE, *MAXIMUM])
def test_a_single_layer_is_taken_as_it_is(name: str) -> None:
    found = find_classifier(Written({**AVERAGE, **MAXIMUM}[name]).eval(), name)
    several = name in ("two linear layers", "batch normalization after the pooling", "a scale after it")
    # torch 2.4 cannot trace a slice of a shape; hooks then give the same maps.
    assert isinstance(found, GapClassifier | HookedClassifier) != several
    if isinstance(found, GapClassifier):
        assert found.pooling == ("average" if name in AVERAGE else "max")


@pytest.mark.slow
@pytest.mark.parametrize("name", AVERAGE)
def test_one_function_has_one_layer(name: str) -> None:
    found = find_classifier(Written(AVERAGE[name]).eval(), name)
    if "class maps" not in name and "nothing" not in name:
        assert found.layer == "conv"


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_heads_say_what_cam_needs(name: str) -> None:
    net = Written(OTHERS[name]).eval().requires_grad_(False)
    found = find_classifier(net, name)
    reason = find_method("cam").unsupported_reason(found)
    assert reason is not None
    assert "linear in the mean or maximum of" in reason
    assert "\n" not in reason
    with pytest.raises(InputError, match="use gradcam or another method"):
        find_gap(net, name)
    # The gradient by hand, in the plain network: its convolution has one place for each block of 16 x 16 pixels.
    leaf = net.conv(images()).requires_grad_()
    (gradient,) = torch.autograd.grad(net.head(net, leaf)[:, 2].sum(), leaf)
    passed = forward(found, images())
    assert passed.features.shape[2:] == (SIDE, SIDE)
    if found.layer == "conv":
        torch.testing.assert_close(passed.features, leaf.detach())
        torch.testing.assert_close(passed.gradients(torch.tensor([[2], [2]]))[:, 0], gradient)


def test_gated_maps_are_what_is_pooled() -> None:
    net = Written(lambda net, x: net.fc((x * x.sum(1, keepdim=True).sigmoid()).mean((2, 3)))).eval()
    found = find_classifier(net.requires_grad_(False), "spatial attention")
    assert isinstance(found, GapClassifier)
    features = net.conv(images())
    torch.testing.assert_close(found.features(images()), features * features.sum(1, keepdim=True).sigmoid())


# Counts of channels that are, or nearly are, squares: as sizes of tokens they would make maps of channels.
@pytest.mark.parametrize(
    "channels",
    [10, 37, 196, 1024, *(pytest.param(n, marks=pytest.mark.slow) for n in (20, 24, 64, 100, 128, 200, 256, 576))],
)
@pytest.mark.parametrize(
    "pool", [lambda x: x.flatten(2).mean(-1), lambda x: x.mean(3).mean(2), lambda x: x.flatten(2).max(-1)[0]]
)
def test_no_count_of_channels_looks_like_places(channels: int, pool: Callable[[Tensor], Tensor]) -> None:
    net = Written(lambda net, x: net.fc(pool(x)), channels).eval().requires_grad_(False)
    found = find_classifier(net, "net")
    passed = forward(found, images())
    torch.testing.assert_close(passed.features, net.conv(images()))
    assert (found.layer, passed.features.shape) == ("conv", (2, channels, SIDE, SIDE))


def test_a_head_of_zeros_is_still_linear() -> None:
    net = Written(AVERAGE["mean of two axes"]).eval().requires_grad_(False)
    net.fc.weight.zero_()
    found = find_classifier(net, "zeros")
    assert isinstance(found, GapClassifier)
    assert found.linear is net.fc


@pytest.mark.parametrize("name", ["mean of mean", "flatten + mean", "avg_pool2d(x, 14)"])
def test_without_weights_the_structure_alone_is_proven(name: str) -> None:
    with torch.device("meta"):
        net = Written(AVERAGE[name])
    found = find_classifier(net.eval(), name)
    assert isinstance(found, GapClassifier)
    assert found.linear is net.fc


def test_weights_are_shared_with_the_network() -> None:
    for name in ("mean of two axes", "1 x 1 convolution after the pooling", "linear as a function", "matrix product"):
        net = Written(AVERAGE[name]).eval()
        found = find_gap(net, name)
        assert found.linear is not None
        pointers = {each.data_ptr() for each in net.parameters()}
        assert found.linear.weight.data_ptr() in pointers, name
