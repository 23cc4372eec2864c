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
CLASSES = torch.zeros(3, 1, dtype=torch.int64)


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


def record(name: str, fused: bool = True, **options: Any) -> ProjectionPass:
    ((recorded, _),) = record_projections(run(name, fused), CLASSES, **options)
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
    recorded_both = [record(name, fused, attention=attention) for attention in (False, True)]
    modules = [m for m in net.modules() if isinstance(m, nn.MultiheadAttention) or hasattr(m, "qkv")]
    entered: list[Tensor] = []
    left: list[Tensor] = []
    hooks = [own.register_forward_pre_hook(lambda _, given: entered.append(given[0])) for own in modules]
    if name != "torchvision":
        hooks += [own.proj.register_forward_pre_hook(lambda _, given: left.append(given[0])) for own in modules]
    expected = net(images)
    for hook in hooks:
        hook.remove()
    for recorded in recorded_both:
        torch.testing.assert_close(recorded.logits, expected)
        assert len(recorded.layers) == len(entered) == len(modules) == 2
        for index, (layer, own, given) in enumerate(zip(recorded.layers, modules, entered, strict=True)):
            for found, by_hand in zip(layer.projected, project(own, given), strict=True):
                assert found.shape == (3, HEADS, SIDE**2 + prefix, WIDTH // HEADS)
                torch.testing.assert_close(join(found), by_hand)
            if left:
                torch.testing.assert_close(join(layer.output), left[index])
            check_products(layer, recorded is recorded_both[1], name)
        keys = recorded.layers[-1].projected.keys
        assert recorded.readout.layout.grid == (SIDE, SIDE)
        torch.testing.assert_close(recorded.to_maps(keys).flatten(1, 2), join(keys)[:, prefix:])


def check_products(layer: AttentionLayer, attention: bool, name: str) -> None:
    if not attention:
        assert layer.attention is None
        return
    assert layer.attention is not None
    torch.testing.assert_close(layer.attention @ layer.inputs.values, layer.output)
    if name == "beit":  # adds biases of relative positions
        return
    logits = layer.attention.log()
    dots = layer.inputs.queries @ layer.inputs.keys.transpose(2, 3)
    if ".scaled" in layer.name or name == "torchvision":
        dots = dots / (WIDTH // HEADS) ** 0.5
    torch.testing.assert_close(logits - logits.mean(-1, keepdim=True), dots - dots.mean(-1, keepdim=True))
    changed = (layer.inputs.keys - layer.projected.keys).abs().max() > 0.1
    assert changed == (name.startswith(("rope", "normalized")))


@pytest.mark.parametrize(("name", "fused"), [*QUICK, pytest.param("rope", True, marks=pytest.mark.slow)])
def test_gradients_by_differences(name: str, fused: bool) -> None:
    recorded = record(name, fused, attention=True, gradients=True)
    layers = recorded.layers
    wanted = [layers[0].output, layers[1].output, layers[1].attention]
    first, second, of_attention = torch.autograd.grad(recorded.logits[:, 2].sum(), wanted)
    for number, gradient in ((0, first), (1, second)):
        step = torch.randn(gradient.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

        def move(index: int, layer: AttentionLayer, by: Tensor, number: int = number) -> Tensor:
            return layer.output + by if index == number else layer.output

        higher, lower = (
            record(name, fused, replace=lambda i, layer, by=by: move(i, layer, by)).logits[:, 2].sum()
            for by in (1e-5 * step, -1e-5 * step)
        )
        torch.testing.assert_close((higher - lower) / 2e-5, (gradient * step).sum(), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(of_attention, second @ layers[1].inputs.values.transpose(2, 3))
    assert not any(each.requires_grad for each in (run(name, fused).images, *network(name, fused).parameters()))


def test_the_replacement_is_what_the_rest_reads() -> None:
    # Attention of each token to itself alone: the output is the values.
    net = network("registers", fused=False)
    recorded = record("registers", False, replace=lambda i, layer: layer.inputs.values if i == 1 else layer.output)
    last = net.blocks[1]
    tokens = net.blocks[0](net._pos_embed(net.patch_embed(run("registers", False).images)))
    values = project(last.attn, last.norm1(tokens))[2]
    tokens = tokens + last.attn.proj(values)
    tokens = net.norm(tokens + last.mlp(last.norm2(tokens)))
    torch.testing.assert_close(recorded.logits, net.head(tokens[:, 0]))


def test_neither_batch_nor_memory_matters() -> None:
    passed = forward(run("registers", False).network, run("registers", False).images, memory=1)
    parts = [recorded for recorded, _ in record_projections(passed, CLASSES)]
    assert len(parts) == 3
    together = record("registers", False)
    for number in range(2):
        for field in range(3):
            apart = torch.cat([each.layers[number].projected[field] for each in parts])
            torch.testing.assert_close(apart, together.layers[number].projected[field])
