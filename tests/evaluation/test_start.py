"""The sentences that a run prints before it starts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_net import TinyNet
from torch import nn

import wsol
from wsol.evaluation.config import EvalConfig
from wsol.evaluation.evaluate import run
from wsol.evaluation.plan import prepare
from wsol.evaluation.start import describe_start
from wsol.models import Model, find_classifier

CAM = "is CAM here, except for a factor"
CLIPPED = " and negative values, which are set to 0"
EARLIER = "; --layer stem is the last layer before it where gradient methods have another map"


def sentences(model: Model, method: str, **settings: Any) -> list[str]:
    return [*describe_start(prepare(EvalConfig(model=model, method=method, limit=3, device="cpu", **settings)))]


def with_network(model: Model, network: nn.Module, layer: str | None = None) -> Model:
    torch.manual_seed(0)
    return replace(model, network=find_classifier(network.eval().requires_grad_(False), "tiny", layer))


@pytest.mark.slow
def test_layer_and_map_size(synthetic_model: Model) -> None:
    (sentence,) = sentences(synthetic_model, "layercam")
    assert sentence == (
        "tiny on synthetic test, 3 images: layercam with the layer relu, whose feature maps are 14 x 14 for an input "
        "of 224 x 224"
    )
    (large,) = sentences(synthetic_model, "cam", protocol="wsolevaluation:size=96")
    assert large.endswith("6 x 6 for an input of 96 x 96")
    (crops,) = sentences(synthetic_model, "cam", protocol="zhou2016")
    assert crops.endswith("14 x 14 for an input of 224 x 224")


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("gradcam", CAM + CLIPPED),
        ("xgradcam", CAM + CLIPPED),
        ("hirescam", CAM),
        ("gradcam:relu=false", CAM),
        ("gradcam++", None),
        ("eigencam", None),
        ("ablationcam", None),
    ],
)
def test_a_method_that_is_cam_is_named(synthetic_model: Model, method: str, expected: str | None) -> None:
    _, *more = sentences(synthetic_model, method)
    name = method.partition(":")[0]
    where = "the gradient is the same at every place of relu, which is averaged over places"
    assert more == ([f"{name} {expected}: {where}{EARLIER}"] if expected else [])


def test_at_another_layer_nothing_is_the_same(synthetic_model: Model) -> None:
    assert len(sentences(with_network(synthetic_model, TinyNet(12), "stem"), "gradcam")) == 1


def test_without_a_linear_head_gradient_methods_may_be_each_other(synthetic_model: Model) -> None:
    network = TinyNet(12)
    network.fc = nn.Sequential(nn.LayerNorm(24), nn.Linear(24, 12))  # as ConvNeXt ends
    _, sentence = sentences(with_network(synthetic_model, network), "gradcam")
    assert sentence.startswith("gradcam, xgradcam and hirescam have the same map here, except for negative values: the")
    assert sentence.endswith(EARLIER)


def test_a_compiled_network_is_not_compiled_for_it(synthetic_model: Model) -> None:
    compiled: list[object] = []
    synthetic_model.network.trunk.compile(backend=lambda graph, _: compiled.append(graph) or graph.forward)
    assert len(sentences(synthetic_model, "gradcam")) == 2
    assert not compiled


@pytest.mark.slow
def test_it_is_said_once_and_by_the_command_alone(
    synthetic_model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wsol.evaluate(synthetic_model, limit=3, device="cpu")
    assert capsys.readouterr().err == ""
    started: list[object] = []
    config = EvalConfig(model=synthetic_model, limit=3, device="cpu", out=tmp_path / "run", resume=True)
    results = [run(config, started.append) for _ in range(2)]
    assert len(started) == 1  # not of a finished run, which is only read
    assert results[0].signature == results[1].signature
