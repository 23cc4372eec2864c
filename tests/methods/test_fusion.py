"""Maps of several target layers: one pass of the network gives what one pass for each layer gives, fused by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.methods import METHODS, Method, find_method, fit_layers, forward, unsupported_reason
from wsol.methods._fusion import fuse_maps
from wsol.models import GapClassifier, find_classifier
from wsol.models.layered import LayeredClassifier

LAYERS = "body.2,body.4,body.0"  # as a user may name them; in the order of execution they are 0, 2, 4
CLASSES = torch.tensor([[0, 3], [4, 1]])
CHEAP = ["gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "gradcam-elementwise", "eigencam"]
CHEAP += ["bagcams", "shapleycam", "eigengradcam", "kpca-cam", "fem", "finercam", "layercam:target=finer"]
CHEAP += ["xgradcam:eigen_smooth=true"]
SLOWER = ["scorecam", "ablationcam", "smoothgradcam++:samples=2", "ss-cam:samples=1", "is-cam:samples=2"]
QUICK = {"ss-cam": ":samples=1", "is-cam": ":samples=1", "rise": ":masks=4", "integrated-gradients": ":steps=2"}
QUICK |= {"occlusion": ":window=16,stride=16", "smoothgradcam++": ":samples=2"}


class Net(nn.Module):
    """Convolutions that are overwritten by the ReLUs behind them, a shortcut past the last, pooling, a linear layer."""

    def __init__(self, hard: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hard = hard
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 8, 3, 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, 1, 1),
        )
        self.fc = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        if self.hard and images.shape[2] % 2:
            raise ValueError("control flow")
        early = self.body[3](self.body[2](self.body[1](self.body[0](images))))
        return self.fc((self.body[4](early) + early).relu().mean((2, 3)))


def build(hard: bool = False) -> nn.Module:
    return Net(hard).double().eval().requires_grad_(False)


def images(n: int = 2) -> Tensor:
    return torch.randn(n, 3, 24, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def scale(values: np.ndarray) -> np.ndarray:
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)


def resize(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation between the centers of pixels."""
    rows, columns = values.shape
    return weights(height, rows) @ values @ weights(width, columns).T


def weights(new: int, old: int) -> np.ndarray:
    """The share of each old pixel in each new one, along one axis."""
    centers = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(0, 1 - np.abs(centers[:, None] - np.arange(old)))


def fuse_by_hand(layers: list[Tensor], fusion: str) -> np.ndarray:
    height, width = (max(each.shape[axis] for each in layers) for axis in (2, 3))
    n, k = layers[0].shape[:2]
    result = np.zeros((n, k, height, width))
    for i in range(n):
        for j in range(k):
            parts = [resize(scale(each[i, j].numpy()), height, width) for each in layers]
            result[i, j] = np.mean(parts, 0) if fusion == "mean" else np.prod(parts, 0)
    return result


def fused(network: nn.Module, spec: str, layers: str = LAYERS, **options: int) -> Tensor:
    classifier = find_classifier(network, "net", layers, side=24)
    return fit_layers(find_method(spec), classifier).maps(forward(classifier, images(), **options), CLASSES)


def alone(network: nn.Module, spec: str, layer: str) -> Tensor:
    classifier = find_classifier(network, "net", layer, side=24)
    return find_method(spec).maps(forward(classifier, images()), CLASSES)


@pytest.mark.parametrize("hard", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["traced", "hooked"])
@pytest.mark.parametrize("fusion", ["mean", "product"])
@pytest.mark.parametrize("spec", [*CHEAP, *(pytest.param(each, marks=pytest.mark.slow) for each in SLOWER)])
def test_each_layer_by_itself_fused_by_hand(spec: str, fusion: str, hard: bool) -> None:
    network = build(hard)
    expected = fuse_by_hand([alone(network, spec, each) for each in LAYERS.split(",")], fusion)
    found = fused(network, f"{spec}{',' if ':' in spec else ':'}fusion={fusion}")
    assert np.median(np.ptp(expected, (2, 3))) > 1e-3
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-9)
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("hard", [False, True], ids=["traced", "hooked"])
def test_one_pass_and_one_graph_serve_all_layers(hard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(hard)
    classifier = find_classifier(network, "net", LAYERS, side=24)
    assert isinstance(classifier, LayeredClassifier)
    before = classifier.passes
    passed = forward(classifier, images())
    assert classifier.passes - before == 2
    calls = []
    graph = type(classifier).forward_graph
    monkeypatch.setattr(type(classifier), "forward_graph", lambda *args: calls.append(1) or graph(*args))
    backward = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **kwargs: calls.append(2) or backward(*args, **kwargs))
    passes = passed.at_layers(CLASSES)
    gradients = [each.gradients(CLASSES) for each in passes]
    assert calls == [1, 2]
    assert [each.network.layer for each in passes] == ["body.0", "body.2", "body.4"]
    for each, gradient in zip(passes, gradients, strict=True):
        single = forward(find_classifier(network, "net", each.network.layer, side=24), images())
        assert torch.equal(each.features, single.features)
        assert torch.equal(each.logits, single.logits)
        torch.testing.assert_close(gradient, single.gradients(CLASSES), rtol=1e-10, atol=1e-14)
        one = each.gradients(CLASSES[:, 1:])  # other classes than those of the shared graph
        torch.testing.assert_close(one, gradient[:, 1:], rtol=1e-10, atol=1e-14)


def test_the_shortcut_of_global_average_pooling_is_taken_at_the_last_layer_only() -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1))
    network = network.append(nn.Flatten()).append(nn.Linear(8, 5)).double().eval().requires_grad_(False)
    classifier = find_classifier(network, "net", "0,2", side=24)
    assert isinstance(classifier, LayeredClassifier)
    assert [isinstance(each, GapClassifier) for each in classifier.layers] == [False, True]
    expected = fuse_by_hand([alone(network, "gradcam", each) for each in ("0", "2")], "mean")
    np.testing.assert_allclose(fused(network, "gradcam", "0,2").numpy(), expected, rtol=0, atol=1e-9)


def test_the_order_of_the_names_does_not_matter() -> None:
    network = build()
    one, other = (find_classifier(network, "net", each, side=24) for each in (LAYERS, "body.4, body.0,body.2"))
    assert one.layer == other.layer == "body.0,body.2,body.4"
    assert torch.equal(fused(network, "gradcam"), fused(network, "gradcam", "body.4,body.0,body.2"))


def test_a_small_memory_budget_changes_nothing() -> None:
    network = build()
    torch.testing.assert_close(fused(network, "layercam", memory=1), fused(network, "layercam"), rtol=1e-12, atol=0)


def test_tokens_of_a_vision_transformer() -> None:
    torch.manual_seed(0)
    network = VisionTransformer(24, 8, embed_dim=16, depth=3, num_heads=2, num_classes=5).double().eval()
    network.requires_grad_(False)
    classifier = find_classifier(network, "vit", "blocks.0,blocks.1", side=24)
    square = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    method = find_method("gradcam:relu=false,fusion=product")
    singles = [
        find_method("gradcam:relu=false").maps(forward(find_classifier(network, "vit", each, side=24), square), CLASSES)
        for each in ("blocks.0", "blocks.1")
    ]
    found = method.maps(forward(classifier, square), CLASSES)
    np.testing.assert_allclose(found.numpy(), fuse_by_hand(singles, "product"), rtol=0, atol=1e-9)


def test_fusion_is_inside_of_test_time_augmentation() -> None:
    network = build()
    classifier = find_classifier(network, "net", LAYERS, side=24)
    expected = np.zeros((2, 2, 12, 10))
    for factor in (0.9, 1, 1.1):
        for mirrored in (False, True):
            seen = images() * factor
            passed = forward(classifier, seen.flip(3) if mirrored else seen)
            maps = find_method("gradcam:fusion=product").maps(passed, CLASSES)
            maps = (maps.flip(3) if mirrored else maps).numpy()
            expected += np.stack([[scale(each) for each in row] for row in maps]) / 6
    found = fused(network, "gradcam:aug_smooth=true,fusion=product")
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-9)


def test_maps_worked_out_by_hand() -> None:
    small, large = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0.5, 0.0, 1.0, 0.5]]]])
    resized = [0, 0.25, 0.75, 1]
    mean = torch.tensor([[[[0.25, 0.125, 0.875, 0.75]]]])
    product = torch.tensor([[[[0, 0, 0.75, 0.5]]]])
    assert resized[1:3] == [0.25, 0.75]  # a quarter and three quarters of the way between the two centers
    torch.testing.assert_close(fuse_maps([small, large], "mean"), mean)
    torch.testing.assert_close(fuse_maps([small, large], "product"), product)
    assert fuse_maps([small, small * torch.nan], "mean").isnan().all()


def test_a_layer_without_contrast() -> None:
    flat = torch.zeros(1, 1, 2, 2)
    other = torch.tensor([[[[0.0, 1.0], [0.5, 0.25]]]])
    assert torch.equal(fuse_maps([flat, other], "mean"), other / 2)
    assert not fuse_maps([flat, other], "product").any()


def test_what_cannot_be_fused_says_why() -> None:
    network = build()
    several, one = (find_classifier(network, "net", each, side=24) for each in (LAYERS, "body.2"))
    for name in ("backprop", "rise", "fullgrad"):
        reason = unsupported_reason(fit_layers(find_method(name), several), several, 5)
        assert reason == "it reads no target layer, and several are named (body.0,body.2,body.4); leave out --layer"
    assert unsupported_reason(fit_layers(find_method("gradcam"), several), several, 5) is None
    reason = unsupported_reason(fit_layers(find_method("cam"), several), several, 5)
    assert reason is not None
    assert "body.0" in reason
    with pytest.raises(InputError, match="give it the setting fusion=mean"):
        find_method("gradcam").maps(forward(several, images()), CLASSES)
    with pytest.raises(InputError, match=r"body\.2 is the only one; name more with --layer"):
        find_method("gradcam:fusion=mean").maps(forward(one, images()), CLASSES)
    with pytest.raises(InputError, match="fusion is 'max', and must be mean or product"):
        find_method("gradcam:fusion=max")


@pytest.mark.parametrize("hard", [False, True], ids=["traced", "hooked"])
@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("body.0,body.0", "the layer body.0 is named twice"),
        ("body.0,", "separate layers by one comma"),
        ("body.0,nothing", "no layer nothing"),
        ("body.0,fc", "fc"),
    ],
)
def test_layers_that_cannot_be_read(layers: str, message: str, hard: bool) -> None:
    with pytest.raises(InputError, match=message):
        find_classifier(build(hard), "net", layers, side=24)


def test_two_names_of_one_output_are_refused() -> None:
    class Nested(nn.Module):
        def __init__(self, hard: bool) -> None:
            super().__init__()
            self.hard = hard
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 6, 3, 2)))
            self.fc = nn.Linear(6, 5)

        def forward(self, values: Tensor) -> Tensor:
            if self.hard and values.shape[0] > 1000:
                raise ValueError("control flow")
            return self.fc(self.body(values).mean((2, 3)))

    for hard in (False, True):
        with pytest.raises(InputError, match="have the same output; name one of them"):
            find_classifier(Nested(hard).eval().requires_grad_(False), "net", "body.0,body,body.1", side=24)


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", METHODS.names())
def test_methods_say_whether_they_read_the_target_layer(name: str) -> None:
    method = find_method(name + QUICK.get(name, ""))
    torch.manual_seed(0)
    transformer = VisionTransformer(24, 8, embed_dim=16, depth=3, num_heads=2, num_classes=5).eval()
    cases: list[tuple[Callable[[], nn.Module], tuple[str, str]]] = [
        (build, ("body.1", "body.3")),
        (lambda: transformer.requires_grad_(False), ("blocks.0", "blocks.1")),
    ]
    for make, names in cases:
        network = make()
        both = [find_classifier(network, "net", each, side=24) for each in names]
        if any(unsupported_reason(method, each, 5) is not None for each in both):
            continue
        assert method.reads_layer == depends_on_the_layer(method, both)
        return


def depends_on_the_layer(method: Method, classifiers: list) -> bool:
    maps = []
    for each in classifiers:
        square = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
        maps.append(method.maps(forward(each, square.to(next(each.parameters()).dtype)), CLASSES))
    return maps[0].shape != maps[1].shape or not torch.allclose(maps[0], maps[1], rtol=1e-4, atol=1e-7)
