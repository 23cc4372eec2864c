"""Targets of users: a function in a file, or of a running program."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import wsol
from wsol.errors import InputError
from wsol.evaluation.config import EvalConfig
from wsol.evaluation.plan import prepare
from wsol.evaluation.start import describe_start
from wsol.explain import parse_methods
from wsol.methods import find_method, forward, with_target
from wsol.models import GapClassifier, Model, find_gap
from wsol.perturbation.measure import measure_faithfulness
from wsol.perturbation.settings import Settings
from wsol.visualization.predictor import PhotoPredictor

CODE = '''
import torch

strength = 2.0


def margin(logits, classes):
    """The score less that of the best other class."""
    own = logits.gather(1, classes)
    others = logits[:, None].expand(-1, classes.shape[1], -1).scatter(2, classes[:, :, None], -torch.inf)
    return own - others.amax(2)


def crooked(logits, classes):
    return logits


def constant(logits, classes):
    return torch.ones(classes.shape)


def failing(logits, classes):
    raise ValueError("too few classes")


def empty(logits, classes):
    pass
'''
CLASSES = torch.tensor([[0, 3], [5, 6]])


def margin(logits: Tensor, classes: Tensor) -> Tensor:
    own = logits.gather(1, classes)
    others = logits[:, None].expand(-1, classes.shape[1], -1).scatter(2, classes[:, :, None], -torch.inf)
    return own - others.amax(2)


def loss(logits: Tensor, classes: Tensor) -> Tensor:
    return nn.functional.log_softmax(logits, 1).gather(1, classes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my|targets.py"
    path.write_text(CODE)
    return path


@cache
def network() -> GapClassifier:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 7)]
    return find_gap(nn.Sequential(*layers).eval().requires_grad_(False), "net")


def images() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_a_function_in_a_file(file: Path) -> None:
    method = find_method(f"hirescam:target={file}:margin,aug_smooth=true")
    assert re.fullmatch(r"hirescam:aug_smooth=true,target=my_targets\.py:margin@[0-9a-f]{8}", method.signature)
    passed = forward(network(), images())
    found = find_method(f"hirescam:target={file}:margin").maps(passed, CLASSES)
    # At the pooled layer: the difference of the two classes' weights.
    weights = network().linear.weight
    for i in range(2):
        for j, chosen in enumerate(CLASSES[i].tolist()):
            scores = passed.logits[i].clone()
            scores[chosen] = -torch.inf
            difference = weights[chosen] - weights[int(scores.argmax())]
            expected = torch.einsum("c,chw->hw", difference, passed.features[i]) / passed.features[0, 0].numel()
            torch.testing.assert_close(found[i, j], expected.detach(), rtol=1e-4, atol=1e-6)


def test_the_signature_covers_the_code(file: Path) -> None:
    before = find_method(f"gradcam:target={file}:margin").signature
    file.write_text(CODE.replace("2.0", "3.0"))
    assert find_method(f"gradcam:target={file}:margin").signature != before
    one, other = with_target("gradcam", margin), with_target("gradcam", loss)
    assert re.fullmatch(r"gradcam:relu=true,target=margin@[0-9a-f]{8}", one.signature)
    assert one.signature.partition("@")[2] != other.signature.partition("@")[2]
    assert with_target("gradcam", margin) == one
    assert with_target("gradcam", margin, "margin-v2").signature == "gradcam:relu=true,target=margin-v2"
    assert with_target("gradcam:aug_smooth=true", margin, "m").signature == "gradcam:relu=true,aug_smooth=true,target=m"


def test_a_file_may_hold_method_and_target(file: Path) -> None:
    file.write_text(
        f"{CODE}from dataclasses import dataclass\nfrom wsol.methods.base import GradientMethod\n\n\n"
        "@dataclass(frozen=True)\nclass Mine(GradientMethod):\n    power: int = 1\n\n"
        "    def combine(self, features, gradients):\n        return (features * gradients).sum(2)\n"
    )
    method = find_method(f"{file}:Mine:target={file}:margin,power=2")
    assert re.fullmatch(
        r"my_targets\.py:Mine@[0-9a-f]{8}:power=2,target=my_targets\.py:margin@[0-9a-f]{8}", method.signature
    )


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "crooked",
            r"the target .*:crooked@\w+ returns a tensor \(2, 7\) of torch\.float32; return one real number for each",
        ),
        ("failing", r"the target .*:failing@\w+ raises ValueError: too few classes"),
        ("constant", r"the target .*:constant@\w+ does not depend on the class scores by operations of torch"),
        ("empty", r"the target .*:empty@\w+ returns NoneType; return a tensor"),
        ("gone", "has no function 'gone'; a target is class-score, finer or FILE.py:FUNCTION"),
        ("strength", "has no function 'strength'"),
    ],
)
def test_a_function_that_is_no_target_is_refused(file: Path, name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        find_method(f"gradcam:target={file}:{name}").maps(forward(network(), images()), CLASSES)
    assert "\n" not in str(raised.value)


def test_a_name_must_tell_what_the_function_does() -> None:
    power = 2

    def inner(logits: Tensor, classes: Tensor) -> Tensor:
        return logits.gather(1, classes) ** power

    def with_default(logits: Tensor, classes: Tensor, factor: float = power) -> Tensor:
        return logits.gather(1, classes) * factor

    class Callable:
        def __call__(self, logits: Tensor, classes: Tensor) -> Tensor:
            return logits.gather(1, classes)

    for target, sentence in (
        (inner, "the target inner depends on power of the function around it; give a name"),
        (with_default, "the target with_default has arguments with defaults; give a name"),
        (lambda logits, classes: logits, "the target <lambda> is no function with a name of its own; give a name"),
        (Callable(), "the target Callable is no function with a name of its own; give a name"),
        (3, "a target is a function of class scores and classes, not int"),
    ):
        with pytest.raises(InputError, match=sentence):
            with_target("gradcam", target)
    names: dict = {}
    exec("def typed(logits, classes):\n    return logits", names)
    with pytest.raises(InputError, match="the source of the target typed is not known; give a name"):
        with_target("gradcam", names["typed"])
    for name in ("finer", "class-score", "a|b", "a,b", "a=b", ""):
        with pytest.raises(InputError, match="may have letters, digits"):
            with_target("gradcam", inner, name)
    with pytest.raises(InputError, match="gradcam has the target finer already; leave out one of the two"):
        with_target("gradcam:target=finer", inner, "inner")


def test_methods_to_compare_are_told_apart() -> None:
    text = "gradcam:relu=false,target=my.py:margin,aug_smooth=true,my.py:Mine,rise:masks=5,cam"
    expected = ["gradcam:relu=false,target=my.py:margin,aug_smooth=true", "my.py:Mine", "rise:masks=5", "cam"]
    assert parse_methods(text) == expected


@pytest.mark.slow
def test_evaluated_drawn_and_measured_by_the_same_text(file: Path, synthetic_model: Model, tmp_path: Path) -> None:
    text = f"gradcam:target={file}:margin,eigen_smooth=true"
    common = {"limit": 2, "device": "cpu"}
    result = wsol.evaluate(synthetic_model, method=text, out=tmp_path / "run", **common)
    assert result.signature.split("|")[2] == find_method(text).signature
    own = with_target("gradcam:eigen_smooth=true", margin)
    live = wsol.evaluate(synthetic_model, method=own, **common)
    assert live.signature.split("|")[2] == own.signature
    assert live.metrics["value"].equals(result.metrics["value"])
    with pytest.raises(InputError, match=r"eigen_smooth=true,target=m"):  # another run
        wsol.evaluate(synthetic_model, method=own, out=tmp_path / "run", resume=True, **common)

    pixels = [np.zeros((1, 224, 224, 3), np.uint8)]
    rows = PhotoPredictor([synthetic_model], [text, own], top=2).predict(pixels, (), "x")
    assert rows[0].method == "gradcam:target=my|targets.py:margin,eigen_smooth=true"
    assert rows[1].method == own.signature
    np.testing.assert_array_equal(rows[0].maps, rows[1].maps)

    config = EvalConfig(model=synthetic_model, method=text, **common)
    measured = measure_faithfulness(config, Settings(parts=("insertion",), steps=3))
    assert measured.signature.split("|")[2] == find_method(text).signature


@pytest.mark.slow
def test_a_live_network_takes_refinements(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 9, 16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 12))
    net.train()
    text = "gradcam:aug_smooth=true,eigen_smooth=true,target=finer"
    result = wsol.evaluate(net, method=text, limit=2, device="cpu", assume_class_order=True)
    assert result.signature.split("|")[2] == find_method(text).signature
    assert net.training
    assert all(each.requires_grad for each in net.parameters())


@pytest.mark.slow
def test_the_start_does_not_call_a_refined_method_cam(synthetic_model: Model) -> None:
    config = EvalConfig(model=synthetic_model, method="gradcam:target=finer", limit=3, device="cpu")
    (sentence,) = describe_start(prepare(config))
    assert "is CAM here" not in sentence
