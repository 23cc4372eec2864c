"""Schedules, learning rates of layers, weight decay, Nesterov momentum, crops and the start of the last layer."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.runtime.distributed import ProcessGroup
from wsol.train import main
from wsol.training import Recipe, Stage, train
from wsol.training.augment import ResizeCropFlip, find_augmentation
from wsol.training.checkpoint import read_state, save_state
from wsol.training.trainer import Trainer

ARGS = {"images": "12", "size": "32", "object_scale": "0.6"}
NET = """
import torch

def make():
    layers = [torch.nn.Conv2d(3, 8, 5, 4, 2), torch.nn.BatchNorm2d(8), torch.nn.ReLU()]
    layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(8, 12)]
    return torch.nn.Sequential(*layers)
"""
ALL = {
    "schedule": "step:every=2,factor=0.5,offset=1",
    "nesterov": True,
    "layer_rates": {"6": 10.0},
    "decay_all": True,
    "augmentation": "resize-crop-flip:resize=40",
    "head_gradient": "plain",
    "head_start": "normal",
}


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path / 'net.py'}:make"


def run(net: str, out: Path, epochs: int = 3, **more: Any) -> Path | None:
    options = {key: more.pop(key) for key in [*more] if key in Recipe.__dataclass_fields__}
    return train(net, "synthetic", Recipe((Stage(epochs, 32, 6),), **options), dataset_args=ARGS, out=out, **more)


def rates(schedule: str, epochs: int) -> list[float]:
    stage = Stage(epochs)
    recipe = Recipe((stage,), learning_rate=0.4, warm_up=0, schedule=schedule)
    return [recipe.learning_rate_at((epoch + 0.3) / epochs, stage, epoch) for epoch in range(epochs)]


@pytest.mark.parametrize(("every", "factor"), [(15, 0.1), (3, 0.1), (1, 0.5)])
def test_steps_are_those_of_torch(every: int, factor: float) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.4)
    theirs = torch.optim.lr_scheduler.StepLR(optimizer, every, factor)
    expected = []
    for _ in range(50):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert rates(f"step:every={every},factor={factor}", 50) == pytest.approx(expected, rel=1e-12)


def test_an_offset_counts_epochs_from_one() -> None:
    """Choe et al. divide before epoch n, from one on, if n is divisible by 15: 14 full epochs; or by 3: two."""
    assert rates("step:offset=1", 50) == pytest.approx([0.4] * 14 + [0.04] * 15 + [0.004] * 15 + [0.0004] * 6)
    assert rates("step:every=3,offset=1", 10) == pytest.approx([0.4] * 2 + [0.04] * 3 + [0.004] * 3 + [0.0004] * 2)


def test_the_warm_up_is_linear_with_every_schedule() -> None:
    stage = Stage(10, batch_size=64)  # twice the learning rate
    for schedule in ("cosine", "step:every=5"):
        recipe = Recipe((stage,), learning_rate=0.4, warm_up=0.25, schedule=schedule)
        assert [recipe.learning_rate_at(p, stage, 0) for p in (0.0, 0.125, 0.25)] == pytest.approx([0, 0.4, 0.8])
    assert recipe.learning_rate_at(0.6, stage, 6) == pytest.approx(0.08)
    cosine = Recipe((stage,), learning_rate=0.4, warm_up=0.25)
    # Half and two thirds of the way from 0.25 to 1: cosines of 90 and of 120 degrees.
    assert [cosine.learning_rate_at(p, stage, 0) for p in (0.625, 0.75)] == pytest.approx([0.4, 0.2])


class Batches:
    """The same batches in every epoch, float64."""

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(5, 6, 4, generator=random, dtype=torch.float64)
        self.labels = torch.randint(0, 3, (5, 6), generator=random)

    def train_batches(self, *_: object) -> Iterator[tuple[Tensor, Tensor, int]]:
        for inputs, labels in zip(self.inputs, self.labels, strict=True):
            yield inputs, labels, len(labels)


def make_module() -> nn.Sequential:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Sequential(nn.ReLU(), nn.Linear(4, 3))).double()
    nn.init.constant_(module[1].weight, 20)  # the inputs of the last layer have a mean squared norm of about 800
    return module


def train_plainly(module: nn.Module, batches: Batches, multiples: dict[str, float], decay_all: bool) -> None:
    """Nesterov's momentum as Sutskever et al. (ICML 2013) have it in torch's form, weight decay as part of the loss."""
    velocity = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    module.train()
    for epoch in range(3):
        rate = 0.002 * (1, 0.1, 0.1)[epoch]  # a step after the first of every two epochs
        for inputs, labels, _ in batches.train_batches():
            loss = nn.functional.cross_entropy(module(inputs).float(), labels).double()
            for name, p in module.named_parameters():
                if decay_all or name in ("0.weight", "2.1.weight"):
                    loss = loss + 0.02 * p.square().sum() / 2
            gradients = torch.autograd.grad(loss, [*module.parameters()])
            with torch.no_grad():
                for (name, p), gradient in zip(module.named_parameters(), gradients, strict=True):
                    velocity[name] = 0.9 * velocity[name] + gradient
                    p.sub_(rate * multiples.get(name, 1) * (gradient + 0.9 * velocity[name]))


@pytest.mark.parametrize("decay_all", [True, False])
@pytest.mark.parametrize(
    ("layers", "multiples"),
    [
        ({}, {}),
        ({"2": 10.0}, {"2.1.weight": 10, "2.1.bias": 10}),
        ({"2": 10.0, "2.1.bias": 0.5, "1": 0.0}, {"2.1.weight": 10, "2.1.bias": 0.5, "1.weight": 0, "1.bias": 0}),
    ],
)
def test_the_steps_are_those_of_a_plain_loop(
    layers: dict[str, float], multiples: dict[str, float], decay_all: bool
) -> None:
    plain, batches = make_module(), Batches()
    train_plainly(plain, batches, multiples, decay_all)
    options: dict[str, Any] = {"nesterov": True, "layer_rates": layers, "decay_all": decay_all}
    for mine, theirs in zip(trained(batches, "plain", options), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-8)
    *_, limited, _ = trained(batches, "limited", options)
    assert (limited - plain[2][1].weight).abs().max() > 1e-3


def trained(batches: Any, head_gradient: Any, options: dict[str, Any]) -> list[nn.Parameter]:
    stage, module = Stage(3, 1, 32), make_module()
    schedule = "step:every=2,offset=1"
    settings = {"learning_rate": 0.002, "weight_decay": 0.02, "warm_up": 0, "schedule": schedule, **options}
    recipe = Recipe((stage,), head_gradient=head_gradient, **settings)
    work = 3 * 5 * stage.work
    trainer = Trainer(module, batches, recipe, torch.device("cpu"), work, ProcessGroup(), module[2][1])
    for epoch in range(3):
        trainer.train(stage, epoch, epoch * work // 3)
    return [*module.parameters()]


def test_crops_are_parts_of_the_resized_image_at_every_place() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8))
    large = np.asarray(image.resize((5, 5), Image.Resampling.BILINEAR))
    parts = {}
    for top in range(3):
        for left in range(3):
            part = large[top : top + 3, left : left + 3]
            parts[part.tobytes()], parts[part[:, ::-1].tobytes()] = (top, left, 0), (top, left, 1)
    assert len(parts) == 18
    found = [ResizeCropFlip(5).augment(image, 3, [7, 0, i]) for i in range(1800)]
    counts = Counter(parts[pixels.tobytes()] for pixels in found)
    assert len(counts) == 18
    assert max(abs(count - 100) for count in counts.values()) < 45  # 4.6 standard deviations of a binomial
    np.testing.assert_array_equal(found[3], ResizeCropFlip(5).augment(image, 3, [7, 0, 3]))
    assert find_augmentation("resize-crop-flip") == ResizeCropFlip(256)


@pytest.mark.slow
def test_a_resumed_training_with_all_options_has_the_same_bits(net: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    scope: dict[str, Any] = {}
    exec(NET, scope)
    save_file({k: v for k, v in scope["make"]().state_dict().items() if k[0] != "6"}, tmp_path / "w.safetensors")
    more: dict[str, Any] = {"weights": tmp_path / "w.safetensors", "device": "cpu", **ALL}
    whole = run(net, tmp_path / "whole", **more)
    assert run(net, tmp_path / "again", stop_after=1, **more) is None
    again = run(net, tmp_path / "again", **more)
    assert whole is not None
    assert again is not None
    assert again.read_bytes() == whole.read_bytes()
    with safetensors.safe_open(whole, "pt") as file:
        stored = json.loads(file.metadata()["wsol"])["recipe"]
    assert {key: stored[key] for key in ALL} == ALL
    for key, value in (("nesterov", False), ("schedule", "step:every=2"), ("layer_rates", {})):
        with pytest.raises(InputError, match=rf"belongs to a training with {key}(\.6)? = "):
            run(net, tmp_path / "again", **more | {key: value})
    with pytest.raises(InputError, match=r"belongs to a training with augmentation = resize-crop-flip:resize=40, not"):
        run(net, tmp_path / "again", **more | {"augmentation": "shift-flip-color"})


def test_default_options_are_not_in_the_files(net: str, tmp_path: Path) -> None:
    """So states and weights of earlier versions are resumed, and their bytes do not change."""
    assert run(net, tmp_path / "out", 2, stop_after=1, device="cpu") is None
    with safetensors.safe_open(tmp_path / "out" / "state.safetensors", "pt") as file:
        assert not json.loads(file.metadata()["request"]).keys() & ALL.keys()
    with pytest.raises(InputError, match=r"belongs to a training with nesterov = False, not True"):
        run(net, tmp_path / "out", 2, device="cpu", nesterov=True)
    assert run(net, tmp_path / "out", 2, device="cpu") is not None


@pytest.mark.parametrize("start", ["zero", "normal"])
def test_the_start_of_a_missing_last_layer(start: str, tmp_path: Path) -> None:
    wide = NET.replace("(3, 8,", "(3, 400,").replace("2d(8)", "2d(400)").replace("Linear(8,", "Linear(400,")
    (tmp_path / "net.py").write_text(wide)
    scope: dict[str, Any] = {}
    exec(wide, scope)
    save_file({k: v for k, v in scope["make"]().state_dict().items() if k[0] != "6"}, tmp_path / "w.safetensors")
    options: dict[str, Any] = {"learning_rate": 0.0, "weights": tmp_path / "w.safetensors", "head_start": start}
    path = run(f"{tmp_path / 'net.py'}:make", tmp_path / "out", 1, device="cpu", validation=False, **options)
    assert path is not None
    tensors = load_file(path)
    assert not tensors["6.bias"].any()
    # 4800 values: the standard deviation of their standard deviation is 0.01 / sqrt(9600) = 0.0001.
    expected = 0 if start == "zero" else 0.01
    assert tensors["6.weight"].std().item() == pytest.approx(expected, abs=0.0005)


def test_the_difference_to_the_training_in_a_folder_is_named(tmp_path: Path) -> None:
    def request(*stages: Stage, weights: str | None = None, **dataset_args: str) -> dict[str, Any]:
        options = {"weights": weights, "dataset": f"x#{dataset_args}", "dataset_args": dataset_args}
        return {**Recipe(stages).to_dict(), **options}

    module, path, one = nn.Linear(2, 2), tmp_path / "folder" / "state.safetensors", Stage(2, 32)
    path.parent.mkdir()
    for stored, requested, sentence in (
        (
            request(one),
            request(Stage(3, 32)),
            "with epochs = 2, not 3; give the same value or another --out, or remove",
        ),
        (request(one), request(one, one), "in 1 stage, not 2 stages; "),
        (request(one, one), request(one, Stage(2, 64)), "with image_size = 32 in stage 2, not 64; "),
        (request(one, size="8"), request(one, size="9"), "with dataset_args.size = 8, not 9; "),
        (request(one), request(one, weights="aaaaaaaabb"), "from random weights (none were given), not from w.pth; "),
        (
            request(one, weights="bbbbbbbbcc"),
            request(one),
            "from weights with the SHA-256 bbbbbbbb..., not from random weights (none were given); ",
        ),
    ):
        save_state(path, module, torch.optim.SGD(module.parameters(), 1), 1, stored)
        with pytest.raises(InputError) as caught:
            read_state(path, requested, "w.pth" if requested["weights"] else None)
        assert str(caught.value).startswith(f"{path} belongs to a training {sentence}")
        assert str(caught.value).endswith(f"remove the folder {path.parent} to start again")


def test_numbers_and_orders_that_mean_the_same_are_one_recipe() -> None:
    one = Recipe(learning_rate=1, momentum=0, layer_rates={"fc": 10, "body": 0})
    other = Recipe(learning_rate=1.0, momentum=0.0, layer_rates={"body": 0.0, "fc": 10.0})
    assert json.dumps(one.to_dict()) == json.dumps(other.to_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "linear"}, "unknown schedule 'linear'; known: cosine, step"),
        ({"schedule": "step:every=0"}, "schedule step: every is 0 and offset 0; give 1 epoch or more"),
        ({"schedule": "step:every=3,offset=3"}, "schedule step: every is 3 and offset 3; give"),
        ({"schedule": "step:factor=2"}, "schedule step: factor is 2.0; give a number above 0 and up to 1"),
        ({"schedule": "cosine:every=3"}, "schedule cosine: unknown setting 'every=3'; it takes none"),
        ({"augmentation": "mixup"}, "unknown augmentation 'mixup'; known: shift-flip-color, resize-crop-flip"),
        ({"augmentation": "resize-crop-flip:resize=0"}, "augmentation resize-crop-flip: resize is 0; give a number"),
        ({"augmentation": "resize-crop-flip:resize=200"}, "crops of 224 x 224 do not fit in images of 200 x 200"),
        ({"nesterov": True, "momentum": 0}, "Nesterov momentum needs a momentum; give --momentum 0.9, or leave out"),
        ({"layer_rates": {"fc": -1.0}}, "the multiple of the learning rate of fc is -1.0; give a number of at least 0"),
        ({"layer_rates": {"fc": float("nan")}}, "the multiple of the learning rate of fc is nan; give a number"),
        ({"head_start": "ones"}, "head_start is 'ones'; give zero or normal"),
        ({"head_gradient": "none"}, "head_gradient is 'none'; give limited or plain"),
    ],
)
def test_invalid_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(**options)


def test_options_that_do_not_fit_the_training_are_named(net: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"--layer-rate: no layer 'fc' has parameters; the outermost layers are 0, 1, 6"
    ):
        run(net, tmp_path / "out", device="cpu", layer_rates={"fc": 10.0})
    frozen: dict[str, Any] = {"device": "cpu", "weights": tmp_path / "w.safetensors", "freeze": "features"}
    with pytest.raises(InputError, match=r"^frozen features are not trained: give --weights to take them from$"):
        run("resnet18-gap", tmp_path / "out", **frozen | {"weights": None})
    two = Recipe((Stage(1, 32), Stage(1, 32)))
    with pytest.raises(InputError, match=r"^frozen features are computed once, not in 2 stages: give a single stage$"):
        train("resnet18-gap", recipe=two, out=tmp_path / "out", **frozen)
    with pytest.raises(InputError, match="frozen features leave a single layer to train"):
        run(net, tmp_path / "out", layer_rates={"6": 10.0}, **frozen)
    with pytest.raises(InputError, match="frozen features are computed once, without augmentation"):
        run(net, tmp_path / "out", augmentation="resize-crop-flip", **frozen)
    assert not (tmp_path / "out").exists()


def test_the_command_passes_every_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    recipes: list[Recipe] = []
    monkeypatch.setattr("wsol.training.train", lambda recipe, **_: recipes.append(recipe))
    words = (
        "--model resnet18-gap --dataset synthetic --schedule step:every=2,factor=0.5,offset=1 --nesterov --decay-all "
    )
    words += "--layer-rate 6=10 --augmentation resize-crop-flip:resize=240 --head-gradient plain --head-start normal"
    assert main(words.split()) == 0
    assert main(["--model", "resnet18-gap"]) == 0
    assert recipes == [Recipe(**ALL | {"augmentation": "resize-crop-flip:resize=240"}), Recipe()]
    with pytest.raises(SystemExit):
        main([*words.split(), "--layer-rate", "fc"])
    assert "'fc' should be LAYER=NUMBER, such as fc=10" in capsys.readouterr().err
