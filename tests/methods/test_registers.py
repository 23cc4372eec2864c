"""Registers and the class token are left out of the maps, wherever they stand among the tokens."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from wsol.methods import METHODS, find_method, forward, unsupported_reason
from wsol.models import find_classifier

SIDE, WIDTH, HEADS, CLASSES = 4, 16, 2, 5  # patches along a side: 224 / 56
CHOSEN = torch.tensor([[1, 2], [3, 0]])
MOVED = (
    "attention-rollout",
    "chefer",
    "eigencam",
    "gradcam",
    "gradcam++",
    "gradcam-elementwise",
    "hirescam",
    "layercam",
)
MOVED += ("legrad", "self-attention", "ts-cam", "xgradcam")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.qkv, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm2, self.mlp = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
        return x + functional.gelu(self.mlp(self.norm2(x)))


Join = Callable[[Tensor, Tensor, Tensor], list[Tensor]]


class Transformer(nn.Module):
    """One network, whose class token and registers are joined to the patches by a function."""

    def __init__(self, join: Join, position: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.join, self.position = join, position
        self.patches, self.token = nn.Conv2d(3, WIDTH, 56, 56), nn.Parameter(torch.randn(1, 1, WIDTH))
        self.registers, self.places = nn.Parameter(torch.randn(1, 4, WIDTH)), nn.Parameter(torch.randn(1, 16, WIDTH))
        self.blocks, self.norm = nn.Sequential(Block(), Block(), Block()), nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2) + self.places
        token, registers = (each.expand(images.shape[0], -1, -1) for each in (self.token, self.registers))
        tokens = torch.cat(self.join(token, registers, patches), 1)
        return self.head(self.norm(self.blocks(tokens))[:, self.position])


ORDERS: dict[str, tuple[Join, int]] = {
    "class token, registers, patches": (lambda c, r, p: [c, r, p], 0),
    "patches, registers, class token": (lambda c, r, p: [p, r, c], 20),
    "registers, patches, class token, patches, registers": (
        lambda c, r, p: [r[:, :1], p[:, :7], c, p[:, 7:], r[:, 1:]],
        8,
    ),
}


@cache
def images() -> Tensor:
    return torch.randn(2, 3, 224, 224, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@cache
def compute_maps(order: str) -> dict[str, Tensor]:
    net = Transformer(*ORDERS[order]).double().eval().requires_grad_(False)
    passed = forward(find_classifier(net, "net"), images())
    return {name: find_method(name).maps(passed, CHOSEN) for name in MOVED}


@pytest.mark.parametrize("order", [pytest.param(list(ORDERS)[1], marks=pytest.mark.slow), list(ORDERS)[2]])
def test_maps_do_not_depend_on_the_order_of_the_tokens(order: str) -> None:
    expected = compute_maps(next(iter(ORDERS)))
    for name, maps in compute_maps(order).items():
        assert maps.shape == (2, 2, SIDE, SIDE)
        assert expected[name].std() > 0
        torch.testing.assert_close(maps, expected[name], rtol=1e-8, atol=1e-10, msg=name)


def build_dinov2(**more: Any) -> nn.Module:
    """Return a network as ``vit_small_patch14_reg4_dinov2``, with four registers, tiny."""
    sizes = {"img_size": 224, "patch_size": 56, "embed_dim": WIDTH, "depth": 2, "num_heads": HEADS}
    return VisionTransformer(**sizes, reg_tokens=4, no_embed_class=True, init_values=0.5, **more)


def build_dinov3(**more: Any) -> nn.Module:
    """Return a network as ``vit_small_patch16_dinov3``, with four registers and rotated positions, tiny."""
    sizes = {"img_size": 224, "patch_size": 56, "embed_dim": WIDTH, "depth": 2, "num_heads": HEADS}
    rotated = {"use_rot_pos_emb": True, "use_abs_pos_emb": False, "rope_type": "dinov3", "rope_rotate_half": True}
    options = {
        "num_reg_tokens": 4,
        "init_values": 0.5,
        "qkv_bias": False,
        "use_fc_norm": False,
        "dynamic_img_size": True,
    }
    return Eva(**sizes, **rotated, **options, **more)


NETWORKS: dict[str, tuple[Callable[..., nn.Module], dict[str, Any]]] = {
    "dinov2": (build_dinov2, {"num_classes": 0}),
    "dinov3": (build_dinov3, {"num_classes": 0}),
    "dinov3, class token": (build_dinov3, {"num_classes": 0, "global_pool": "token"}),
    "dinov3 with a classifier": (build_dinov3, {"num_classes": CLASSES}),
}


def make(name: str) -> Any:
    build, options = NETWORKS[name]
    torch.manual_seed(2)
    net: Any = build(**options).double().eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.normal_(0, 0.5)
    for block in net.blocks:
        block.attn.fused_attn = False  # then the dropout of the attention is a module, whose input is the attention
    return net


@pytest.mark.parametrize("name", [n if n == "dinov3" else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS])
def test_networks_of_timm(name: str) -> None:
    net, seen = make(name), []
    hooks = [
        block.attn.attn_drop.register_forward_hook(lambda _, given, __: seen.append(given[0])) for block in net.blocks
    ]
    net(images())
    for hook in hooks:
        hook.remove()
    rows = slice(0, 1) if net.global_pool == "token" else slice(5, None)  # DINOv3 of timm averages the patches
    last, product = seen[-1].mean(1), torch.eye(21, dtype=torch.float64)
    for layer in seen:
        product = (layer.mean(1) + torch.eye(21, dtype=torch.float64)) / 2 @ product
    classifier = find_classifier(net, name)
    passed = forward(classifier, images())
    for method, matrix in (("self-attention", last), ("attention-rollout", product)):
        expected = matrix[:, rows, 5:].mean(1).reshape(2, 1, SIDE, SIDE).expand(-1, 2, -1, -1)
        torch.testing.assert_close(find_method(method).maps(passed, CHOSEN), expected, rtol=1e-8, atol=1e-10)
    for method in MOVED if net.num_classes else ("eigencam",):
        maps = find_method(method).maps(passed, CHOSEN)
        assert maps.shape == (2, 2, SIDE, SIDE)
        assert maps.isfinite().all()
        assert maps.std() > 0


def test_without_a_classifier_only_methods_of_no_class_apply() -> None:
    classifier = find_classifier(make("dinov2"), "dinov2")
    for name in METHODS.names():
        reason = unsupported_reason(find_method(name), classifier, 0)
        if METHODS.get(name).class_specific:
            assert reason is not None
            assert reason.startswith("the network does not classify; use ")
        elif name in MOVED:
            assert reason is None
