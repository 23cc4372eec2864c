"""Networks whose code compares shapes: traced as those of transformers are, for images of one size."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wsol.errors import InputError
from wsol.methods import METHODS, find_method, forward, unsupported_reason
from wsol.models import find_classifier
from wsol.models.graph import UntraceableError, trace
from wsol.models.hooked import HookedClassifier


class Checked(nn.Module):
    """A vision transformer of one layer that checks shapes and number format, and gives places to its patches."""

    __module__ = "transformers.checked"

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.register_buffer("numbers", torch.arange(17)[None])
        self.places = nn.Embedding(17, 8)
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor, labels: Tensor | None = None, **others: object) -> dict[str, Tensor | None]:
        batch, channels, height, width = images.shape
        if channels != 3 or (height, width) != (16, 16) or images.dtype != self.token.dtype:
            raise ValueError("wrong images")
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(batch, -1, -1), tokens], 1) + self.places(self.numbers)
        shape = (*self.norm(tokens).shape[:-1], 3, 2, 4)
        query, key, value = self.qkv(self.norm(tokens)).view(shape).permute(2, 0, 3, 1, 4).unbind(0)
        found = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + found.transpose(1, 2).reshape(batch, tokens.size(1), -1)
        return {"loss": None, "logits": self.head(tokens[:, 0])}


class CountsImages(Checked):
    """Its graph holds for one number of images alone."""

    __module__ = "transformers.checked"

    def forward(self, images: Tensor) -> dict[str, Tensor | None]:  # type: ignore[override]
        factor = 1 + 0 * sum(1 for _ in range(len(images))) if not isinstance(images, torch.fx.Proxy) else 2
        return {"logits": factor * super().forward(images)["logits"]}  # type: ignore[operator]


@pytest.fixture
def network() -> Checked:
    torch.manual_seed(0)
    return Checked().eval()


def test_graph_computes_the_same(network: Checked) -> None:
    with pytest.raises(UntraceableError):
        trace(network, "net")  # without shapes
    classifier = find_classifier(network, "net", side=16)
    assert not isinstance(classifier, HookedClassifier)
    assert classifier.layer == "norm"
    for count in (1, 2, 5):
        images = torch.randn(count, 3, 16, 16)
        torch.testing.assert_close(classifier(images), network(images)["logits"])


def test_attention_methods_apply(network: Checked) -> None:
    classifier = find_classifier(network, "net", side=16)
    assert unsupported_reason(METHODS.get("attention-rollout"), classifier, 5) is None
    passed = forward(classifier, torch.randn(2, 3, 16, 16))
    maps = find_method("attention-rollout").maps(passed, torch.tensor([[0], [1]]))
    assert maps.shape == (2, 1, 4, 4)


def test_nothing_is_left_behind(network: Checked) -> None:
    before = {name: {*vars(module)} for name, module in network.named_modules()}
    find_classifier(network, "net", side=16)
    assert {name: {*vars(module)} for name, module in network.named_modules()} == before


def test_other_sizes_are_refused(network: Checked) -> None:
    classifier = find_classifier(network, "net", side=16)
    with pytest.raises(InputError, match="loaded for images of 16 x 16"):
        classifier(torch.randn(1, 3, 20, 20))


def test_a_graph_that_differs_is_not_used() -> None:
    torch.manual_seed(0)
    network = CountsImages().eval()
    classifier = find_classifier(network, "net", side=16)
    assert isinstance(classifier, HookedClassifier)
    images = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(classifier(images), network(images)["logits"])
