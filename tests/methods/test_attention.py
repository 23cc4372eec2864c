"""Methods of attention, and of the gradient on tokens, on tiny vision transformers.

The reference walks through a network's own weights, block by block, in float64, with attention written out as in the
papers; nothing of it is hooked or traced.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam
import timm
import torch
import torchvision.models
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.methods import find_method, forward
from wsol.models import Classifier, find_classifier

SIDE, LAYERS, HEADS, CLASSES = 4, 3, 2, 5  # patches along a side: 224 / 56
SIZES = {
    "img_size": 224,
    "patch_size": 56,
    "embed_dim": 16,
    "depth": LAYERS,
    "num_heads": HEADS,
    "num_classes": CLASSES,
}
METHODS = ("attention-rollout", "self-attention", "chefer", "ts-cam")


@dataclass
class Walk:
    """What the reference keeps of one image: attention ``(heads, tokens, tokens)`` of every layer, and the end."""

    attention: list[Tensor]
    scores: Tensor
    by_patch: Tensor  # class scores of every patch, as if it were what is classified


def attend(given: Tensor, weight: Tensor, bias: Tensor, kept: list[Tensor], added: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of tokens ``(1, t, C)``: Vaswani et al., 2017, eq. 1."""
    tokens, width = given.shape[1:]
    query, key, value = (given @ weight.T + bias).reshape(tokens, 3, HEADS, width // HEADS).permute(1, 2, 0, 3)
    dots = torch.einsum("hqd,hkd->hqk", query, key) / (width // HEADS) ** 0.5
    raised = torch.exp(dots if added is None else dots + added)
    attention = raised / raised.sum(-1, keepdim=True)
    if not attention.requires_grad:  # the first one: the weights have no gradients
        attention.requires_grad_()
    kept.append(attention)
    return torch.einsum("hqk,hkd->qhd", attention, value).reshape(1, tokens, width)


def walk_torchvision(net: Any, image: Tensor) -> Walk:
    kept: list[Tensor] = []
    x = net.conv_proj(image).flatten(2).transpose(1, 2)
    x = torch.cat([net.class_token, x], 1) + net.encoder.pos_embedding
    for block in net.encoder.layers:
        own = block.self_attention
        x = x + own.out_proj(attend(block.ln_1(x), own.in_proj_weight, own.in_proj_bias, kept))
        x = x + block.mlp(block.ln_2(x))
    x = net.encoder.ln(x)
    return Walk(kept, net.heads(x[:, 0])[0], net.heads(x[0, 1:]))


def walk_timm(net: Any, image: Tensor) -> Walk:
    kept: list[Tensor] = []
    prefix = [token for token in (net.cls_token, net.reg_token) if token is not None]
    x = torch.cat([*prefix, net.patch_embed(image)], 1) + net.pos_embed
    for block in net.blocks:
        x = x + block.attn.proj(attend(block.norm1(x), block.attn.qkv.weight, block.attn.qkv.bias, kept))
        x = x + block.mlp(block.norm2(x))
    return ended(net, net.norm(x), kept)


def walk_beit(net: Any, image: Tensor) -> Walk:
    kept: list[Tensor] = []
    x = torch.cat([net.cls_token, net.patch_embed(image)], 1)
    for block in net.blocks:
        own = block.attn
        bias = torch.cat([own.q_bias, torch.zeros_like(own.q_bias), own.v_bias])
        places = own.relative_position_bias_table[own.relative_position_index].permute(2, 0, 1)
        x = x + block.gamma_1 * own.proj(attend(block.norm1(x), own.qkv.weight, bias, kept, places))
        x = x + block.gamma_2 * block.mlp(block.norm2(x))
    return ended(net, net.norm(x), kept)


def ended(net: Any, x: Tensor, kept: list[Tensor]) -> Walk:
    patches = x[:, -(SIDE**2) :]
    read = x[:, 0] if net.global_pool == "token" else patches.mean(1)
    return Walk(kept, net.head(net.fc_norm(read))[0], net.head(net.fc_norm(patches))[0])


@dataclass(frozen=True)
class Case:
    build: Callable[[], Any]
    walk: Callable[[Any, Tensor], Walk]
    prefix_tokens: int  # tokens before the first patch
    by_token: bool = True  # whether the class token is classified, or the mean of the patches

    def rows(self, matrix: Tensor) -> Tensor:
        """Of what every token has for every token: what is classified has for the patches."""
        row = matrix[0] if self.by_token else matrix[self.prefix_tokens :].mean(0)
        return row[self.prefix_tokens :].reshape(SIDE, SIDE)


def fused(build: Callable[[], Any], yes: bool) -> Callable[[], Any]:
    def make() -> Any:
        net = build()
        for block in net.blocks:
            block.attn.fused_attn = yes
        return net

    return make


def torchvision_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(224, 56, LAYERS, HEADS, 16, 32, num_classes=CLASSES)


def timm_vit(**more: Any) -> Callable[[], Any]:
    return lambda: VisionTransformer(**SIZES, **more)


def beit() -> nn.Module:
    return Beit(**SIZES, use_abs_pos_emb=False, use_rel_pos_bias=True, init_values=1.0)


PATCHES = {"global_pool": "avg", "class_token": False}
CASES = {"torchvision": Case(torchvision_vit, walk_torchvision, 1)}
for _yes, _mark in ((True, ""), (False, ", not fused")):
    CASES |= {
        f"class token{_mark}": Case(fused(timm_vit(), _yes), walk_timm, 1),
        f"registers{_mark}": Case(fused(timm_vit(reg_tokens=2), _yes), walk_timm, 3),
        f"mean{_mark}": Case(fused(timm_vit(**PATCHES), _yes), walk_timm, 0, by_token=False),
        f"beit{_mark}": Case(fused(beit, _yes), walk_beit, 1, by_token=False),
    }
CASES |= {
    "mean beside registers": Case(timm_vit(**PATCHES, reg_tokens=2), walk_timm, 2, by_token=False),
    "mean, then one linear layer": Case(timm_vit(**PATCHES, fc_norm=False), walk_timm, 0, by_token=False),
}


@cache
def network(name: str) -> Any:
    """A network with weights so large that attention is far from uniform, and normalization does something."""
    torch.manual_seed(0)
    net = CASES[name].build().double().eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.normal_(0, 0.5)
    return net


@cache
def split(name: str) -> Classifier:
    return find_classifier(network(name), name)


@cache
def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 224, 224, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) / 20


CHOSEN = torch.tensor([[0, 3], [4, 4], [2, 1]])


@cache
def reference(name: str, method: str) -> Tensor:
    case, maps = CASES[name], []
    for image, chosen in zip(images(), CHOSEN, strict=True):
        for label in chosen:
            walk = case.walk(network(name), image[None])
            tokens = walk.attention[0].shape[-1]
            one = torch.eye(tokens, dtype=torch.float64)
            if method == "attention-rollout":  # Abnar and Zuidema, section 3
                matrix = one
                for layer in walk.attention:
                    matrix = (0.5 * layer.mean(0) + 0.5 * one) @ matrix
            elif method == "chefer":  # Chefer et al., eq. 5 and 6
                matrix = one
                gradients = torch.autograd.grad(walk.scores[label], walk.attention)
                for layer, gradient in zip(walk.attention, gradients, strict=True):
                    matrix = matrix + (gradient * layer).clamp(min=0).mean(0) @ matrix
            elif method == "self-attention":
                matrix = walk.attention[-1].mean(0)
            else:  # TS-CAM: attention of all layers, to be multiplied with class scores of the patches
                matrix = torch.stack(walk.attention).mean((0, 1))
            found = case.rows(matrix)
            if method == "ts-cam":
                found = found * walk.by_patch[:, label].reshape(SIDE, SIDE)
            maps.append(found.detach())
    return torch.stack(maps).reshape(*CHOSEN.shape, SIDE, SIDE)


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8 * expected.abs().max().item())


@pytest.mark.parametrize("name", CASES)
def test_the_reference_is_the_network(name: str) -> None:
    # What follows is worth nothing if the walk is another network, or if all of its attention is alike.
    for image in images():
        walk = CASES[name].walk(network(name), image[None])
        torch.testing.assert_close(walk.scores.detach(), network(name)(image[None])[0], rtol=1e-10, atol=1e-10)
        assert len(walk.attention) == LAYERS
        assert all(layer.amax(-1).mean() > 1.2 / layer.shape[-1] for layer in walk.attention)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if "not fused" in name else name for name in CASES]
)
def test_formula(name: str, method: str) -> None:
    classifier = split(name)
    assert find_method(method).unsupported_reason(classifier) is None
    found = find_method(method).maps(forward(classifier, images()), CHOSEN)
    assert found.shape == (3, 2, SIDE, SIDE)
    assert not found.requires_grad
    same(found, reference(name, method))


@pytest.mark.sample(5)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("torchvision", "encoder.layers.encoder_layer_0.ln_2"),
        ("torchvision", "encoder.layers.encoder_layer_1.mlp"),
        ("class token", "blocks.0.norm1"),
        ("class token", "patch_embed"),
        ("registers", "blocks.1.attn.proj"),
        ("mean", "blocks.0.norm1"),
        ("beit", "blocks.0.norm1"),
        ("mean beside registers", "blocks.1.norm2"),
        ("mean, then one linear layer", "blocks.1.norm2"),
    ],
)
def test_a_named_layer_changes_no_attention(name: str, layer: str, method: str) -> None:
    # The target layer says where the cut is. What is classified, and what it attends to, stays what it is.
    classifier = find_classifier(network(name), name, layer)
    same(find_method(method).maps(forward(classifier, images()), CHOSEN), reference(name, method))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["torchvision", "registers", "mean, not fused", "beit"])
def test_neither_batch_nor_memory_matters(name: str, method: str) -> None:
    classifier, chosen = split(name), find_method(method)
    alone = [chosen.maps(forward(classifier, images()[i : i + 1]), CHOSEN[i : i + 1]) for i in range(3)]
    same(torch.cat(alone), reference(name, method))
    same(chosen.maps(forward(classifier, images(), memory=1), CHOSEN), reference(name, method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["torchvision", "mean, not fused"])
@pytest.mark.slow
def test_inference_mode_changes_nothing(name: str, method: str) -> None:
    classifier, chosen = split(name), find_method(method)
    with torch.inference_mode():
        same(chosen.maps(forward(classifier, images()), CHOSEN), reference(name, method))


@pytest.mark.sample(5)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["torchvision", "class token", "class token, not fused"])
def test_nothing_is_left_behind(name: str, method: str) -> None:
    net, given = network(name), images().clone()
    before, classifier = net(given), find_classifier(network(name), name)
    find_method(method).maps(forward(classifier, given), CHOSEN)
    for module in (*net.modules(), *classifier.modules()):
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
        assert not any(hooks)
    assert not any(tensor.requires_grad or tensor.grad is not None for tensor in (given, *net.parameters()))
    assert torch.equal(given, images())
    assert torch.equal(net(given), before)


@pytest.fixture(params=["torchvision", "class token", "mean"])
def uniform(request: pytest.FixtureRequest) -> Iterator[tuple[Case, Any]]:
    """A network whose queries are 0, so that every token attends to all alike."""
    case = CASES[request.param]
    torch.manual_seed(2)
    net = case.build().double().eval().requires_grad_(False)
    for block in net.encoder.layers if request.param == "torchvision" else net.blocks:
        joint = block.self_attention if request.param == "torchvision" else block.attn.qkv
        for tensor in (
            (joint.in_proj_weight, joint.in_proj_bias) if request.param == "torchvision" else joint.parameters()
        ):
            tensor[:16] = 0
    return case, net


def test_uniform_attention(uniform: tuple[Case, Any]) -> None:
    case, net = uniform
    tokens = SIDE**2 + case.prefix_tokens
    result = forward(find_classifier(net, "x"), images())
    # U, all 1/t, is its own square: ((I + U) / 2)^L = I / 2^L + (1 - 1 / 2^L) U. A patch's mean row adds 1/t of I.
    rolled = (1 - 0.5**LAYERS) / tokens if case.by_token else 1 / tokens
    flat = torch.ones(3, 2, SIDE, SIDE, dtype=torch.float64)
    same(find_method("attention-rollout").maps(result, CHOSEN), flat * rolled)
    same(find_method("self-attention").maps(result, CHOSEN), flat / tokens)
    by_patch = [case.walk(net, image[None]).by_patch[:, c].T for image, c in zip(images(), CHOSEN, strict=True)]
    expected = torch.stack(by_patch).reshape(3, 2, SIDE, SIDE) / tokens
    same(find_method("ts-cam").maps(result, CHOSEN), expected.detach())


def test_what_depends_on_the_class() -> None:
    assert {method: find_method(method).class_specific for method in METHODS} == {
        "attention-rollout": False, "self-attention": False, "chefer": True, "ts-cam": True,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["resnet18", "swin_t", "timm/mixer_s32_224", "timm/swin_tiny_patch4_window7_224"])
@pytest.mark.sample(2)
def test_networks_without_attention_between_all_tokens_are_refused(name: str) -> None:
    with torch.device("meta"):
        bare = name.removeprefix("timm/")
        net = torchvision.models.get_model(name) if bare == name else timm.create_model(bare)
        classifier = find_classifier(net.eval(), name)
    for method in METHODS:
        assert_sentence(find_method(method).unsupported_reason(classifier))


def assert_sentence(text: str | None) -> None:
    assert text
    assert "\n" not in text
    assert "another method" in text  # what to do


def test_ts_cam_wants_one_vector_to_be_classified() -> None:
    # DeiT's distilled networks read two tokens, attention pooling reads all patches through an attention of its own.
    pooled = VisionTransformer(**SIZES, global_pool="map", class_token=False)
    for net in (timm.create_model("deit_tiny_distilled_patch16_224", depth=2), pooled):
        classifier = find_classifier(net.eval().requires_grad_(False), "x")
        assert find_method("attention-rollout").unsupported_reason(classifier) is None
        assert_sentence(find_method("ts-cam").unsupported_reason(classifier))


@pytest.mark.slow
def test_the_class_token_may_come_late() -> None:
    # ConViT's first blocks know no class token: only the last ones, of plain attention, let all tokens attend.
    torch.manual_seed(3)
    net = timm.create_model("convit_tiny", depth=3, local_up_to_layer=2, num_classes=CLASSES)
    net = net.double().eval().requires_grad_(False)
    last = net.blocks[2].attn
    kept: list[Tensor] = []
    last.register_forward_hook(lambda _, given, output: kept.append(given[0]))
    net(images())
    joint = last.qkv(kept[0]).reshape(3, 197, 3, last.num_heads, -1)
    dots = torch.einsum("nhd,nkhd->nhk", joint[:, 0, 0], joint[:, :, 1]) * joint.shape[-1] ** -0.5
    expected = dots.softmax(-1).mean(1)[:, 1:].reshape(3, 1, 14, 14)
    last._forward_hooks.clear()
    found = find_method("self-attention").maps(forward(find_classifier(net, "convit"), images()), CHOSEN[:, :1])
    same(found, expected)


def test_a_class_token_that_only_looks_at_patches_has_no_row() -> None:
    # CaiT's patches attend among themselves, and the class token to them in blocks of its own: no attention between
    # all tokens has a row for it. The row of the first patch is not that.
    net = timm.create_model("cait_xxs24_224", depth=2, num_classes=CLASSES).eval().requires_grad_(False)
    classifier, method = find_classifier(net, "cait"), find_method("self-attention")
    if (reason := method.unsupported_reason(classifier)) is not None:
        assert_sentence(reason)
    else:
        with pytest.raises(InputError, match="attend"):
            method.maps(forward(classifier, images(1).float()), CHOSEN[:1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "peer"),
    [
        ("gradcam", pytorch_grad_cam.GradCAM),
        ("hirescam", pytorch_grad_cam.HiResCAM),
        ("layercam", pytorch_grad_cam.LayerCAM),
    ],
)
@pytest.mark.parametrize("name", ["torchvision", "class token", "registers, not fused"])
def test_gradients_on_tokens_as_grad_cam_has_them(name: str, method: str, peer: Any) -> None:
    torch.manual_seed(4)
    net, prefix_tokens = CASES[name].build().eval(), CASES[name].prefix_tokens
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.3)
        for parameter in (net.heads if name == "torchvision" else net.head).parameters():
            parameter.mul_(1e5)  # so that the 1e-7 that grad-cam adds to each map's maximum is nothing beside it
    given, layer = (
        images().float(),
        "encoder.layers.encoder_layer_2.ln_1" if name == "torchvision" else "blocks.2.norm1",
    )

    def as_maps(tokens: Tensor) -> Tensor:
        return tokens[:, prefix_tokens:].reshape(len(tokens), SIDE, SIDE, -1).permute(0, 3, 1, 2)

    with peer(net, [net.get_submodule(layer)], reshape_transform=as_maps) as theirs:
        expected = [theirs(given, [ClassifierOutputTarget(int(c)) for c in column]) for column in CHOSEN.T]
    net.zero_grad()
    maps = find_method(method).maps(forward(find_classifier(net.requires_grad_(False), name), given), CHOSEN)
    assert maps.std() > 0
    for column, other in zip(maps.unbind(1), expected, strict=True):
        # grad-cam cuts what is negative, brings maps to [0, 1] and enlarges them, which makes the maximum a little
        # smaller; then it joins layers and brings the result to [0, 1] again. Here by its own function.
        ours = scale_cam_image(scale_cam_image(column.clamp(min=0).numpy(), (224, 224)))
        np.testing.assert_allclose(ours, other, atol=1e-5)
