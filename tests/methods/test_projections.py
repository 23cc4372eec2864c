"""Recorded queries, keys and values are those of the networks' own layers, read by hooks."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import VisionTransformer as TorchvisionTransformer

from wsol.methods import Forward, forward
from wsol.methods._projections import AttentionLayer, ProjectionPass, record_projections
from wsol.models import find_classifier

HEADS, WIDTH, SIDE = 2, 16, 4
SIZES = {"img_size": 64, "patch_size": 16, "embed_dim": WIDTH, "depth": 2, "num_heads": HEADS, "num_classes": 5}
ROPE = {"use_rot_pos_emb": True, "num_reg_tokens": 2}
BUILDS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "torchvision": (lambda: TorchvisionTransformer(64, 16, 2, HEADS, WIDTH, 32, num_classes=5), 1),
    "registers": (lambda: VisionTransformer(**SIZES, reg_tokens=2), 3),
    "normalized keys": (lambda: VisionTransformer(**SIZES, qk_norm=True), 1),
    "rope": (lambda: Eva(**SIZES, **ROPE), 3),
    "rope, three projections": (lambda: Eva(**SIZES, **ROPE, qkv_fused=False), 3),
    "beit": (lambda: Beit(**SIZES, use_abs_pos_emb=False, use_rel_pos_bias=True), 1),
}
QUICK = (("torchvision", True), ("registers", False))
NAMES = [
    pytest.param(name, fused, marks=() if (name, fused) in QUICK else pytest.mark.slow)
    for name in BUILDS
    for fused in (True, False)
    if fused or name != "torchvision"
]


@cache
def network(name: str, fused: bool = True) -> Any:
    torch.manual_seed(0)
    net = BUILDS[name][0]().double().eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.normal_(0, 0.4)
    for block in getattr(net, "blocks", []):
        block.attn.fused_attn = fused
    return net


@cache
def run(name: str, fused: bool = True) -> Forward:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(3, 3, 64, 64, dtype=torch.float64, generator=generator) / 20
    return forward(find_classifier(network(name, fused), name, side=64), images)


def record(name: str, fused: bool = True) -> ProjectionPass:
    (recorded,) = record_projections(run(name, fused))
    return recorded


def project(own: Any, given: Tensor) -> tuple[Tensor, ...]:
    """Return queries, keys and values ``(n, tokens, C)`` by the weights of an attention module."""
    if isinstance(own, nn.MultiheadAttention):
        return functional.linear(given, own.in_proj_weight, own.in_proj_bias).chunk(3, -1)
    if own.qkv is None:
        return own.q_proj(given), own.k_proj(given), own.v_proj(given)
    bias = own.qkv.bias
    if bias is None:
        bias = torch.cat([own.q_bias, own.k_bias, own.v_bias])
    return functional.linear(given, own.qkv.weight, bias).chunk(3, -1)


def join(heads: Tensor) -> Tensor:
    return torch.cat(list(heads.unbind(1)), -1)


@pytest.mark.parametrize(("name", "fused"), NAMES)
def test_it_is_what_the_layers_compute(name: str, fused: bool) -> None:
    net, prefix, images = network(name, fused), BUILDS[name][1], run(name, fused).images
    recorded = record(name, fused)
    modules = [m for m in net.modules() if isinstance(m, nn.MultiheadAttention) or hasattr(m, "qkv")]
    entered: list[Tensor] = []
    left: list[Tensor] = []
    hooks = [own.register_forward_pre_hook(lambda _, given: entered.append(given[0])) for own in modules]
    if name != "torchvision":
        hooks += [own.proj.register_forward_pre_hook(lambda _, given: left.append(given[0])) for own in modules]
    expected = net(images)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(recorded.logits, expected)
    assert len(recorded.layers) == len(entered) == len(modules) == 2
    for index, (layer, own, given) in enumerate(zip(recorded.layers, modules, entered, strict=True)):
        for found, by_hand in zip(layer.projected, project(own, given), strict=True):
            assert found.shape == (3, HEADS, SIDE**2 + prefix, WIDTH // HEADS)
            torch.testing.assert_close(join(found), by_hand)
        if left:
            torch.testing.assert_close(join(layer.output), left[index])
        if name != "beit":  # adds biases of relative positions
            check_products(layer, name)
    keys = recorded.layers[-1].projected.keys
    assert recorded.readout.layout.grid == (SIDE, SIDE)
    torch.testing.assert_close(recorded.to_maps(keys).flatten(1, 2), join(keys)[:, prefix:])


def check_products(layer: AttentionLayer, name: str) -> None:
    dots = layer.inputs.queries @ layer.inputs.keys.transpose(2, 3)
    if ".scaled" in layer.name or name == "torchvision":
        dots = dots / (WIDTH // HEADS) ** 0.5
    torch.testing.assert_close(dots.softmax(-1) @ layer.inputs.values, layer.output)
    changed = (layer.inputs.keys - layer.projected.keys).abs().max() > 0.1
    assert changed == (name.startswith(("rope", "normalized")))


def test_neither_batch_nor_memory_matters() -> None:
    passed = forward(run("registers", False).network, run("registers", False).images, memory=1)
    parts = list(record_projections(passed))
    assert len(parts) == 3
    together = record("registers", False)
    for number in range(2):
        for field in range(3):
            apart = torch.cat([each.layers[number].projected[field] for each in parts])
            torch.testing.assert_close(apart, together.layers[number].projected[field])
