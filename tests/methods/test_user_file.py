"""Methods in a user's own file: ``FILE.py:CLASS``."""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import wsol
from wsol.errors import InputError
from wsol.methods import METHODS, find_method, forward
from wsol.models import Model
from wsol.visualization.predictor import PhotoPredictor

CODE = '''
from __future__ import annotations  # the settings are then strings, which dataclasses look up in the module

from dataclasses import dataclass

from torch import Tensor

from beside import sharpen
from wsol.methods import METHODS, Method
from wsol.methods.base import GradientMethod


@METHODS.register("powered-cam")
@dataclass(frozen=True)
class PoweredCAM(GradientMethod):
    """Positive contributions to the class score, raised to a power."""

    power: float = 2.0

    def __post_init__(self):
        if self.power <= 0:
            raise ValueError("power must be above 0")

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        return sharpen((gradients * features).relu(), self.power).sum(2)


@dataclass(frozen=True)
class Unfinished(Method):
    pass


@dataclass(frozen=True)
class WithoutDefault(PoweredCAM):
    power: float

    def __init__(self, power):
        pass


class Undecorated(Method):
    needs = "features"

    def maps(self, forward, classes):
        return forward.features


def function():
    pass
'''


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "beside.py").write_text("def sharpen(values, power):\n    return values.pow(power)\n")
    (tmp_path / "my|cam.py").write_text(CODE)
    yield tmp_path / "my|cam.py"
    METHODS._entries.pop("powered-cam", None)  # other tests go through all methods
    METHODS._sources.pop("powered-cam", None)


def test_a_method_in_a_file_is_one_like_any_other(file: Path, tiny_model: Model) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the file registers its class, and is run once
        method, cubed = find_method(f"{file}:PoweredCAM"), find_method(f"{file}:PoweredCAM:power=3")
    assert re.fullmatch(r"my_cam\.py:PoweredCAM@[0-9a-f]{8}:power=2\.0", method.signature)
    assert cubed.signature == method.signature.replace("2.0", "3.0")
    assert METHODS.get("powered-cam").signature == "powered-cam:power=2.0"  # under its own name
    passed = forward(tiny_model.network, torch.rand(2, 3, 224, 224))
    classes = torch.tensor([[3], [5]])
    contributions = (passed.gradients(classes) * passed.features[:, None]).relu()
    torch.testing.assert_close(cubed.maps(passed, classes), contributions.pow(3).sum(2))


def test_the_signature_covers_the_file(file: Path) -> None:
    before = find_method(f"{file}:PoweredCAM").signature
    file.write_text(CODE.replace(".relu()", ".abs()"))
    after = find_method(f"{file}:PoweredCAM").signature
    assert before != after
    assert before.split("@")[0] == after.split("@")[0]


@pytest.mark.slow
def test_it_can_be_evaluated_and_drawn(file: Path, synthetic_model: Model, tmp_path: Path) -> None:
    method = f"{file}:PoweredCAM:power=3"
    result = wsol.evaluate(synthetic_model, method=method, limit=2, device="cpu", out=tmp_path / "run")
    assert result.signature.split("|")[2] == find_method(method).signature
    assert wsol.score(run=tmp_path / "run", protocol="exact", out=tmp_path / "exact").signature.count("my_cam.py:") == 1
    predictor = PhotoPredictor([synthetic_model], [method], top=1)
    (row,) = predictor.predict([torch.zeros(1, 224, 224, 3, dtype=torch.uint8).numpy()], (), "x")
    assert row.method == "my|cam.py:PoweredCAM:power=3"


@pytest.mark.slow
def test_a_file_named_boxes_gives_maps_and_not_boxes(file: Path, synthetic_model: Model) -> None:
    boxes = file.rename(file.with_name("boxes.py"))
    result = wsol.evaluate(synthetic_model, method=f"{boxes}:PoweredCAM", limit=2, device="cpu")
    assert result.signature.split("|")[4] == "tau:0.2"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Gone", r"has no class 'Gone'; --method takes a registered name or FILE\.py:CLASS"),
        ("function", "has no class 'function'"),
        ("", "has no class ''"),
        ("Tensor", r"the class Tensor is no method; derive it from wsol\.methods\.Method"),
        ("Unfinished", "the class Unfinished has no maps and no needs; define it"),
        ("Undecorated", r"the class Undecorated is no dataclass; decorate it with @dataclass\(frozen=True\)"),
        ("WithoutDefault", r"WithoutDefault\(\) raises TypeError"),
        ("PoweredCAM:size=3", r"method my\|cam\.py:PoweredCAM: unknown setting 'size=3'; it takes power"),
        ("PoweredCAM:power=-1", r"method my\|cam\.py:PoweredCAM: power must be above 0"),
        (
            "PoweredCAM:power=x",
            r"method my\|cam\.py:PoweredCAM: power cannot be 'x'; give a number, such as its default, 2\.0",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(file: Path, name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        find_method(f"{file}:{name}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (None, r"there is no file .*bad\.py; --method takes"),
        ("import nowhere_to_be_found", "raises ModuleNotFoundError"),
        ("def", "raises SyntaxError"),
        ("raise SystemExit(3)", "raises SystemExit: 3"),
    ],
)
def test_files_that_will_not_do(tmp_path: Path, code: str | None, sentence: str) -> None:
    if code is not None:
        (tmp_path / "bad.py").write_text(code)
    with pytest.raises(InputError, match=sentence):
        find_method(f"{tmp_path / 'bad.py'}:CAM")
