"""What makes a run faster leaves its boxes where they are."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet18

import wsol
from wsol.errors import InputError
from wsol.methods import METHODS, find_method, forward
from wsol.models import find_classifier, load_model

METHODS_OF_ONE_PASS = ["cam", "gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "eigencam"]


def boxes(**options: object) -> np.ndarray:
    found = wsol.evaluate("vgg16-gap", limit=6, batch_size=3, device="cpu", workers=1, **options)
    return found.predictions.query("rank == 0")[["x0", "y0", "x1", "y1"]].to_numpy(float)


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    return boxes()


@pytest.mark.slow
def test_channels_last_gives_the_same_boxes(plain: np.ndarray) -> None:
    np.testing.assert_allclose(boxes(channels_last=True), plain, atol=1)


@pytest.mark.slow
def test_bfloat16_gives_nearly_the_same_boxes(plain: np.ndarray) -> None:
    # Eight bits of mantissa move a threshold's crossing by a pixel or two of 224.
    found = boxes(precision="bfloat16")
    np.testing.assert_allclose(found, plain, atol=8)
    assert np.abs(found - plain).mean() < 2


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 5, 4), nn.ReLU(), nn.Conv2d(16, 32, 3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 5)).eval().requires_grad_(False)


@pytest.mark.skipif(shutil.which("g++") is None and not torch.cuda.is_available(), reason="nothing to compile with")
@pytest.mark.slow
def test_compiled_gives_the_same_maps(network: nn.Module) -> None:
    images, classes = torch.randn(3, 3, 224, 224), torch.tensor([[0, 1], [2, 3], [4, 0]])
    plain, compiled = find_classifier(network, "net"), find_classifier(network, "net")
    compiled.trunk.compile()
    for name in METHODS_OF_ONE_PASS:
        method = find_method(name)
        expected = method.maps(forward(plain, images), classes)
        found = method.maps(forward(compiled, images), classes)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_evaluate_compiles(csv_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, *_, **__: asked.append(type(module).__name__))
    factory = csv_data / "net.py"
    factory.write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 9, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7))\n"
    )
    common = {"dataset": "csv", "data_root": csv_data, "limit": 2, "device": "cpu"}
    network = wsol.evaluate(f"{factory}:net", compiled=True, **common).metadata.provenance.network
    assert len(asked) == 1
    assert network is not None
    assert network.precision == "float32"
    halved = wsol.evaluate(f"{factory}:net", precision="bfloat16", **common)
    assert "+bfloat16|cam|" in halved.signature  # it decides digits
    with pytest.raises(InputError, match="fullgrad runs the whole network in float32; leave out --precision"):
        wsol.evaluate(f"{factory}:net", method="fullgrad", precision="bfloat16", **common)
    with pytest.raises(InputError, match="a loaded model has its weights, layer, map size"):
        wsol.evaluate(load_model(f"{factory}:net"), layer="0", **common)
    with pytest.raises(InputError, match="memory is 0; give"):
        wsol.evaluate(f"{factory}:net", memory=0, **common)


def test_maps_under_inference_mode_are_the_same(network: nn.Module) -> None:
    classifier = find_classifier(network, "net")
    images, classes = torch.randn(2, 3, 64, 64), torch.tensor([[0, 1], [2, 3]])
    quick = {"ss-cam": ":samples=1", "is-cam": ":samples=1", "rise": ":masks=5", "integrated-gradients": ":steps=2"}
    for name in METHODS.names():
        method = find_method(name + quick.get(name, ""))
        if method.unsupported_reason(classifier) is None:
            expected = method.maps(forward(classifier, images), classes)
            with torch.inference_mode():
                found = method.maps(forward(classifier, images.clone()), classes)
            torch.testing.assert_close(found, expected, msg=name)


@pytest.mark.parametrize("name", [*METHODS.names(), "rise:masks=9"])
def test_signatures_are_read_again(name: str) -> None:
    method = find_method(name)
    assert find_method(method.signature) == method


@pytest.mark.parametrize(
    "text",
    [
        *("rise:masks=0", "rise:keep=0", "rise:cells=0", "ss-cam:samples=0", "ss-cam:std=-1", "is-cam:samples=0"),
        *("integrated-gradients:steps=0", "smoothgradcam++:samples=0", "occlusion:stride=0"),
    ],
)
def test_settings_that_make_no_map_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"method {re.escape(text.partition(':')[0])}: .* (must|should) be"):
        find_method(text)


@pytest.mark.slow
def test_map_size_and_layer_are_in_the_signature(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(resnet18(num_classes=3).state_dict(), tmp_path / "w.safetensors")
    plain = load_model("resnet18", tmp_path / "w.safetensors")
    larger = load_model("resnet18", tmp_path / "w.safetensors", layer="layer3", map_size=14)
    digest = plain.sha256[:8]
    assert plain.signature == f"resnet18:{digest}"
    assert larger.signature == f"resnet18+14@layer3:{digest}"


@pytest.mark.parametrize("places", [5, 20])  # fewer than channels, and more
@pytest.mark.parametrize("centered", ["true", "false"])
def test_eigencam_is_the_first_singular_vector(places: int, centered: str) -> None:
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 64, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4)]
    classifier = find_classifier(nn.Sequential(*layers).eval().double(), "net")
    passed = forward(classifier, torch.rand(2, 3, places, places, dtype=torch.float64))
    found = find_method(f"eigencam:centered={centered}").maps(passed, torch.zeros(2, 1, dtype=torch.int64))
    for features, score_map in zip(passed.features, found[:, 0], strict=True):
        matrix = features.flatten(1).T
        matrix = matrix - matrix.mean(0) if centered == "true" else matrix
        left, scale, _ = torch.linalg.svd(matrix, full_matrices=False)
        expected = (left[:, 0] * scale[0]).reshape(places, places)
        sign = torch.sign((expected * score_map).sum())
        torch.testing.assert_close(score_map, sign * expected, rtol=0, atol=1e-9)


def test_attention_that_is_not_followed_is_refused() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 56, 56)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True, add_zero_attn=True)
            self.fc = nn.Linear(8, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            tokens = self.patches(images).flatten(2).transpose(1, 2)
            return self.fc(self.attention(tokens, tokens, tokens)[0].mean(1))

    classifier = find_classifier(Masked().eval(), "masked")
    passed = forward(classifier, torch.rand(1, 3, 224, 224))
    with pytest.raises(InputError, match="the attention of attention has masks or added keys; use another method"):
        find_method("self-attention").maps(passed, torch.tensor([[0]]))


def test_a_score_that_does_not_depend_on_the_layer_is_said() -> None:
    class Ends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3, 8), nn.Conv2d(3, 4, 3, 8)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            unused = self.one(images)
            return self.two(images).amax((2, 3)) + 0 * unused.detach().sum()

    classifier = find_classifier(Ends().eval(), "ends", "one")
    passed = forward(classifier, torch.rand(1, 3, 64, 64))
    with pytest.raises(InputError, match="no score depends on the maps of one; name another --layer"):
        find_method("gradcam").maps(passed, torch.tensor([[0]]))
