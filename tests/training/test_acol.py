"""ACoL compared with the paper, step by step in loops: forward pass, loss, erased places, and what is detached."""

import numpy as np
import pytest
import torch
from naive_heads import convolve, cross_entropy, normalize
from numpy.typing import NDArray
from torch import nn

from wsol.errors import InputError
from wsol.methods import find_method, forward
from wsol.methods.base import unsupported_reason
from wsol.models import Classifier, find_classifier
from wsol.models.heads.acol import ACoLClassifiers, ACoLNetwork, MapClassifier
from wsol.training.methods import find_train_method

CLASSES, CHANNELS, THRESHOLD = 4, 5, 0.6


def make_network(threshold: float = THRESHOLD) -> ACoLNetwork:
    """A network with random classifiers, of which the last convolutions are not zero either."""
    torch.manual_seed(1)
    features = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(inplace=True))
    network = ACoLNetwork(features, ACoLClassifiers(6, CLASSES, CHANNELS, threshold))
    for each in (network.classifiers.a, network.classifiers.b):
        nn.init.normal_(each.maps.weight)
        nn.init.normal_(each.maps.bias)
    return network.double()


def make_images(n: int = 3) -> torch.Tensor:
    return torch.randn(n, 3, 12, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def maps_of(features: NDArray[np.float64], classifier: MapClassifier) -> NDArray[np.float64]:
    """Figure 2 of the paper: 3 x 3, ReLU, 3 x 3, ReLU, 1 x 1."""
    first, _, second, _ = classifier.layers
    hidden = np.maximum(convolve(features, first), 0)
    return convolve(np.maximum(convolve(hidden, second), 0), classifier.maps)


def erase(features: NDArray[np.float64], score_map: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    erased, normalized = features.copy(), normalize(score_map)
    for i in range(score_map.shape[0]):
        for j in range(score_map.shape[1]):
            if normalized[i, j] >= threshold:
                erased[:, i, j] = 0
    return erased


def test_forward_and_loss() -> None:
    network, images, labels = make_network(), make_images(), torch.tensor([2, 0, 3])
    a, b = network.classifiers.a, network.classifiers.b
    first, second, losses = [], [], []
    for image, label in zip(images, labels.tolist(), strict=True):
        features = network.features(image[None])[0].detach().numpy()
        maps = maps_of(features, a)
        erased = erase(features, maps[label], THRESHOLD)
        assert 0 < (erased != features).any(0).sum() < features[0].size
        first.append(maps.mean((1, 2)))
        second.append(maps_of(erased, b).mean((1, 2)))
        losses.append(cross_entropy(first[-1], label) + cross_entropy(second[-1], label))
    logits_a, logits_b = network.train()(images, labels)
    np.testing.assert_allclose(logits_a.detach(), first, rtol=1e-10)
    np.testing.assert_allclose(logits_b.detach(), second, rtol=1e-10)
    np.testing.assert_allclose(network.eval()(images).detach(), first, rtol=1e-10)
    method = find_train_method(f"acol:threshold={THRESHOLD},channels={CHANNELS}")
    loss, logits = method.compute_loss(network, images, labels, nn.CrossEntropyLoss())
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-6)
    np.testing.assert_allclose(logits.detach(), first, rtol=1e-5)


def test_gradients_flow_through_the_features_but_not_through_the_choice_of_places() -> None:
    network, images, labels = make_network(), make_images(), torch.tensor([2, 0, 3])
    kept = []
    network.features.register_forward_hook(lambda _module, _inputs, output: kept.append(output) or output.retain_grad())
    logits_a, logits_b = network(images, labels)
    nn.functional.cross_entropy(logits_b, labels).backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in network.classifiers.a.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.classifiers.b.parameters())
    features = kept[0]
    gradient = features.grad.abs().sum(1)
    for image, label, found in zip(features.detach().numpy(), labels.tolist(), gradient, strict=True):
        erased = normalize(maps_of(image, network.classifiers.a)[label]) >= THRESHOLD
        assert (found[torch.from_numpy(erased)] == 0).all()
        assert (found[torch.from_numpy(~erased)] > 0).all()
    features.grad = None
    nn.functional.cross_entropy(logits_a, labels).backward()
    assert (features.grad.abs().sum(1) > 0).all()  # those of A reach all places


@pytest.mark.parametrize("loudness", [0.1, 100.0])
def test_steps_of_the_last_layers_are_shortened_for_loud_features(loudness: float) -> None:
    network, images, labels = make_network(), make_images(), torch.tensor([2, 0, 3])
    b = network.classifiers.b
    given = loudness * network.features(images).detach()
    hidden = b(given).detach()
    nn.functional.cross_entropy(b.score(hidden), labels).backward()
    weight = b.maps.weight.detach().clone().requires_grad_()
    logits = nn.functional.conv2d(hidden, weight, b.maps.bias).mean((2, 3))
    nn.functional.cross_entropy(logits, labels).backward()
    norm = np.mean([(each.mean((1, 2)) ** 2).sum() for each in hidden.numpy()])
    assert (norm > 256) == (loudness > 1)
    torch.testing.assert_close(b.maps.weight.grad, weight.grad * min(1, 256 / norm), rtol=1e-6, atol=0)


def test_nothing_is_erased_for_a_constant_map() -> None:
    network, images, labels = make_network(), make_images(), torch.tensor([2, 0, 3])
    nn.init.zeros_(network.classifiers.a.maps.weight)
    network.classifiers.b.load_state_dict(network.classifiers.a.state_dict())
    logits_a, logits_b = network(images, labels)
    assert torch.equal(logits_a, logits_b)
    classifier = as_classifier(network)
    assert (find_method("acol").maps(forward(classifier, images), labels[:, None]) == 0).all()


def as_classifier(network: nn.Module) -> Classifier:
    return find_classifier(network.float().eval(), "acol").double()


def test_maps_are_the_maximum_of_both_normalized_maps_for_the_places_of_each_class() -> None:
    network, images = make_network(), make_images()
    classes = torch.tensor([[2, 0], [1, 3], [3, 3]])
    classifier = as_classifier(network)
    passed = forward(classifier, images)
    maps = find_method("acol").maps(passed, classes)
    a, b = network.classifiers.a, network.classifiers.b
    for i in range(3):
        features = network.features(images[i : i + 1])[0].detach().numpy()
        for j, c in enumerate(classes[i].tolist()):
            first = maps_of(features, a)[c]
            second = maps_of(erase(features, first, THRESHOLD), b)[c]
            np.testing.assert_allclose(maps[i, j], np.maximum(normalize(first), normalize(second)), atol=1e-10)
    assert not maps.requires_grad
    alone = find_method("acol").maps(forward(classifier, images, memory=1), classes)  # one class at a time
    torch.testing.assert_close(alone, maps, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(passed.logits, network(images), rtol=1e-10, atol=1e-10)


def test_what_applies_to_which_network() -> None:
    network = make_network()
    classifier = as_classifier(network)
    assert unsupported_reason(find_method("acol"), classifier, CLASSES) is None
    for name in ("cam", "nwc"):
        assert "use --method acol, which shows both" in unsupported_reason(find_method(name), classifier, CLASSES)
    assert unsupported_reason(find_method("gradcam"), classifier, CLASSES) is None
    own = find_classifier(network.float(), "acol", "classifiers.a.layers.3")  # asked for by name, A alone is shown
    assert unsupported_reason(find_method("cam"), own, CLASSES) is None
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    for other in (own, find_classifier(plain.eval(), "plain")):
        assert "wsol.train --train-method acol" in unsupported_reason(find_method("acol"), other, CLASSES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("threshold=1.5", "training method acol: threshold is 1.5, which must be from 0 to 1"),
        ("threshold=nan", "training method acol: threshold is nan, which must be from 0 to 1"),
        ("channels=0", "training method acol: channels is 0, which must be 1 or more"),
        ("chanels=8", "training method acol: unknown setting 'chanels=8'; it takes threshold, channels"),
    ],
)
def test_wrong_settings(settings: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_train_method(f"acol:{settings}")
