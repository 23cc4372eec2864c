"""The threads that run a network: bits do not depend on how many there are, and none sees what another does."""

import numpy as np
import pytest
import torch
import torchvision.models

from wsol.datasets import Sample
from wsol.datasets.base import as_boxes
from wsol.evaluation.inference import BatchInference, BatchPredictions
from wsol.methods import find_method, forward
from wsol.models import Model, Preprocessing, find_classifier
from wsol.protocols import find_protocol
from wsol.runtime.cost import Clock

VIEW = find_protocol("wsolevaluation").view


@pytest.fixture(autouse=True)
def threads() -> None:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def guess(model: Model, method: str, pixels: np.ndarray, threads: int, memory: int = 1 << 30) -> BatchPredictions:
    samples = [Sample(str(i), i % model.classes, as_boxes([[0, 0, 9, 9]]), "edges") for i in range(len(pixels))]
    torch.set_num_threads(threads)
    with BatchInference(model, find_method(method), VIEW, memory, "float32") as crew:
        found, passes = crew.predict(samples, pixels).result(Clock())
    assert passes >= len(pixels)
    assert torch.get_num_threads() == threads
    return found


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (n, 224, 224, 3), np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet121", "efficientnet_b0"])  # by themselves, they differ with the threads
def test_bits_do_not_depend_on_threads(name: str) -> None:
    torch.manual_seed(0)
    network = getattr(torchvision.models, name)(weights=None, num_classes=9).eval()
    model = Model(name, find_classifier(network, name), Preprocessing(), "random", "0" * 64, 9)
    one, two, three = (guess(model, "gradcam", noise(5), threads) for threads in (1, 2, 3))
    for other in (two, three):
        for part in ("classes", "scores", "maps"):
            assert getattr(one, part).tobytes() == getattr(other, part).tobytes()


METHODS = ("gradcam++", "fullgrad", "guided-backprop", "scorecam", "ablationcam", "rise:masks=20")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)  # with gradients, hooks, interpreters and passes of their own
def test_methods_do_not_meet_in_the_network(method: str, tiny_model: Model) -> None:
    pixels = noise(7)
    one, many = (guess(tiny_model, method, pixels, threads) for threads in (1, 4))
    assert one.maps.tobytes() == many.maps.tobytes()
    images = tiny_model.preprocessing.normalize(pixels, torch.device("cpu"))
    passed = forward(tiny_model.network, images)
    together = find_method(method).maps(passed, torch.from_numpy(many.classes)).numpy()
    np.testing.assert_allclose(many.maps, together, rtol=1e-3, atol=1e-4 * np.abs(together).max())


def test_every_image_is_counted_once(tiny_model: Model) -> None:
    before = tiny_model.network.passes
    guess(tiny_model, "cam", noise(11), 4)
    assert tiny_model.network.passes == before + 11
