"""Refinements: test-time augmentation, the first principal component, and targets, for every method that takes them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from wsol.errors import InputError
from wsol.methods import (
    METHODS,
    Forward,
    Method,
    Refinements,
    constant_gradient_map,
    find_method,
    fit_layers,
    forward,
    unsupported_reason,
    with_target,
)
from wsol.methods._find import _with_settings
from wsol.methods._finer_target import FinerTarget
from wsol.methods._refined import refine
from wsol.methods._target import class_score
from wsol.methods.base import GradientMethod
from wsol.methods.eigencam import compute_principal_map
from wsol.models import Classifier, find_classifier

QUICK = {"ss-cam": "samples=1", "is-cam": "samples=1", "rise": "masks=4", "integrated-gradients": "steps=2"}
QUICK |= {"occlusion": "window=8,stride=8", "smoothgradcam++": "samples=2"}
CLASSES = torch.tensor([[0, 3, 4], [2, 1, 3]])
OTHERS = (pytest.param(each, marks=pytest.mark.slow) for each in ("gap", "tokens"))
KINDS = pytest.mark.parametrize("kind", ["head", *OTHERS])
WITHOUT_TARGET = {"cam", "nwc", "finercam"}


def refined(name: str, refinements: str = "") -> Method:
    """A method with few samples and refinements."""
    return find_method(":".join(filter(None, [name, ",".join(filter(None, [QUICK.get(name, ""), refinements]))])))


@cache
def network(kind: str = "head") -> Classifier:
    """Small networks in float64: with pooling to cells, with global pooling, and of tokens."""
    torch.manual_seed(0)
    trunk = [nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU()]
    heads: dict[str, list[nn.Module]] = {
        "head": [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 8), nn.Tanh(), nn.Linear(8, 5)],
        "gap": [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)],
        "one class": [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1)],
    }
    net = nn.Sequential(*trunk, *heads[kind]) if kind in heads else VisionTransformer(32, 8, 2, 2, 8, 16, num_classes=5)
    if kind not in heads:
        nn.init.normal_(net.heads.head.weight)
    return find_classifier(net.double().eval().requires_grad_(False), "net", side=32)


def images(n: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps(method: Method, given: Tensor, classes: Tensor = CLASSES, kind: str = "head", **more: int) -> Tensor:
    return method.maps(forward(network(kind), given, **more), classes)


def applicable(kind: str) -> Iterator[str]:
    for name in METHODS.names():
        if unsupported_reason(METHODS.get(name), network(kind), 5) is None:
            yield name


def close(found: Tensor, expected: Tensor, message: str = "") -> None:
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11 * scale, msg=message or None)


def minmax(values: Tensor) -> Tensor:
    low, high = values.amin((-2, -1), keepdim=True), values.amax((-2, -1), keepdim=True)
    return (values - low) / torch.where(high > low, high - low, 1)


def first_component(weighted: Tensor) -> np.ndarray:
    """By NumPy, of one image: places times the first right singular vector, in the sign of the sum."""
    matrix = weighted.flatten(1).numpy().T
    matrix = matrix - matrix.mean(0)
    component = matrix @ np.linalg.svd(matrix, full_matrices=False)[2][0]
    sign = 1 if component @ matrix.sum(1) >= 0 else -1
    return sign * component.reshape(weighted.shape[1:])


# ---------------------------------------------------------------------------------------------------------- grammar


@pytest.mark.parametrize(
    ("text", "signature"),
    [
        ("gradcam:aug_smooth=true", "gradcam:relu=true,aug_smooth=true"),
        ("cam:eigen_smooth=true,aug_smooth=true", "cam:aug_smooth=true,eigen_smooth=true"),
        ("gradcam:target=finer", "gradcam:relu=true,target=finer,finer_alpha=1.0,finer_classes=3"),
        (
            "gradcam:finer_alpha=.5,aug_smooth=true,relu=false,target=finer,eigen_smooth=true",
            "gradcam:relu=false,aug_smooth=true,eigen_smooth=true,target=finer,finer_alpha=0.5,finer_classes=3",
        ),
        ("gradcam:aug_smooth=false,target=class-score", "gradcam:relu=true"),
        ("finercam:alpha=2", "finercam:alpha=2.0,classes=3"),
    ],
)
def test_a_signature_has_the_refinements_and_is_read_again(text: str, signature: str) -> None:
    method = find_method(text)
    assert method.signature == signature
    assert find_method(signature) == method
    assert find_method(method) is method


def test_a_method_without_refinements_is_itself() -> None:
    for name in METHODS.names():
        assert find_method(f"{name}:aug_smooth=false") == METHODS.get(name) == find_method(name)


def test_a_refined_method_is_known_as_the_method_alone() -> None:
    for name in METHODS.names():
        alone, method = METHODS.get(name), find_method(f"{name}:aug_smooth=true")
        for each in ("name", "needs", "class_specific", "takes_target"):
            assert getattr(method, each) == getattr(alone, each)
        assert method.unsupported_reason(network()) == alone.unsupported_reason(network())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rise:eigen_smooth=true", "rise is no sum of weighted feature maps; leave out eigen_smooth"),
        ("eigencam:target=finer", "eigencam gives the same map for every class; leave out target"),
        ("cam:target=finer", "cam takes no other target than its own; leave out target"),
        ("finercam:target=finer", "finercam takes no other target than its own; leave out target"),
        ("gradcam:target=fine", "unknown target 'fine'; known: class-score, finer, FILE.py:FUNCTION"),
        ("gradcam:target=no.py:f", "there is no file no.py; a target is class-score, finer or FILE.py:FUNCTION"),
        ("gradcam:finer_alpha=2", "method gradcam: finer_alpha and finer_classes go with target=finer"),
        ("gradcam:target=finer,finer_classes=0", "method gradcam: the number of closest classes must be 1 or more"),
        ("gradcam:target=finer,finer_alpha=nan", "alpha a finite number; they are 3 and nan"),
        ("finercam:classes=0", "method finercam: the number of closest classes must be 1 or more"),
        (
            "gradcam:aug_smooth=yes",
            "method gradcam: aug_smooth cannot be 'yes'; give true or false, such as its default, False",
        ),
        ("kpca-cam:gamma=0", "method kpca-cam: gamma 0.0 should be positive and finite"),
        ("kpca-cam:gamma=nan", "method kpca-cam: gamma nan should be positive and finite"),
        ("fem:z=nan", "method fem: z nan should be a finite number"),
        ("gradcam:relu=false,relu=true", "method gradcam: the setting relu is named twice; name it once"),
        ("gradcam:target=finer,target=class-score", "method gradcam: the setting target is named twice; name it once"),
        ("gradcam:smooth=true", "unknown setting 'smooth=true'; it takes relu, aug_smooth, eigen_smooth, target, "),
    ],
)
def test_what_is_wrong_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        find_method(text)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_setting_of_the_method_hides_the_refinement_of_its_name() -> None:
    @dataclass(frozen=True)
    class Own(GradientMethod):
        name = "own"
        target: str = "mine"

        def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
            return gradients.sum(2)

    assert _with_settings("method own", Own(), "target=other").signature == "own:target=other"


# ------------------------------------------------------------------------------------------------------- aug_smooth


def test_aug_smooth_is_the_mean_of_six_scaled_maps() -> None:
    for name in ("gradcam", "hirescam", "eigencam", "backprop", "ablationcam"):
        expected = torch.zeros(())
        for flipped in (False, True):
            for scale in (0.9, 1.0, 1.1):
                changed = images() * scale
                changed = changed.flip(3) if flipped else changed
                each = minmax(maps(refined(name), changed))
                expected = expected + (each.flip(3) if flipped else each) / 6
        close(maps(refined(name, "aug_smooth=true"), images()), expected, name)


@pytest.mark.slow
@KINDS
def test_every_method_takes_aug_smooth(kind: str) -> None:
    for name in applicable(kind):
        found = maps(refined(name, "aug_smooth=true"), images(), kind=kind)
        plain = maps(refined(name), images(), kind=kind)
        assert found.shape == plain.shape, name
        assert found.isfinite().all(), name
        assert 0 <= found.min() < found.max() <= 1 + 1e-12, name
        assert not found.requires_grad, name
        alone = maps(refined(name, "aug_smooth=true"), images()[1:], CLASSES[1:, :1], kind)
        close(found[1:, :1], alone, name)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["gradcam", "layercam", "eigencam", "occlusion", "finercam", "fem"]))
def test_the_map_of_a_symmetric_image_is_symmetric(seed: int, name: str) -> None:
    half = images(1, seed)[..., :16]
    symmetric = torch.cat([half, half.flip(3)], 3)
    found = maps(refined(name, "aug_smooth=true"), symmetric, CLASSES[:1])
    torch.testing.assert_close(found, found.flip(3), rtol=0, atol=1e-12)


def test_a_map_without_contrast_stays_without() -> None:
    @dataclass(frozen=True)
    class Constant(Method):
        name = "constant"
        needs = "features"

        def maps(self, forward: Forward, classes: Tensor) -> Tensor:
            return torch.full((*classes.shape, 4, 4), 3.0, dtype=torch.float64)

    assert not maps(refine(Constant(), Refinements(aug_smooth=True)), images()).any()


# ----------------------------------------------------------------------------------------------------- eigen_smooth


def test_eigen_smooth_is_the_first_component_of_the_weighted_features() -> None:
    passed = forward(network(), images())
    gradients = passed.gradients(CLASSES)
    features = passed.features[:, None]
    weighted = {
        "gradcam:relu=false": gradients.mean((3, 4), keepdim=True) * features,
        "hirescam": gradients * features,
        "layercam": gradients.relu() * features,
    }
    for text, products in weighted.items():
        found = find_method(f"{text}{',' if ':' in text else ':'}eigen_smooth=true").maps(passed, CLASSES)
        for i in range(2):
            for j in range(3):
                expected = first_component(products[i, j])
                expected = np.maximum(expected, 0) if text == "layercam" else expected
                np.testing.assert_allclose(found[i, j], expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@KINDS
def test_what_a_method_weighs_adds_up_to_its_map(kind: str) -> None:
    weighed = []
    for name in applicable(kind):
        method = refined(name)
        if not method.is_weighted_sum:
            with pytest.raises(InputError, match=f"{name.replace('+', '.')} is no sum of weighted feature maps"):
                refined(name, "eigen_smooth=true")
            continue
        weighed.append(name)
        passed = forward(network(kind), images())
        products = [*method.weigh(passed, CLASSES)]
        assert [each.shape for each in products] == [(2, 1, *passed.features.shape[1:])] * 3, name
        sums = torch.cat(products, 1).sum(2)
        close(method.finish(sums), method.maps(passed, CLASSES), name)
        found = maps(refined(name, "eigen_smooth=true"), images(), kind=kind)
        components = torch.stack([compute_principal_map(each[:, 0]) for each in products], 1)
        assert ((components * sums).sum((2, 3)) >= 0).all(), name
        close(found, method.finish(components), name)
        close(maps(refined(name, "eigen_smooth=true"), images(), kind=kind, memory=1), found, name)
        close(maps(refined(name, "eigen_smooth=true"), images()[1:], CLASSES[1:, 1:2], kind), found[1:, 1:2], name)
    assert len(weighed) > 10


def test_hirescam_becomes_eigengradcam() -> None:
    close(maps(refined("hirescam", "eigen_smooth=true"), images()), maps(refined("eigengradcam"), images()))


def test_without_weights_there_is_nothing_to_smooth() -> None:
    blank = replace(forward(network("gap"), images()), features=torch.zeros(2, 8, 8, 8, dtype=torch.float64))
    assert not find_method("cam:eigen_smooth=true").maps(blank, CLASSES).any()


# ----------------------------------------------------------------------------------------------------------- target


def finer(logits: list[float], chosen: int, alpha: float, count: int, closest: list[int] | None = None) -> float:
    """The target in plain Python."""
    if closest is None:
        others = [i for i in range(len(logits)) if i != chosen]
        closest = sorted(others, key=lambda i: abs(logits[i] - logits[chosen]))[:count]
    powers = [np.exp(value - max(logits)) for value in logits]
    shares = [power / sum(powers) for power in powers]
    top = sum(shares[i] * (logits[chosen] - alpha * logits[i]) for i in closest)
    return top / (sum(shares[i] for i in closest) + 1e-9)


def test_the_finer_target_by_hand() -> None:

    logits = torch.tensor([[2.0, 1, 0, -5]], dtype=torch.float64)
    target, pairs = FinerTarget(0.5, 2).fix(logits, torch.tensor([[0, 3]]))
    assert target.closest.tolist() == [[1, 2], [2, 1]]
    e = np.e
    first = (e * (2 - 0.5) + 1 * (2 - 0)) / (e + 1)
    last = (1 * (-5 - 0) + e * (-5 - 0.5)) / (e + 1)
    np.testing.assert_allclose(target(logits, pairs)[0], [first, last], rtol=1e-7)  # less an epsilon
    # Never with itself, however many have its score, and of equally close classes the first.
    equal = torch.tensor([[1.0, 1, 1, 2, 0]])
    target, _ = FinerTarget(1, 3).fix(equal, torch.tensor([[1, 4]]))
    assert target.closest.tolist() == [[0, 2, 3], [0, 1, 2]]
    # No more classes than there are.
    target, _ = FinerTarget(1, 9).fix(equal, torch.tensor([[3]]))
    assert target.closest.tolist() == [[0, 1, 2, 4]]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_finer_target_in_plain_python(data: st.DataObject) -> None:

    count = data.draw(st.integers(2, 8))
    logits = data.draw(st.lists(st.lists(st.floats(-9, 9), min_size=count, max_size=count), min_size=1, max_size=3))
    classes = [data.draw(st.lists(st.integers(0, count - 1), min_size=2, max_size=2)) for _ in logits]
    alpha, others = data.draw(st.floats(-1, 2)), data.draw(st.integers(1, 4))
    scores = torch.tensor(logits, dtype=torch.float64)
    target, pairs = FinerTarget(alpha, others).fix(scores, torch.tensor(classes))
    found = target(scores, pairs)
    pairs_of = zip(logits, classes, strict=True)
    expected = [[finer(row, each, alpha, others) for each in chosen] for row, chosen in pairs_of]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_finercam_is_gradcam_with_the_finer_target() -> None:
    for more in ("", "aug_smooth=true", "eigen_smooth=true"):
        one = refined("finercam", ",".join(filter(None, ["alpha=0.7,classes=2", more])))
        other = refined("gradcam", ",".join(filter(None, ["target=finer,finer_alpha=0.7,finer_classes=2", more])))
        assert torch.equal(maps(one, images()), maps(other, images()))
    plain = maps(refined("gradcam"), images())
    torch.testing.assert_close(maps(refined("finercam", "alpha=0"), images()), plain, rtol=1e-6, atol=1e-9)
    assert (maps(refined("finercam"), images()) - plain).abs().max() > 0.1 * plain.max()


def test_the_closest_classes_are_those_of_the_image_and_not_of_its_changed_copies() -> None:
    passed = forward(network(), images())
    found = refined("occlusion", "target=finer,finer_classes=2").maps(passed, CLASSES)
    for i in range(2):
        clean = passed.logits[i].tolist()
        for j, chosen in enumerate(CLASSES[i].tolist()):
            others = sorted((c for c in range(5) if c != chosen), key=lambda c: abs(clean[c] - clean[chosen]))[:2]
            for top in range(0, 32, 8):
                for left in range(0, 32, 8):
                    hidden = images()[i : i + 1].clone()
                    hidden[:, :, top : top + 8, left : left + 8] = 0
                    scores = passed.scores(hidden)[0].tolist()
                    drop = finer(clean, chosen, 1, 2, others) - finer(scores, chosen, 1, 2, others)
                    torch.testing.assert_close(found[i, j, top + 3, left + 5].item(), drop, rtol=1e-7, atol=1e-9)


@KINDS
def test_every_method_that_reads_class_scores_takes_a_target(kind: str) -> None:
    def third(logits: Tensor, classes: Tensor) -> Tensor:
        return logits.gather(1, classes) * 3

    for name in applicable(kind):
        method = refined(name)
        if not method.class_specific or name in WITHOUT_TARGET:
            with pytest.raises(InputError, match=f"^{name} (takes no other|gives the same map)"):
                with_target(method, third, "third")
            with pytest.raises(InputError, match=f"^{name} (takes no other|gives the same map)"):
                refined(name, "target=finer")
            continue
        assert with_target(method, class_score) is method
        same = with_target(method, lambda logits, classes: logits.gather(1, classes), "same")
        plain = maps(method, images(), kind=kind)
        if name != "rise":  # which takes probabilities
            close(maps(same, images(), kind=kind), plain, name)
        # Batched, with the pairs of images and classes numbered across the batch; and each alone.
        finest = refined(name, "target=finer")
        found = maps(finest, images(), kind=kind)
        assert found.shape == plain.shape, name
        assert (minmax(found) - minmax(plain)).abs().max() > 1e-4, name
        close(maps(finest, images()[1:], CLASSES[1:, 2:], kind), found[1:, 2:], name)
        close(maps(finest, images(), kind=kind, memory=1), found, name)


def test_a_target_of_probabilities_by_hand() -> None:
    def probability(logits: Tensor, classes: Tensor) -> Tensor:
        return logits.softmax(1).gather(1, classes)

    passed = forward(network(), images())
    found = with_target("hirescam", probability, "probability").maps(passed, CLASSES)
    for i in range(2):
        for j in range(3):
            leaf = passed.features.clone().requires_grad_()
            network().forward_head(leaf, passed.extras).softmax(1)[i, CLASSES[i, j]].backward()
            close(found[i, j], (leaf.grad[i] * leaf[i]).sum(0).detach())
    # RISE takes the number as it is; with the probability it is RISE.
    rise = with_target(refined("rise"), probability, "probability")
    close(rise.maps(passed, CLASSES), refined("rise").maps(passed, CLASSES))


def test_a_network_of_one_class_has_nothing_to_compare() -> None:
    single = network("one class")
    layers = [nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)]
    several = find_classifier(nn.Sequential(*layers).eval(), "net", "0,1", side=32)
    for text, compares in (("finercam", "finercam"), ("layercam:target=finer", "target=finer")):
        reason = find_method(text).unsupported_reason(single)
        assert reason is not None
        assert reason.startswith(f"the network has one class, and {compares} compares classes; ")
        assert fit_layers(find_method(text), several).unsupported_reason(several) == reason
        assert find_method(text).unsupported_reason(network()) is None


def test_a_method_that_overlooks_its_target_is_refused() -> None:
    @dataclass(frozen=True)
    class Overlooks(Method):
        name = "overlooks"
        needs = "features"

        def maps(self, forward: Forward, classes: Tensor) -> Tensor:
            return forward.features[:, :1].expand(-1, classes.shape[1], -1, -1)

    with pytest.raises(InputError, match="overlooks ignores its target; leave out target"):
        maps(with_target(Overlooks(), lambda logits, classes: logits.gather(1, classes), "same"), images())


# ------------------------------------------------------------------------------------------------------- everywhere


@pytest.mark.parametrize("refinements", ["aug_smooth=true", "eigen_smooth=true", "target=finer"])
def test_a_refined_method_is_not_cam(refinements: str) -> None:
    for name in ("gradcam", "hirescam", "xgradcam"):
        assert constant_gradient_map(find_method(name)) is not None
        assert constant_gradient_map(find_method(f"{name}:{refinements}")) is None
    assert constant_gradient_map(find_method("finercam")) is None


def test_classes_are_checked_and_nothing_is_left_behind() -> None:
    method = find_method("gradcam:aug_smooth=true,eigen_smooth=true,target=finer")
    passed = forward(network(), images())
    with pytest.raises(InputError, match="the network has no class 5"):
        method.maps(passed, torch.tensor([[0], [5]]))
    before = [(name, value.clone()) for name, value in network().named_parameters()]
    given = images()
    method.maps(forward(network(), given), CLASSES)
    assert torch.equal(given, images())
    assert "_graph" not in vars(passed)
    for (name, value), (_, now) in zip(before, network().named_parameters(), strict=True):
        assert torch.equal(value, now), name
        assert now.grad is None
        assert not now.requires_grad
    assert not any(module._forward_hooks for module in network().modules())


def test_maps_under_inference_mode_are_the_same() -> None:
    method = find_method("gradcam:aug_smooth=true,eigen_smooth=true,target=finer")
    expected = maps(method, images())
    with torch.inference_mode():
        found = method.maps(forward(network(), images()), CLASSES)
    close(found, expected)
    copied = replace(forward(network(), images()), classes_checked=True)
    close(method.maps(copied, CLASSES), expected)
