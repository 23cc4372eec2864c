"""BagCAMs, ShapleyCAM, EigenGradCAM, KPCA-CAM, FEM and NWC, against grad-cam or a naive reference by the paper."""

from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils import svd_on_activations
from test_peers import SMALL, Case, assert_same, close, draw_images, make, randomize
from test_peers_gradients import DOUBLE, assert_same_but_for_the_sign, relu, run_grad_cam
from torch import Tensor, nn

from wsol.methods import find_method, forward
from wsol.models import find_classifier

pytestmark = pytest.mark.slow


class Smooth(nn.Module):
    """A head whose Hessian is not zero, with batch normalization, GELU, a sigmoid gate and layer normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.GELU(), nn.Conv2d(6, 8, 3, 2, 1))
        self.behind = nn.Sequential(nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 9, 3, padding=1), nn.SiLU())
        self.gate, self.norm, self.fc = nn.Conv2d(9, 9, 1), nn.LayerNorm(9), nn.Linear(9, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.behind(self.features(images))
        return self.fc(self.norm((maps * self.gate(maps).sigmoid()).mean((2, 3))))


def make_smooth() -> Case:
    return Case(randomize(Smooth()), "features", draw_images(2, 28, 20), torch.tensor([[0, 3, 1], [2, 1, 3]]))


def record(case: Case) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Features, gradients of the class score, and the score itself, of each map, by a hook."""
    found = []
    for _, _, image, chosen in case.each():
        network, layer = case.peer()
        kept: list[Tensor] = []
        layer.register_forward_hook(lambda module, inputs, output, kept=kept: kept.append(output))
        score = network(image.clone().requires_grad_())[0, chosen]
        (gradient,) = torch.autograd.grad(score, kept[0])
        found.append((kept[0].detach()[0].numpy(), gradient[0].numpy(), float(score.detach())))
    return found


def stack(case: Case, maps: list[np.ndarray]) -> np.ndarray:
    return np.stack(maps).reshape(*case.classes.shape, *maps[0].shape)


@pytest.mark.parametrize("name", [*SMALL, "smooth"])
def test_bagcams_by_its_formula(name: str) -> None:
    case = make_smooth() if name == "smooth" else make(name)
    maps, signs = [], set()
    for features, gradients, score in record(case):
        signs.add(score > 0)
        total = np.zeros(features.shape[1:])
        for channel, gradient in zip(features, gradients, strict=True):
            regional = gradient / abs(score) * channel
            total += relu(np.mean(regional + 1) * regional)
        maps.append(total)
    assert name not in ("plain", "head") or signs == {True, False}
    close(case.maps("bagcams"), stack(case, maps))


@pytest.mark.parametrize("name", [*SMALL, "smooth"])
def test_shapleycam_of_grad_cam(name: str) -> None:
    case = make_smooth() if name == "smooth" else make(name)
    network, layer = case.peer()
    maps = []
    for _, _, image, chosen in case.each():
        with pytorch_grad_cam.ShapleyCAM(network, [layer]) as peer:
            leaf = image.clone().requires_grad_()
            output = peer.activations_and_grads(leaf)
            torch.autograd.grad(output[0, chosen], leaf, create_graph=True)
            activations = peer.activations_and_grads.activations[0]
            gradients = peer.activations_and_grads.gradients[0]
            maps.append(relu(peer.get_cam_image(leaf, layer, None, activations, gradients)[0]))
    ours = case.maps("shapleycam")
    assert_same(ours, stack(case, maps))
    if name == "smooth":
        assert np.abs(ours - case.maps("gradcam")).max() > 0.01 * np.abs(ours).max()
    else:  # piecewise linear
        close(ours, case.maps("gradcam"))


def test_shapleycam_in_a_transformer() -> None:
    """Fused attention has no second derivative; the Hessian is compared with torch's own, image by image."""
    from torchvision.models import VisionTransformer  # noqa: PLC0415  # slow to import

    torch.manual_seed(0)
    network = randomize(VisionTransformer(48, 16, 2, 2, 16, 32, num_classes=5))
    classifier = find_classifier(network, "vit", "encoder.layers.encoder_layer_0", side=48)
    passed = forward(classifier, draw_images(2, 48, 48))
    classes = torch.tensor([[0, 2], [4, 1]])
    found = find_method("shapleycam").maps(passed, classes)
    for i, row in enumerate(classes.tolist()):
        layout, *rest = passed.extras
        features, extras = passed.features[i : i + 1], (layout, *(each[i : i + 1] for each in rest))
        for j, chosen in enumerate(row):

            def score(maps: Tensor, extras: tuple = extras, chosen: int = chosen) -> Tensor:
                return classifier.forward_head(maps, extras)[0, chosen]

            with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                gradient = torch.autograd.functional.jacobian(score, features)
                hessian = torch.autograd.functional.hessian(score, features).reshape(features.numel(), -1)
            product = (hessian @ features.flatten()).reshape(features.shape)
            weights = (gradient - product / 2).mean((2, 3))
            expected = (weights[:, :, None, None] * features).sum(1).relu()[0]
            torch.testing.assert_close(found[i, j], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", [*SMALL, "smooth"])
def test_eigengradcam_of_grad_cam(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svd_on_activations, "np", DOUBLE)
    case = make_smooth() if name == "smooth" else make(name)
    ours = case.maps("eigengradcam")
    assert_same_but_for_the_sign(ours, run_grad_cam(case, pytorch_grad_cam.EigenGradCAM))
    hirescam = case.maps("hirescam")
    centered = hirescam - hirescam.mean((2, 3), keepdims=True)
    assert ((ours * centered).sum((2, 3)) > 0).all()


@pytest.mark.parametrize("name", SMALL)
def test_eigengradcam_without_centering_is_a_singular_vector(name: str) -> None:
    case, maps = make(name), []
    for features, gradients, _ in record(case):
        matrix = (features * gradients).reshape(len(features), -1).T
        _, _, rows = np.linalg.svd(matrix, full_matrices=False)
        projected = matrix @ rows[0]
        projected *= np.sign(projected @ matrix.sum(1))
        maps.append(projected.reshape(features.shape[1:]))
    np.testing.assert_allclose(case.maps("eigengradcam:centered=false"), stack(case, maps), rtol=0, atol=1e-7)


@pytest.mark.parametrize("scale", [1, 30])
@pytest.mark.parametrize("name", [*SMALL, "smooth"])
def test_kpca_cam_of_grad_cam(name: str, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steep kernels have large negative eigenvalues."""
    monkeypatch.setattr(svd_on_activations, "np", DOUBLE)
    case = make_smooth() if name == "smooth" else make(name)
    classifier = find_classifier(case.network, "peer", case.layer)
    features = forward(classifier, case.images).features
    theirs = svd_on_activations.get_2d_projection_kernel(features.numpy(), "sigmoid", scale / features.shape[1])
    ours = case.maps(f"kpca-cam:gamma={scale}")
    np.testing.assert_allclose(ours[:, 0], theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    np.testing.assert_array_equal(ours[:, 0], ours[:, 1])


@pytest.mark.parametrize("name", SMALL)
def test_fem_by_the_paper(name: str) -> None:
    case = make(name)
    maps = []
    for features, _, _ in record(case):
        total = np.zeros(features.shape[1:])
        for channel in features:
            mean, std = channel.mean(), channel.std()
            for place in np.ndindex(channel.shape):
                if channel[place] > mean + 2 * std:
                    total[place] += mean
        maps.append(total)
    close(case.maps("fem"), stack(case, maps))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("z", [1, 2])
def test_fem_of_grad_cam(name: str, z: float) -> None:
    case = make(name)
    features = forward(find_classifier(case.network, "peer", case.layer), case.images).features.numpy()
    peer = SimpleNamespace(k=z)
    theirs = pytorch_grad_cam.FEM.get_cam_image(peer, None, None, None, features, None, False)
    close(case.maps(f"fem:binary=false,z={z}"), np.repeat(theirs[:, None], case.classes.shape[1], 1))


@pytest.mark.parametrize("name", ["plain", "residual"])
def test_nwc_by_the_paper(name: str) -> None:
    case, maps = make(name), []
    for (features, _, _), (_, _, _, chosen) in zip(record(case), case.each(), strict=True):
        total = np.zeros(features.shape[1:])
        for weight, channel in zip(case.network.fc.weight[chosen].tolist(), features, strict=True):
            total += max(weight, 0) * channel
        maps.append(total)
    close(case.maps("nwc"), stack(case, maps))
