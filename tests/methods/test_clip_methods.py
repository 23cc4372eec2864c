"""MaskCLIP, CLIP Surgery and Grad-ECLIP, compared with their formulas, written out image by image in float64."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
import torchvision.models
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from wsol.methods import find_method, forward
from wsol.models import Classifier, find_classifier
from wsol.models.zero_shot import ZeroShotClassifier

SIDE, LAYERS, HEADS, WIDTH, CLASSES, SCALE = 4, 3, 2, 16, 5, 7.0  # patches along a side: 224 / 56
CHOSEN = torch.tensor([[0, 3], [4, 4]])


def build_torchvision(classes: int = CLASSES) -> nn.Module:
    return torchvision.models.VisionTransformer(224, 56, LAYERS, HEADS, WIDTH, 32, num_classes=classes)


def build_timm(fused: bool = True, classes: int = CLASSES, **more: Any) -> nn.Module:
    sizes = {"img_size": 224, "patch_size": 56, "embed_dim": WIDTH, "depth": LAYERS, "num_heads": HEADS}
    net = VisionTransformer(**sizes, num_classes=classes, init_values=0.5, **more)
    for block in net.blocks:
        block.attn.fused_attn = fused
    return net


def build_clip(visual: nn.Module) -> nn.Module:
    texts = torch.randn(CLASSES, 6)
    return ZeroShotClassifier(visual, texts / texts.norm(dim=1, keepdim=True), torch.tensor(SCALE))


CASES: dict[str, Callable[[], nn.Module]] = {
    "clip": lambda: build_clip(build_torchvision(6)),
    "clip, not fused": lambda: build_clip(build_timm(fused=False, classes=6, reg_tokens=2)),
    "torchvision": build_torchvision,
    "registers": lambda: build_timm(reg_tokens=4),
    "mean": lambda: build_timm(global_pool="avg", class_token=False),
    "mean, then one linear layer": lambda: build_timm(global_pool="avg", class_token=False, fc_norm=False),
}


@cache
def network(name: str) -> Any:
    torch.manual_seed(0)
    net = CASES[name]().double().eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.normal_(0, 0.5)
    return net


@cache
def split(name: str) -> Classifier:
    return find_classifier(network(name), name)


@cache
def images() -> Tensor:
    return torch.randn(2, 3, 224, 224, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) / 20


@dataclass
class Step:
    """A block: functions of tokens ``(t, C)``."""

    norm1: Any
    weight: Tensor
    bias: Tensor
    project: Callable[[Tensor], Tensor]
    add_mlp: Callable[[Tensor], Tensor]

    def queries_keys_values(self, x: Tensor) -> Tensor:
        return (self.norm1(x) @ self.weight.T + self.bias).reshape(-1, 3, WIDTH).transpose(0, 1)


def take_apart(net: Any, image: Tensor) -> tuple[Tensor, list[Step], int]:
    """Return the tokens before the first block, the blocks, and the number of tokens before the first patch."""
    if isinstance(net, ZeroShotClassifier):
        return take_apart(net.visual, image)
    if isinstance(net, VisionTransformer):
        prefix = [token for token in (net.cls_token, net.reg_token) if token is not None]
        x = (torch.cat([*prefix, net.patch_embed(image)], 1) + net.pos_embed)[0]
        steps = [
            Step(
                b.norm1,
                b.attn.qkv.weight,
                b.attn.qkv.bias,
                lambda y, b=b: b.ls1(b.attn.proj(y)),
                lambda y, b=b: y + b.ls2(b.mlp(b.norm2(y))),
            )
            for b in net.blocks
        ]
        return x, steps, sum(token.shape[1] for token in prefix)
    x = torch.cat([net.class_token, net.conv_proj(image).flatten(2).transpose(1, 2)], 1) + net.encoder.pos_embedding
    steps = [
        Step(
            b.ln_1,
            b.self_attention.in_proj_weight,
            b.self_attention.in_proj_bias,
            b.self_attention.out_proj,
            lambda y, b=b: y + b.mlp(b.ln_2(y)),
        )
        for b in net.encoder.layers
    ]
    return x[0], steps, 1


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int = HEADS) -> Tensor:
    """Attention, one head and one query after the other."""
    width, rows = query.shape[1] // heads, []
    for row in query:
        parts = []
        for head in range(heads):
            own = slice(head * width, (head + 1) * width)
            weights = (key[:, own] @ row[own] / width**0.5).exp()
            parts.append((weights[:, None] * value[:, own]).sum(0) / weights.sum())
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def classify(net: Any, vectors: Tensor) -> Tensor:
    """Return the class scores of vectors ``(m, C)`` behind the last block, each as if it alone were classified."""
    if isinstance(net, ZeroShotClassifier):
        features = classify(net.visual, vectors)
        return net.scale * features / features.norm(dim=1, keepdim=True) @ net.text_features.T
    if isinstance(net, VisionTransformer):
        return net.head(net.fc_norm(net.norm(vectors)))
    return net.heads(net.encoder.ln(vectors))


def mask_clip(net: Any, image: Tensor, label: int) -> Tensor:
    x, steps, prefix = take_apart(net, image)
    for step in steps[:-1]:
        x = step.add_mlp(x + step.project(attend(*step.queries_keys_values(x))))
    last = steps[-1]
    values = last.queries_keys_values(x)[2]
    return torch.stack(
        [classify(net, last.add_mlp(x + last.project(values))[i : i + 1])[0, label] for i in range(prefix, len(x))]
    )


def clip_surgery(net: Any, image: Tensor, label: int, layers: int, temperature: float) -> Tensor:
    x, steps, prefix = take_apart(net, image)
    path = x
    for i, step in enumerate(steps):
        if i == len(steps) - layers:
            path = x
        query, key, value = step.queries_keys_values(x)
        path = path + step.project(attend(value, value, value))
        x = step.add_mlp(x + step.project(attend(query, key, value)))
    path = torch.cat([x[:1], path[prefix:]])
    # As in the authors' code: features, products of features, and their sum over channels.
    features = classify(net.visual, path)
    features = features / features.norm(dim=1, keepdim=True)
    weights = (temperature * features[0] @ net.text_features.T).softmax(0)
    weights = weights / weights.mean()
    products = [features[1:] * text * weight for text, weight in zip(net.text_features, weights, strict=True)]
    return (products[label] - sum(products) / CLASSES).sum(1)


def grad_eclip(net: Any, image: Tensor, label: int, heads: int) -> Tensor:
    x, steps, prefix = take_apart(net, image)
    for step in steps[:-1]:
        x = step.add_mlp(x + step.project(attend(*step.queries_keys_values(x))))
    query, key, value = steps[-1].queries_keys_values(x)
    output = attend(query, key, value, heads).requires_grad_()
    score = classify(net, steps[-1].add_mlp(x + steps[-1].project(output))[:1])[0, label]
    (gradient,) = torch.autograd.grad(score, output)
    cosine = torch.stack([query[0] @ each / query[0].norm() / each.norm() for each in key[prefix:]])
    cosine = (cosine - cosine.min()) / (cosine.max() - cosine.min())
    return torch.stack([(gradient[0] * v * c).sum().clamp(min=0) for v, c in zip(value[prefix:], cosine, strict=True)])


REFERENCES: dict[str, Callable[[Any, Tensor, int], Tensor]] = {
    "maskclip": mask_clip,
    "clip-surgery:layers=2": lambda *given: clip_surgery(*given, 2, 2.0),
    "clip-surgery:layers=3,temperature=20": lambda *given: clip_surgery(*given, 3, 20.0),
    "grad-eclip": lambda *given: grad_eclip(*given, 1),
    "grad-eclip:heads=all": lambda *given: grad_eclip(*given, HEADS),
}
WITH_TEXT = ("clip", "clip, not fused")
PAIRS = [(name, method) for name in CASES for method in REFERENCES if "surgery" not in method or name in WITH_TEXT]
PAIRS = [(name, method) for name, method in PAIRS if "eclip" not in method or not name.startswith("mean")]
FAST = [("clip", method) for method in REFERENCES]


@cache
def reference(name: str, method: str) -> Tensor:
    find = REFERENCES[method]
    maps = [find(network(name), images()[i : i + 1], int(c)) for i, row in enumerate(CHOSEN) for c in row]
    return torch.stack(maps).detach().reshape(*CHOSEN.shape, SIDE, SIDE)


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9 * expected.abs().max().item())


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("mean")])
def test_the_reference_is_the_network(name: str) -> None:
    net = network(name)
    x, steps, _ = take_apart(net, images()[:1])
    for step in steps:
        x = step.add_mlp(x + step.project(attend(*step.queries_keys_values(x))))
    same(classify(net, x[:1]), net(images()[:1]))


@pytest.mark.parametrize(
    ("name", "method"), [pair if pair in FAST else pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS]
)
def test_formula(name: str, method: str) -> None:
    chosen = find_method(method)
    assert chosen.unsupported_reason(split(name)) is None
    found = chosen.maps(forward(split(name), images()), CHOSEN)
    assert not found.requires_grad
    assert found.std((2, 3)).max() > 0
    same(found, reference(name, method))


@pytest.mark.slow
@pytest.mark.parametrize("method", REFERENCES)
def test_neither_batch_nor_memory_matters_and_nothing_is_left_behind(method: str) -> None:
    net, chosen, expected = network("clip"), find_method(method), reference("clip", method)
    before = net(images())
    with torch.inference_mode():
        same(chosen.maps(forward(split("clip"), images(), memory=1), CHOSEN), expected)
    same(chosen.maps(forward(split("clip"), images()[1:]), CHOSEN[1:]), expected[1:])
    assert torch.equal(net(images()), before)
    assert not any(tensor.requires_grad or tensor.grad is not None for tensor in (images(), *net.parameters()))


@pytest.mark.sample(4)
@pytest.mark.parametrize("method", REFERENCES)
@pytest.mark.parametrize("layer", ["encoder_layer_0.ln_2", "encoder_layer_1.mlp", "encoder_layer_2.dropout"])
def test_a_named_layer_changes_nothing(layer: str, method: str) -> None:
    classifier = find_classifier(network("clip"), "clip", f"visual.encoder.layers.{layer}")
    same(find_method(method).maps(forward(classifier, images()), CHOSEN), reference("clip", method))


def test_equal_keys_have_no_similarity() -> None:
    net = build_torchvision().double().eval().requires_grad_(False)
    attention = net.encoder.layers[-1].self_attention
    attention.in_proj_weight[WIDTH : 2 * WIDTH] = 0
    attention.in_proj_bias[WIDTH : 2 * WIDTH] = 1
    maps = find_method("grad-eclip").maps(forward(find_classifier(net, "net"), images()), CHOSEN)
    assert torch.equal(maps, torch.zeros(2, 2, SIDE, SIDE, dtype=torch.float64))


def test_what_is_refused() -> None:
    reasons = {
        (name, method): find_method(method).unsupported_reason(split(name))
        for name, method in [
            ("torchvision", "clip-surgery"),
            ("clip", "clip-surgery"),
            ("mean", "grad-eclip"),
        ]
    }
    assert reasons == {
        ("torchvision", "clip-surgery"): (
            "it compares patches with texts, and the network has none; use it with a zero-shot classifier"
        ),
        ("clip", "clip-surgery"): "the network has 3 blocks, fewer than 6; set layers=3",
        ("mean", "grad-eclip"): "16 tokens are classified after blocks.2.add_1, not one; use another method",
    }
    for setting in ("grad-eclip:heads=2", "clip-surgery:layers=0"):
        with pytest.raises(ValueError, match="must be"):
            find_method(setting)
