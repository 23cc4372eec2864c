"""The class token is the same wherever it stands among the tokens, and however it is taken out of them."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wsol.methods import METHODS, Forward, find_method, forward, unsupported_reason
from wsol.methods._tokens import find_readout
from wsol.models import find_classifier

SIDE, WIDTH, HEADS, CLASSES = 7, 16, 2, 5


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, n, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        return x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))


Join = Callable[[Tensor, Tensor], Tensor]
Read = Callable[[Tensor], Tensor]


class Transformer(nn.Module):
    """One network, whose class token is joined to the patches and read from them by functions."""

    def __init__(self, join: Join, read: Read) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.join, self.read = join, read
        self.patches, self.token = nn.Conv2d(3, WIDTH, 32, 32), nn.Parameter(torch.randn(1, 1, WIDTH))
        self.blocks = nn.Sequential(Block(), Block(), Block())
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = self.join(self.token.expand(images.shape[0], -1, -1), patches)
        return self.head(self.read(self.norm(self.blocks(tokens))))


def at(position: int) -> Join:
    return lambda token, patches: torch.cat([patches[:, :position], token, patches[:, position:]], 1)


LAST = SIDE**2
SAME: dict[str, tuple[Join, Read, int]] = {
    "[:, 0]": (at(0), lambda x: x[:, 0], 0),
    "select": (at(0), lambda x: x.select(1, 0), 0),
    "torch.select": (at(0), lambda x: torch.select(x, 1, 0), 0),
    "unbind": (at(0), lambda x: x.unbind(1)[0], 0),
    "narrow": (at(0), lambda x: x.narrow(1, 0, 1).squeeze(1), 0),
    "split": (at(0), lambda x: x.split([1, LAST], 1)[0].squeeze(1), 0),
    "torch.split": (at(0), lambda x: torch.split(x, [1, LAST], 1)[0][:, 0], 0),
    "chunk": (at(LAST), lambda x: x.chunk(LAST + 1, 1)[-1].flatten(1), LAST),
    "[:, :1].squeeze(1)": (at(0), lambda x: x[:, :1].squeeze(1), 0),
    "[:, :1].mean(1)": (at(0), lambda x: x[:, :1].mean(1), 0),
    "index_select": (at(0), lambda x: x.index_select(1, torch.tensor([0])).flatten(1), 0),
    "channels first": (at(0), lambda x: x.transpose(1, 2)[:, :, 0], 0),
    "last, [:, -1]": (at(LAST), lambda x: x[:, -1], LAST),
    "last, select": (at(LAST), lambda x: x.select(1, LAST), LAST),
    "middle, [:, 20]": (at(20), lambda x: x[:, 20], 20),
    "middle, split": (at(20), lambda x: x.split([20, 1, LAST - 20], 1)[1].squeeze(1), 20),
}
# Other functions of the tokens, with the tokens that they read.
OTHER: dict[str, tuple[Read, list[int]]] = {
    "mean of all tokens": (lambda x: x.mean(1), list(range(LAST + 1))),
    "mean of the patches": (lambda x: x[:, 1:].mean(1), list(range(1, LAST + 1))),
    "class token and a patch": (lambda x: x[:, 0] + x[:, 0].sigmoid() * x[:, 1:].mean(1), list(range(LAST + 1))),
}
METHOD_NAMES = ["gradcam", "attention-rollout", "self-attention", "chefer", "ts-cam", "eigencam"]


def images() -> Tensor:
    return torch.randn(2, 3, 32 * SIDE, 32 * SIDE, generator=torch.Generator().manual_seed(1))


CHOSEN = torch.tensor([[1], [3]])


def compute_tokens(net: Transformer) -> Tensor:
    patches = net.patches(images()).flatten(2).transpose(1, 2)
    return net.norm(net.blocks(net.join(net.token.expand(2, -1, -1), patches)))


def run(net: nn.Module) -> Forward:
    return forward(find_classifier(net.eval().requires_grad_(False), "net"), images())


@cache
def plain() -> Forward:
    return run(Transformer(*SAME["[:, 0]"][:2]))


@cache
def expected_maps(method: str) -> Tensor:
    return find_method(method).maps(plain(), CHOSEN)


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", SAME)
def test_one_network_has_one_map(name: str) -> None:
    join, read, position = SAME[name]
    passed = run(Transformer(join, read))
    torch.testing.assert_close(passed.logits, plain().logits)
    readout = find_readout(passed.network, (224, 224))
    assert readout is not None
    assert readout.read == (position,)
    for method in METHOD_NAMES:
        expected = expected_maps(method)
        assert expected.std() > 0
        found = find_method(method).maps(passed, CHOSEN)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6, msg=f"{name}: {method}")


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER)
def test_other_readouts_run_in_every_method(name: str) -> None:
    read, tokens = OTHER[name]
    classifier = find_classifier(Transformer(at(0), read).eval().requires_grad_(False), "net")
    readout = find_readout(classifier, (224, 224))
    assert readout is not None
    assert list(readout.read) == tokens
    passed = forward(classifier, images())
    settings = {
        "rise": ":masks=4",
        "ss-cam": ":samples=1",
        "is-cam": ":samples=1",
        "occlusion": ":window=112,stride=112",
        "dino-seg": ":head=0",
    }
    for method in METHODS.names():
        chosen = find_method(method + settings.get(method, ""))
        reason = unsupported_reason(chosen, classifier, CLASSES)
        if reason is None:
            maps = chosen.maps(passed, CHOSEN)
            assert maps.isfinite().all()
            assert maps.shape[:2] == (2, 1)
        else:
            refusing = "acol", "guided-backprop", "ts-cam", "cam", "nwc", "clip-surgery", "grad-eclip", "maskclip"
            assert method in refusing


def test_the_mean_of_all_tokens_has_a_cam() -> None:
    net = Transformer(at(0), OTHER["mean of all tokens"][0]).eval().requires_grad_(False)
    classifier = find_classifier(net, "net")
    passed = forward(classifier, images())
    maps = find_method("cam").maps(passed, CHOSEN)
    # By hand: of the 50 tokens of the mean, 49 are patches.
    tokens = net.norm(
        net.blocks(net.join(net.token.expand(2, -1, -1), net.patches(images()).flatten(2).transpose(1, 2)))
    )
    by_patch = torch.einsum("npd,nd->np", tokens[:, 1:], net.head.weight[CHOSEN[:, 0]]) * LAST / (LAST + 1)
    torch.testing.assert_close(maps[:, 0].flatten(1), by_patch, rtol=1e-4, atol=1e-5)


def test_ts_cam_of_the_mean_scores_every_patch() -> None:
    net = Transformer(at(0), OTHER["mean of the patches"][0]).eval().requires_grad_(False)
    tokens = net.norm(
        net.blocks(net.join(net.token.expand(2, -1, -1), net.patches(images()).flatten(2).transpose(1, 2)))
    )
    scores = torch.stack([net.head(tokens[i, 1:])[:, c] for i, c in enumerate(CHOSEN[:, 0])]).reshape(2, SIDE, SIDE)
    maps = find_method("ts-cam").maps(run(net), CHOSEN)[:, 0]
    assert (maps / scores).min() > 0  # times attention, which is positive


def test_tokens_in_another_order_than_attention_are_refused() -> None:
    # Rows and columns of attention would be those of other patches.
    classifier = find_classifier(Transformer(at(0), lambda x: x.flip(1)[:, -1]).eval(), "net")
    for method in ("attention-rollout", "self-attention", "chefer", "ts-cam"):
        reason = find_method(method).unsupported_reason(classifier)
        assert reason is not None
        assert "use a vision transformer or another method" in reason
