"""Several target layers, against grad-cam with several target layers, and against RefineCAM's product of its maps."""

from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils import image as grad_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from test_peers import Residual, assert_same, draw_images, randomize
from torch import Tensor, nn

from wsol.methods import find_method, forward
from wsol.models import find_classifier

pytestmark = pytest.mark.slow

DOUBLE = SimpleNamespace(**{**vars(np), "float32": np.float64})  # grad-cam rounds to float32 in places
CLASSES = torch.tensor([[0, 3, 1], [2, 1, 3]])
IMAGES = draw_images(2, 36, 28)
KINDS = {
    "gradcam": pytorch_grad_cam.GradCAM,
    "xgradcam": pytorch_grad_cam.XGradCAM,
    "layercam": pytorch_grad_cam.LayerCAM,
    "gradcam-elementwise": pytorch_grad_cam.GradCAMElementWise,
}


def build() -> nn.Module:
    network = randomize(Residual())
    with torch.no_grad():
        network.fc.weight.mul_(1e6)  # so that the 1e-7 that grad-cam adds to the maximum of a map has no say
    return network


def run_grad_cam(kind: type, layers: list[str], monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.setattr(grad_cam_image, "np", DOUBLE)
    network = build()
    modules = [network.get_submodule(each) for each in layers]

    class ToLargestMap(kind):  # in place of the image, whose size only a protocol knows
        def get_target_width_height(self, input_tensor: Tensor) -> tuple[int, int]:
            return 14, 18

    with ToLargestMap(network, modules) as peer:
        columns = [peer(IMAGES.clone(), [ClassifierOutputTarget(int(c)) for c in column]) for column in CLASSES.T]
    return np.stack(columns, 1)


def run_ours(spec: str, layers: str) -> np.ndarray:
    classifier = find_classifier(build().requires_grad_(False), "net", layers, side=36)
    return find_method(spec).maps(forward(classifier, IMAGES), CLASSES).numpy()


@pytest.mark.parametrize("spec", KINDS)
def test_mean_over_layers_with_maps_of_two_sizes(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = run_grad_cam(KINDS[spec], ["conv", "blocks.0", "blocks.1"], monkeypatch)
    assert_same(run_ours(f"{spec}:fusion=mean", "blocks.1,conv,blocks.0"), theirs)


@pytest.mark.parametrize("spec", KINDS)
def test_product_over_layers_with_maps_of_one_size(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # RefineCAM multiplies what grad-cam returns for each layer by itself.
    theirs = np.prod([run_grad_cam(KINDS[spec], [each], monkeypatch) for each in ("conv", "blocks.0")], 0)
    assert_same(run_ours(f"{spec}:fusion=product", "blocks.0,conv"), theirs)
