"""TokenCut, LOST and DINO-seg against references written from the papers with SciPy, and cases known by hand."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.models
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, ndimage
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from wsol.boxes.components import boxes_at_taus
from wsol.boxes.resize import cubic_taps, linear_taps, resize_and_normalize
from wsol.errors import InputError
from wsol.methods import Forward, find_method, forward, unsupported_reason
from wsol.methods.dino_seg import DINOSeg
from wsol.methods.lost import LOST
from wsol.methods.tokencut import TokenCut
from wsol.models import find_classifier

SIDE, HEADS, WIDTH, COUNT = 8, 2, 32, 6
SIZES = {"img_size": 64, "patch_size": 8, "embed_dim": WIDTH, "depth": 2, "num_heads": HEADS}
CASES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "no classifier": (lambda: VisionTransformer(**SIZES, num_classes=0), 1),
    "registers": (lambda: VisionTransformer(**SIZES, num_classes=5, reg_tokens=2), 3),
    "rope": (lambda: Eva(**SIZES, num_classes=5, use_rot_pos_emb=True, num_reg_tokens=2), 3),
    "mean": (lambda: VisionTransformer(**SIZES, num_classes=5, global_pool="avg", class_token=False), 0),
}
CLASSES = torch.zeros(COUNT, 2, dtype=torch.int64)


@cache
def network(name: str) -> Any:
    torch.manual_seed(0)
    net = CASES[name][0]().double().eval().requires_grad_(False)
    for parameter in net.parameters():
        if parameter.dim() > 1:
            parameter.normal_(0, 0.3)
    return net


@cache
def images() -> Tensor:
    """Blocks of random color, and noise."""
    generator = torch.Generator().manual_seed(1)
    blocks = torch.randn(COUNT, 3, 4, 4, dtype=torch.float64, generator=generator)
    noise = torch.randn(COUNT, 3, 64, 64, dtype=torch.float64, generator=generator)
    return nn.functional.interpolate(blocks, (64, 64)) + noise / 2


@cache
def run(name: str) -> Forward:
    return forward(find_classifier(network(name), name, side=64), images())


@cache
def read_layer(name: str) -> tuple[dict[str, Tensor], Tensor]:
    """Return keys, queries and values ``(n, patches, C)`` of the last block, and its attention by the formula."""
    net, prefix = network(name), CASES[name][1]
    own = net.blocks[-1].attn
    kept: list[Tensor] = []
    fused, own.fused_attn = own.fused_attn, False
    hooks = [
        own.register_forward_pre_hook(lambda _, given: kept.append(given[0])),
        own.attn_drop.register_forward_hook(lambda _, given, out: kept.append(out)),
    ]
    net(images())
    for hook in hooks:
        hook.remove()
    own.fused_attn = fused
    tokens, attention = kept
    bias = own.qkv.bias
    if bias is None:
        bias = torch.cat([own.q_bias, own.k_bias, own.v_bias])
    queries, keys, values = (tokens @ own.qkv.weight.T + bias).chunk(3, 2)
    by_name = {"queries": queries, "keys": keys, "values": values}
    return {each: vectors[:, prefix:] for each, vectors in by_name.items()}, attention


def grow(mask: np.ndarray, seed: int) -> np.ndarray:
    labels, _ = ndimage.label(mask.reshape(SIDE, SIDE))
    return (labels == labels.flat[seed]) & (labels > 0)


def tokencut(vectors: np.ndarray, tau: float) -> dict[str, np.ndarray]:
    """The paper, one image, with loops."""
    count = len(vectors)
    weights = np.empty((count, count))
    for i in range(count):
        for j in range(count):
            cosine = vectors[i] @ vectors[j] / (np.linalg.norm(vectors[i]) * np.linalg.norm(vectors[j]))
            weights[i, j] = 1.0 if cosine > tau else 1e-5
    degrees = np.diag(weights.sum(1))
    y = linalg.eigh(degrees - weights, degrees)[1][:, 1]
    seed = int(np.argmax(np.abs(y) > np.abs(y).max() * (1 - 1e-9)))
    foreground = y > y.mean()
    if not foreground[seed]:
        y, foreground = -y, ~foreground
    return {"eigenvector": y.reshape(SIDE, SIDE), "component": grow(foreground, seed)}


def lost(vectors: np.ndarray, patches: int) -> dict[str, np.ndarray]:
    count = len(vectors)
    degrees = [sum(vectors[i] @ vectors[j] > 0 for j in range(count) if j != i) for i in range(count)]
    order = sorted(range(count), key=lambda i: degrees[i])  # sorted keeps the order of equals
    seed = order[0]
    chosen = [p for p in order[:patches] if vectors[p] @ vectors[seed] > 0]
    similarity = np.array([sum(vectors[p] @ vectors[i] for p in chosen) for i in range(count)])
    return {"similarity": similarity.reshape(SIDE, SIDE), "component": grow(similarity > 0, seed)}


def dino_seg(attention: np.ndarray, mass: float) -> dict[str, np.ndarray]:
    flat = attention / attention.sum()
    mask, below = np.ones(len(flat), bool), 0.0
    for patch in sorted(range(len(flat)), key=lambda i: flat[i]):
        below += flat[patch]
        mask[patch] = below > 1 - mass
    labels, count = ndimage.label(mask.reshape(SIDE, SIDE))
    sizes = [(labels == label).sum() for label in range(1, count + 1)]
    grid = (SIDE, SIDE)
    largest = labels == 1 + int(np.argmax(sizes))
    return {"attention": attention.reshape(grid), "mask": mask.reshape(grid), "component": largest}


def check(found: Tensor, expected: list[np.ndarray]) -> None:
    assert found.shape == (COUNT, 2, SIDE, SIDE)
    assert not found.requires_grad
    stacked = torch.from_numpy(np.stack(expected).astype(float))
    assert stacked.flatten(1).std(1).min() > 0
    for column in found.unbind(1):
        torch.testing.assert_close(column, stacked, rtol=1e-5, atol=1e-7)


NAMES = ["registers", *(pytest.param(name, marks=pytest.mark.slow) for name in CASES if name != "registers")]


@pytest.mark.parametrize("name", NAMES)
def test_tokencut_is_the_papers(name: str) -> None:
    for features, vectors in read_layer(name)[0].items():
        expected = [tokencut(each, 0.2) for each in vectors.numpy()]
        for kind in ("component", "eigenvector"):
            found = find_method(f"tokencut:map={kind},features={features}").maps(run(name), CLASSES)
            check(found, [each[kind] for each in expected])


@pytest.mark.slow
@pytest.mark.parametrize("tau", [-0.3, 0.05, 0.6])
def test_tokencut_by_tau(tau: float) -> None:
    expected = [tokencut(each, tau)["eigenvector"] for each in read_layer("registers")[0]["keys"].numpy()]
    check(find_method(f"tokencut:map=eigenvector,tau={tau}").maps(run("registers"), CLASSES), expected)


@pytest.mark.parametrize("name", NAMES)
def test_lost_is_the_papers(name: str) -> None:
    for features, patches in (("keys", 1), ("keys", 20), ("keys", 100), ("values", 20), ("queries", 20)):
        expected = [lost(each, patches) for each in read_layer(name)[0][features].numpy()]
        for kind in ("component", "similarity"):
            found = find_method(f"lost:map={kind},patches={patches},features={features}").maps(run(name), CLASSES)
            check(found, [each[kind] for each in expected])


@pytest.mark.parametrize("name", NAMES)
def test_dino_seg_is_that_of_lost_and_dino(name: str) -> None:
    net, prefix = network(name), CASES[name][1]
    for head, mass in ((0, 0.6), (1, 0.6), (1, 0.2)):
        attention = read_layer(name)[1][:, head]
        rows = attention[:, prefix:].mean(1) if net.global_pool == "avg" else attention[:, 0]
        expected = [dino_seg(each, mass) for each in rows[:, prefix:].numpy()]
        for kind in ("component", "mask", "attention"):
            found = find_method(f"dino-seg:head={head},mass={mass},map={kind}").maps(run(name), CLASSES)
            check(found, [each[kind] for each in expected])


def test_two_blocks_by_hand() -> None:
    # a patches of one kind, in the middle, and b others: by y' D 1 = 0 and y' D y = 1, y has two values.
    mask = torch.zeros(1, 6, 7, dtype=torch.bool)
    mask[0, 2:5, 1:4] = True
    keys = torch.stack([torch.where(mask, 1.0, 0.1), torch.where(mask, -0.1, 1.0)], 3)
    a, b = 9, 33
    of_a, of_b = a + b * 1e-5, b + a * 1e-5  # degrees
    high = (b * of_b / (a * of_a * (a * of_a + b * of_b))) ** 0.5
    low = -high * a * of_a / (b * of_b)
    found = TokenCut(map="eigenvector")._cut(keys)
    torch.testing.assert_close(found, torch.where(mask, high, low).double())
    assert torch.equal(TokenCut()._cut(keys).bool(), mask)
    # The same keys against each other: fewest patches are like those in the middle.
    opposed = torch.where(mask, 1.0, -1.0)[..., None]
    assert torch.equal(LOST()._expand_seed(opposed).bool(), mask)
    assert torch.equal(LOST(map="similarity")._expand_seed(opposed), torch.where(mask, 9.0, -9.0).double())
    two = LOST(map="similarity", patches=2)._expand_seed(opposed)
    assert torch.equal(two, torch.where(mask, 2.0, -2.0).double())


def test_only_the_component_of_the_seed() -> None:
    # Two pieces of the foreground touch by a corner alone; the seed is the first patch of several that are equal.
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[0, 1:3, 3:5], mask[0, 3:5, 1:3] = True, True
    first = mask.clone()
    first[0, 3:] = False
    keys = torch.where(mask, 1.0, -1.0)[..., None]
    assert torch.equal(TokenCut()._cut(keys).bool(), first)
    assert torch.equal(LOST()._expand_seed(keys).bool(), first)
    weights = torch.where(mask, 5.0, 1.0)
    weights[0, 1, 3] = 4
    # 28 patches hold 1 of 67 each: 26 of them less than 1 - .6, so that the last 2 in the order join the others.
    found = DINOSeg(map="mask")._segment(weights.double()).bool()
    both = mask.clone()
    both[0, 5, 4:] = True
    assert torch.equal(found, both)
    assert torch.equal(DINOSeg()._segment(weights.double()).bool(), first)


def test_images_without_a_cut_are_blank() -> None:
    alike, unlike = torch.ones(4, 4, 16), torch.eye(16).reshape(4, 4, 16)
    keys = torch.stack([alike, unlike, torch.zeros(4, 4, 16), alike * torch.tensor(torch.nan), torch.randn(4, 4, 16)])
    for kind in ("component", "eigenvector"):
        maps = TokenCut(map=kind)._cut(keys)
        assert not maps[:3].any()
        assert maps[3].isnan().all()
        assert maps[4].isfinite().all()
        assert maps[4].any()
    for kind in ("component", "similarity"):
        maps = LOST(map=kind)._expand_seed(keys)
        assert maps[0].all()
        assert not maps[2].any()
        assert maps[3].isnan().all()
        assert maps[4].any()
    attention = torch.stack([torch.ones(4, 4), torch.full((4, 4), torch.nan), torch.rand(4, 4)])
    maps = DINOSeg()._segment(attention)
    assert maps[1].isnan().all()
    assert maps[[0, 2]].isfinite().all()


def test_at_a_tau_of_one_half_the_box_is_that_of_the_component() -> None:
    # The published box: edges of patches, in pixels of the network's input. Linear interpolation keeps them exactly.
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels, count = ndimage.label(ndimage.uniform_filter(rng.random((14, 14)), 3) > 0.5)
        component = labels == rng.integers(1, count + 1)
        rows, columns = np.nonzero(component)
        published = 16 * np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        maps = component[None].astype(np.float32)
        for taps, most in ((linear_taps, 0), (cubic_taps, 2)):
            large = resize_and_normalize(maps, (224, 224), taps)
            found = boxes_at_taus(large, np.array([0.5]))[0, 0]
            assert np.abs(found - published).max() <= most


@settings(max_examples=15, deadline=None)
@given(
    st.permutations(range(COUNT)), st.sampled_from(["tokencut", "tokencut:map=eigenvector", "lost", "dino-seg:head=1"])
)
def test_permuted_images_have_permuted_maps(order: list[int], text: str) -> None:
    method, passed = find_method(text), run("registers")
    permuted = forward(passed.network, images()[order])
    torch.testing.assert_close(method.maps(permuted, CLASSES), method.maps(passed, CLASSES)[order])


METHODS = ["tokencut", "tokencut:map=eigenvector", "lost", "lost:map=similarity", "dino-seg:head=1"]


@pytest.mark.sample(2)
@pytest.mark.parametrize("text", METHODS)
def test_neither_batch_nor_memory_nor_layer_matters(text: str) -> None:
    method, passed = find_method(text), run("registers")
    expected = method.maps(passed, CLASSES)
    torch.testing.assert_close(method.maps(forward(passed.network, images(), memory=1), CLASSES), expected)
    alone = [method.maps(forward(passed.network, image[None]), CLASSES[:1]) for image in images()]
    torch.testing.assert_close(torch.cat(alone), expected)
    with torch.inference_mode():
        torch.testing.assert_close(method.maps(forward(passed.network, images().clone()), CLASSES), expected)
    for layer in ("blocks.0.norm2", "blocks.1.attn.qkv", "blocks.1.attn.proj", "blocks.1.mlp"):
        classifier = find_classifier(network("registers"), "net", layer, side=64)
        torch.testing.assert_close(method.maps(forward(classifier, images()), CLASSES), expected)


@pytest.mark.slow
def test_where_they_cannot_be_applied() -> None:
    classifier = find_classifier(torchvision.models.squeezenet1_1(num_classes=5).eval(), "squeezenet")
    for text in ("tokencut", "lost", "dino-seg"):
        reason = unsupported_reason(find_method(text), classifier, 5)
        assert reason is not None
        assert "attend" in reason


def test_heads_that_do_not_exist() -> None:
    classifier = run("registers").network
    assert find_method("dino-seg:head=1").unsupported_reason(classifier) is None
    assert find_method("dino-seg").unsupported_reason(classifier) == (
        "the last attention has 2 heads, of which head 4 is none; use head=0 to head=1"
    )


@pytest.mark.parametrize("name", ["tokencut", "lost", "dino-seg"])
def test_settings_that_give_no_map(name: str) -> None:
    refused = {
        "tokencut": ("tau=1", "tau=-2", "map=mask", "features=k"),
        "lost": ("patches=0", "map=x", "features=k"),
        "dino-seg": ("head=-1", "mass=1", "mass=0", "map=x"),
    }
    for setting in refused[name]:
        with pytest.raises(InputError, match=setting.partition("=")[0]):
            find_method(f"{name}:{setting}")
