"""LeGrad on tiny vision transformers, compared with its formula, written out image by image in float64."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
import torchvision.models
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from wsol.methods import find_method, forward
from wsol.models import find_classifier
from wsol.models.zero_shot import ZeroShotClassifier

SIDE, LAYERS, HEADS, WIDTH, CLASSES = 4, 3, 2, 16, 5  # patches along a side: 224 / 56
CHOSEN = torch.tensor([[0, 3], [4, 4]])


def build_torchvision(classes: int = CLASSES) -> nn.Module:
    return torchvision.models.VisionTransformer(224, 56, LAYERS, HEADS, WIDTH, 32, num_classes=classes)


def build_timm(**more: Any) -> nn.Module:
    sizes = {"img_size": 224, "patch_size": 56, "embed_dim": WIDTH, "depth": LAYERS, "num_heads": HEADS}
    return VisionTransformer(**sizes, num_classes=CLASSES, **more)


def build_clip() -> nn.Module:
    texts = torch.randn(CLASSES, 6)
    return ZeroShotClassifier(build_torchvision(6), texts / texts.norm(dim=1, keepdim=True), torch.tensor(7.0))


def build_unfused() -> nn.Module:
    net: Any = build_timm()
    for block in net.blocks:
        block.attn.fused_attn = False
    return net


# Network, and the number of tokens before the first patch.
CASES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "torchvision": (build_torchvision, 1),
    "registers": (lambda: build_timm(reg_tokens=4, init_values=0.5), 5),
    "clip": (build_clip, 1),
    "timm": (build_timm, 1),
    "not fused": (build_unfused, 1),
    "mean": (lambda: build_timm(global_pool="avg", class_token=False), 0),
    "mean, then one linear layer": (lambda: build_timm(global_pool="avg", class_token=False, fc_norm=False), 0),
}
FAST = ("torchvision", "registers", "clip")


@cache
def network(name: str) -> Any:
    torch.manual_seed(0)
    net = CASES[name][0]().double().eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.normal_(0, 0.5)
    return net


@cache
def images() -> Tensor:
    return torch.randn(2, 3, 224, 224, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) / 20


def walk(net: Any, image: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the attention of every block, from which gradients start, and the tokens that leave the block."""
    if isinstance(net, VisionTransformer):
        prefix = [token for token in (net.cls_token, net.reg_token) if token is not None]
        x = torch.cat([*prefix, net.patch_embed(image)], 1) + net.pos_embed
        blocks = [
            (b.norm1, b.attn.qkv.weight, b.attn.qkv.bias, b.attn.proj, b.norm2, b.mlp, b.ls1, b.ls2) for b in net.blocks
        ]
    else:
        x = torch.cat([net.class_token, net.conv_proj(image).flatten(2).transpose(1, 2)], 1) + net.encoder.pos_embedding
        blocks = [
            (b.ln_1, a.in_proj_weight, a.in_proj_bias, a.out_proj, b.ln_2, b.mlp, nn.Identity(), nn.Identity())
            for b in net.encoder.layers
            for a in [b.self_attention]
        ]
    passed = []
    for norm1, weight, bias, project, norm2, mlp, scale1, scale2 in blocks:
        joint = (norm1(x)[0] @ weight.T + bias).reshape(-1, 3, HEADS, WIDTH // HEADS)
        query, key, value = joint.permute(1, 2, 0, 3)
        dots = torch.einsum("hqd,hkd->hqk", query, key) / (WIDTH // HEADS) ** 0.5
        attention = (dots.exp() / dots.exp().sum(-1, keepdim=True)).requires_grad_()
        mixed = torch.einsum("hqk,hkd->qhd", attention, value).reshape(1, -1, WIDTH)
        x = x + scale1(project(mixed))
        x = x + scale2(mlp(norm2(x)))
        passed.append((attention, x))
        x = x.detach()
    return passed


def classify(net: Any, vector: Tensor) -> Tensor:
    """Return the class scores of a vector ``(1, C)`` behind the last block."""
    if isinstance(net, ZeroShotClassifier):
        features = classify(net.visual, vector)
        return net.scale * (features / features.norm()) @ net.text_features.T
    if isinstance(net, VisionTransformer):
        return net.head(net.fc_norm(net.norm(vector)))
    return net.heads(net.encoder.ln(vector))


def reference(name: str, layers: int) -> Tensor:
    net, prefix = network(name), CASES[name][1]
    maps = torch.zeros(*CHOSEN.shape, SIDE * SIDE, dtype=torch.float64)
    for i, row in enumerate(CHOSEN):
        for j, label in enumerate(row):
            for attention, tokens in walk(net.visual if name == "clip" else net, images()[i : i + 1])[-layers:]:
                score = classify(net, tokens.mean(1))[0, label]
                (gradient,) = torch.autograd.grad(score, attention)
                maps[i, j] += gradient.clamp(min=0).mean(0).mean(0)[prefix:]
    return maps.reshape(*CHOSEN.shape, SIDE, SIDE)


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10 * expected.abs().max().item())


@pytest.mark.parametrize("name", CASES)
def test_the_reference_is_the_network(name: str) -> None:
    net = network(name)
    tokens = walk(net.visual if name == "clip" else net, images()[:1])[-1][1]
    read = tokens[:, 0]
    if name.startswith("mean"):  # the mean is taken after the normalization, if that is not the classifier's
        read = tokens.mean(1)
        if name != "mean":
            same(net.head(net.norm(tokens).mean(1)).detach(), net(images()[:1]))
            return
    same(classify(net, read).detach(), net(images()[:1]))


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in CASES])
def test_formula(name: str) -> None:
    classifier = find_classifier(network(name), name)
    for layers in (2, LAYERS):
        method = find_method(f"legrad:layers={layers}")
        assert method.unsupported_reason(classifier) is None
        found = method.maps(forward(classifier, images()), CHOSEN)
        assert not found.requires_grad
        assert found.amax((2, 3)).min() > 0
        same(found, reference(name, layers))


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer", ["encoder.layers.encoder_layer_0.ln_2", "encoder.layers.encoder_layer_1.mlp", "encoder.ln"]
)
def test_a_named_layer_changes_nothing(layer: str) -> None:
    classifier = find_classifier(network("torchvision"), "vit", layer)
    same(find_method("legrad").maps(forward(classifier, images()), CHOSEN), reference("torchvision", 2))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchvision", "registers", "mean, then one linear layer", "clip"])
def test_neither_batch_nor_memory_matters_and_nothing_is_left_behind(name: str) -> None:
    net, method = network(name), find_method("legrad")
    before, expected = net(images()), reference(name, 2)
    classifier = find_classifier(net, name)
    with torch.inference_mode():
        same(method.maps(forward(classifier, images(), memory=1), CHOSEN), expected)
    same(method.maps(forward(classifier, images()[1:]), CHOSEN[1:]), expected[1:])
    assert torch.equal(net(images()), before)
    assert not any(tensor.requires_grad or tensor.grad is not None for tensor in (images(), *net.parameters()))


def test_other_targets() -> None:
    def difference(logits: Tensor, classes: Tensor) -> Tensor:
        return logits.gather(1, classes) - logits.mean(1, keepdim=True)

    # The gradient of a difference is the difference of gradients; here without the clamp of the sum, by one block.
    net = network("torchvision")
    found = find_method("legrad:layers=1").maps(
        replace(forward(find_classifier(net, "x"), images()), target=difference), CHOSEN
    )
    attention, tokens = walk(net, images()[1:])[-1]
    scores = classify(net, tokens.mean(1))[0]
    (gradient,) = torch.autograd.grad(scores[4] - scores.mean(), attention)
    same(found[1, 0], gradient.clamp(min=0).mean((0, 1))[1:].reshape(SIDE, SIDE))


def test_too_many_layers_are_refused() -> None:
    classifier = find_classifier(network("torchvision"), "vit")
    reason = find_method("legrad:layers=4").unsupported_reason(classifier)
    assert reason == "the network has 3 blocks, fewer than 4; set layers=3"
    with pytest.raises(ValueError, match="1 or more"):
        find_method("legrad:layers=0")
