"""Networks that cannot be traced: hooks give what the same network, written so that it can be traced, gives."""

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.methods import METHODS, find_method, forward, unsupported_reason
from wsol.models import find_classifier, optimize
from wsol.models.hooked import HookedClassifier


class Net(nn.Module):
    """Three convolutions and a linear layer; ``hard`` asks for a size in Python, which tracing cannot follow."""

    def __init__(self, hard: bool = True, returns: Callable[[Tensor], Any] = lambda scores: scores) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hard, self.returns = hard, returns
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 4, 3), nn.ReLU(inplace=True))
        self.body = nn.Sequential(nn.Conv2d(8, 16, 3, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(16, 16, 3, 1, 1))
        self.fc = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Any:
        if self.hard and images.shape[2] % 16:
            images = nn.functional.pad(images, (0, 0, 0, 16 - images.shape[2] % 16))
        return self.returns(self.fc(self.body(self.stem(images)).mean((2, 3))))


class Transformer(nn.Module):
    """A class token among patches, and control flow."""

    def __init__(self, hard: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hard = hard
        self.patches, self.token = nn.Conv2d(3, 16, 32, 32), nn.Parameter(torch.randn(1, 1, 16))
        self.norm, self.query, self.key, self.value = nn.LayerNorm(16), *(nn.Linear(16, 16) for _ in range(3))
        self.last, self.head = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        if self.hard and x.shape[1] > 10_000:
            raise ValueError("too many patches")
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        y = self.norm(x)
        x = x + (self.query(y) @ self.key(y).transpose(1, 2)).softmax(-1) @ self.value(y)
        return self.head(self.last(x)[:, 0])


@dataclass
class Scores:
    logits: Tensor
    hidden: Tensor | None = None


Pair = namedtuple("Pair", "scores features")  # as older code has it


def images() -> Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))


CHOSEN = torch.tensor([[0, 3], [4, 1]])
QUICK = {"ss-cam": ":samples=1", "is-cam": ":samples=1", "rise": ":masks=4", "integrated-gradients": ":steps=2"}
QUICK |= {"occlusion": ":window=112,stride=112", "smoothgradcam++": ":samples=2"}


@pytest.mark.sample(3)
@pytest.mark.parametrize("method", METHODS.names())
def test_maps_are_those_of_the_traced_network(method: str) -> None:
    hard, easy = (find_classifier(Net(each).eval().requires_grad_(False), "net", "body.2") for each in (True, False))
    assert isinstance(hard, HookedClassifier)
    assert not isinstance(easy, HookedClassifier)
    chosen = find_method(method + QUICK.get(method, ""))
    reason = unsupported_reason(chosen, hard, 5)
    if reason is not None:
        assert chosen.needs == "attention" or method in ("guided-backprop", "acol")
        assert "\n" not in reason
        return
    torch.manual_seed(3)
    found = chosen.maps(forward(hard, images()), CHOSEN)
    torch.manual_seed(3)
    torch.testing.assert_close(found, chosen.maps(forward(easy, images()), CHOSEN), rtol=1e-4, atol=1e-6)
    assert not any(module._forward_hooks for module in hard.modules())


def test_the_last_module_with_maps_is_found_and_said() -> None:
    found = find_classifier(Net().eval(), "net")
    assert found.layer == "body"
    assert found.classes == 5
    (note,) = found.notes
    assert "net cannot be traced: maps are those of body, its last module with feature maps" in note


def test_a_class_token_is_read_past_its_patches() -> None:
    hard, easy = (find_classifier(Transformer(each).eval().requires_grad_(False), "vit") for each in (True, False))
    assert (hard.layer, easy.layer) == ("norm", "norm")
    maps = [find_method("gradcam:relu=false").maps(forward(each, images()), CHOSEN) for each in (hard, easy)]
    torch.testing.assert_close(*maps)
    assert maps[0].std() > 0


RETURNS: dict[str, Callable[[Tensor], Any]] = {
    "tuple of one": lambda scores: (scores,),
    "list with features": lambda scores: [scores[:, :, None, None], scores],
    "dict": lambda scores: {"logits": scores, "aux": scores * 2},
    "ordered dict of one": lambda scores: OrderedDict(out=scores),
    "data class": Scores,
    "named tuple": lambda scores: Pair(scores, scores[:, :, None]),
}


@pytest.mark.slow
@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("name", RETURNS)
def test_scores_among_several_outputs(name: str, hard: bool) -> None:
    net = Net(hard, RETURNS[name]).eval().requires_grad_(False)
    found = find_classifier(net, "net")
    torch.testing.assert_close(found(images()), Net(False).eval()(images()))
    assert found.classes == 5


@pytest.mark.parametrize("hard", [True, False])
def test_an_output_may_be_chosen(hard: bool) -> None:
    net = Net(hard, lambda scores: {"one": scores, "two": -scores}).eval().requires_grad_(False)
    expected = net(images())
    for output in ("one", "two"):
        torch.testing.assert_close(find_classifier(net, "net", output=output)(images()), expected[output])
    with pytest.raises(InputError, match=r"several outputs \(one: 5 .*, two: 5 .*\).*choose one with --output"):
        find_classifier(net, "net")
    with pytest.raises(InputError, match=r"no output 'three'; it returns only one, two; fix --output"):
        find_classifier(net, "net", output="three")


def test_layers_that_will_not_do() -> None:
    net = Net().eval()
    for layer, says in (
        ("nope", "net has no layer nope; its children are stem, body, fc"),
        ("fc", "fc has no feature maps whose places are known"),
        ("", "has no layer|is not called"),
    ):
        with pytest.raises(InputError, match=says):
            find_classifier(net, "net", layer or "returns")
    net.twice = nn.ReLU().eval()
    net.returns = lambda scores: net.twice(net.twice(scores))
    with pytest.raises(InputError, match="twice is called several times; name another layer"):
        find_classifier(net, "net", "twice")


def test_probabilities_are_said() -> None:
    found = find_classifier(Net(True, lambda scores: scores.softmax(1)).eval(), "net")
    assert "ends in a softmax" in found.notes[0]


@pytest.mark.parametrize("end", [lambda x: x.softmax(1), lambda x: nn.functional.log_softmax(x, -1), nn.Softmax(1)])
def test_a_softmax_at_the_end_is_left_out(end: Callable[[Tensor], Tensor]) -> None:
    net = Net(False, end).eval().requires_grad_(False)
    found = find_classifier(net, "net")
    torch.testing.assert_close(found(images()), Net(False).eval()(images()))
    assert found.notes == ("net ends in a softmax: the class scores are what it is computed from",)


def test_hooks_are_not_compiled() -> None:
    with pytest.raises(InputError, match="read by hooks cannot be compiled; leave out --compile"):
        optimize(find_classifier(Net().eval(), "net"), channels_last=False, compiled=True)
