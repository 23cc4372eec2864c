"""The steps of a training wait for no device, and their speed is printed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wsol.runtime.distributed import ProcessGroup
from wsol.training import Recipe, Stage, train
from wsol.training.trainer import Trainer

STEPS = 6


class Batches:
    """Batches on a device, which are counted."""

    def __init__(self, device: str) -> None:
        self.device, self.used = device, 0

    def train_batches(self, *_: object) -> Iterator[tuple[Tensor, Tensor, int]]:
        for inputs, labels in self.eval_batches():
            yield inputs, labels, len(labels)

    def eval_batches(self, *_: object) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(STEPS):
            yield torch.rand(4, 8, device=self.device), torch.zeros(4, dtype=torch.int64, device=self.device)
            self.used += 1


def make_trainer(batches: Batches) -> Trainer:
    module = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)).to(batches.device)
    return Trainer(module, batches, Recipe((Stage(1, 1, 4),)), torch.device("cpu"), 24, ProcessGroup(), module[2])


def test_nothing_is_read_from_the_device_before_the_end_of_an_epoch() -> None:
    """On the device ``meta`` no value can be read: on a GPU each would make the processor wait in every step."""
    batches = Batches("meta")
    trainer = make_trainer(batches)
    with pytest.raises((NotImplementedError, RuntimeError), match=r"item\(\)"):
        trainer.train(Stage(1, 1, 4), 0, 0)
    assert batches.used == STEPS
    with pytest.raises((NotImplementedError, RuntimeError), match=r"item\(\)"):
        trainer.compute_error(Stage(1, 1, 4), "val")
    assert batches.used == 2 * STEPS


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_no_step_waits_for_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(Batches("cuda"))
    monkeypatch.setattr(Trainer, "_sum_over_processes", lambda *_: [1.0, 0.0, 1.0])
    monkeypatch.setattr(Tensor, "item", lambda _: 0.0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.train(Stage(1, 1, 4), 0, 0)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_losses_and_errors_are_those_of_every_step() -> None:
    batches = Batches("cpu")
    torch.manual_seed(0)
    trainer = make_trainer(batches)
    trainer.optimizer.step = lambda: None  # the weights stay
    torch.manual_seed(1)
    row = trainer.train(Stage(1, 1, 4), 0, 0)
    torch.manual_seed(0)  # as the epoch does
    losses, wrong = [], 0
    for inputs, labels in Batches("cpu").eval_batches():
        logits = trainer._module(inputs).detach()
        losses += (logits.logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]).tolist()
        wrong += int((logits.argmax(1) != labels).sum())
    assert row["train_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-6)
    assert row["train_err"] == 100 * wrong / (4 * STEPS)


def test_every_epoch_and_the_training_have_a_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {"images": "6", "size": "32", "object_scale": "0.6"}
    recipe = Recipe((Stage(2, 32, 3),))
    train("shufflenet_v2_x0_5-gap", "synthetic", recipe, dataset_args=arguments, device="cpu", out=tmp_path)
    lines = capsys.readouterr().out.splitlines()
    _, *epochs, last = [line for line in lines if not line.startswith("note: ")]
    assert [bool(re.fullmatch(r"epoch .*  val_err [\d.]+  [\d.]+ images/s", line)) for line in epochs] == [True] * 2
    assert re.fullmatch(r"12 images in [\d.]+ s: [\d.]+ images/s; validation [\d.]+ s, files [\d.]+ s", last)
    assert "images/s" not in (tmp_path / "log.csv").read_text()
