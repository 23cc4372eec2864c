"""Tests of ``wsol.evaluate`` with a network of a running program."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_net import TinyNet
from torchvision import transforms
from torchvision.models import squeezenet1_1

import wsol
from wsol.datasets import Dataset, load_dataset
from wsol.errors import InputError
from wsol.evaluation.suite import read_suite
from wsol.models import Model

HALF_OF_TIMM = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
HALF = transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def images() -> Dataset:
    return load_dataset("synthetic").limit(6)


@pytest.fixture
def network() -> TinyNet:
    torch.manual_seed(0)
    return TinyNet(12)


@pytest.mark.slow
def test_a_network_in_training_has_the_results_of_its_loaded_model(
    network: TinyNet, synthetic_model: Model, images: Dataset
) -> None:
    """The fixture's network has the same weights; it went through another path."""
    live = wsol.evaluate(network, dataset=images, bootstrap=0)
    loaded = wsol.evaluate(synthetic_model, dataset=images, bootstrap=0)
    assert live.metrics.equals(loaded.metrics)
    assert live.predictions.equals(loaded.predictions)
    assert network.training
    assert live.metadata.provenance.network.weights.name == "live"
    assert live.signature.split("|")[1].startswith("TinyNet:")


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "method", ["cam", "gradcam", "layercam", "integrated-gradients:steps=4", "scorecam", "rise:masks=16"]
)
def test_a_network_has_the_results_of_its_weights_file(tmp_path: Path, images: Dataset, method: str) -> None:
    torch.manual_seed(0)
    network = squeezenet1_1(num_classes=12)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    with torch.no_grad():  # a validation loop of the caller
        live = wsol.evaluate(network, dataset=images, method=method, bootstrap=0)
    loaded = wsol.evaluate(
        "squeezenet1_1", tmp_path / "w.safetensors", dataset=images, method=method, device="cpu", bootstrap=0
    )
    assert live.metrics.equals(loaded.metrics)
    assert live.predictions.equals(loaded.predictions)


@pytest.mark.parametrize(
    ("method", "mode"),
    [
        ("gradcam", torch.inference_mode),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in product(("cam", "guided-backprop"), (torch.no_grad, torch.inference_mode, torch.enable_grad))
        ),
    ],
)
def test_training_goes_on_as_if_nothing_had_happened(method: str, mode: Any, images: Dataset) -> None:
    """Two copies train with dropout; one is evaluated between two steps."""
    results = []
    for is_evaluated in (False, True):
        torch.manual_seed(0)
        network = torch.nn.Sequential(TinyNet(12), torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(12))
        optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
        for step in range(2):
            optimizer.zero_grad()
            network(torch.randn(4, 3, 64, 64)).square().sum().backward()
            optimizer.step()
            if is_evaluated and not step:
                with mode():
                    wsol.evaluate(network, dataset=images.limit(2), method=method, channels_last=True, bootstrap=0)
        results.append([*network.state_dict().values(), *(each.grad for each in network.parameters())])
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_the_state_is_restored_after_an_error(network: TinyNet, images: Dataset) -> None:
    def fail(module: torch.nn.Module, *_: object) -> None:
        calls.append(module.training)
        if len(calls) == 10:
            raise RuntimeError("the tenth call")

    calls: list[bool] = []
    network.last.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="the tenth call"):
        wsol.evaluate(network, dataset=load_dataset("synthetic").limit(40), batch_size=2, bootstrap=0)
    assert not any(calls)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    with pytest.raises(InputError, match="has no layer none"):
        wsol.evaluate(network, dataset=images, layer="none", bootstrap=0)
    assert network.training


@pytest.mark.slow
def test_preprocessing_decides_what_the_network_sees(network: TinyNet, images: Dataset) -> None:
    plain = wsol.evaluate(network, dataset=images, bootstrap=0)
    half = wsol.evaluate(network, dataset=images, preprocessing=HALF, bootstrap=0)
    assert half.metadata.provenance.network.preprocessing.mean == (0.5, 0.5, 0.5)
    assert "+norm:" in half.signature.split("|")[1]
    assert not half.predictions["score"].equals(plain.predictions["score"])
    assert "no preprocessing given: it is ImageNet's mean and standard deviation" in plain.metadata.notes
    assert not any("preprocessing" in note for note in half.metadata.notes)
    again = wsol.evaluate(network, dataset=images, preprocessing=HALF_OF_TIMM, bootstrap=0)
    assert (again.signature, again.metrics.equals(half.metrics)) == (half.signature, True)


def test_a_network_of_timm_brings_its_preprocessing(images: Dataset) -> None:
    timm: Any = pytest.importorskip("timm")
    network = timm.create_model("resnet10t", num_classes=12)
    network.pretrained_cfg = {**network.pretrained_cfg, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}
    run = wsol.evaluate(network, dataset=images.limit(2), bootstrap=0).metadata
    assert run.provenance.network.preprocessing.mean == (0.5, 0.4, 0.3)
    assert "no preprocessing given: it is that of the network's pretrained_cfg" in run.notes


def test_arguments_that_do_not_go_with_a_network(network: TinyNet, tiny_model: Model, images: Dataset) -> None:
    for arguments in ({"weights": "w.pth"}, {"map_size": 28}):
        with pytest.raises(InputError, match="a live network has its weights and its map size; leave out"):
            wsol.evaluate(network, dataset=images, **arguments, bootstrap=0)
    for model in (tiny_model, "synthetic-cnn"):
        with pytest.raises(InputError, match="preprocessing goes with a live network"):
            wsol.evaluate(model, dataset=images, preprocessing=HALF, bootstrap=0)


def test_a_suite_names_its_networks(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text('preprocessing = "imagenet"\n')
    with pytest.raises(InputError, match="unknown key 'preprocessing'"):
        read_suite(tmp_path / "suite.toml")
