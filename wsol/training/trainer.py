"""One epoch of gradient descent, and one of validation."""

import numpy as np
import torch
from torch import nn

from wsol.datasets import Split
from wsol.errors import InputError
from wsol.training.feeds import Feed
from wsol.training.recipe import Recipe, Stage


class Trainer:
    """Trains a module on batches.

    Args:
        module: Inputs to logits; what of it requires gradients is trained.
        feed: Gives inputs and labels.
        recipe: What to do.
        device: Where the module is.
        work: Of the whole training, in pixels.

    Attributes:
        optimizer: Holds the momentum.
    """

    def __init__(self, module: nn.Module, feed: Feed, recipe: Recipe, device: torch.device, work: int) -> None:
        self._module, self._feed, self._recipe, self._work = module, feed, recipe, work
        self._loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device))
        decayed = [p for p in module.parameters() if p.dim() > 1]
        others = [p for p in module.parameters() if p.dim() <= 1]  # biases and normalisation
        self.optimizer = torch.optim.SGD(
            [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
        )

    def train(self, stage: Stage, epoch: int, done: int) -> dict[str, float]:
        """Goes over the training split once.

        Args:
            stage: Of the epoch.
            epoch: Its number over all stages, from 0.
            done: Work before it, in pixels.

        Returns:
            The last learning rate, mean loss and error (percent).

        Raises:
            InputError: The loss is no longer finite.
        """
        self._module.train()
        # Dropout draws from torch's own stream: seeded here, an epoch does not depend on those before it.
        torch.manual_seed(1_000_003 * self._recipe.seed + epoch)
        losses, wrong, seen, rate = 0.0, 0, 0, 0.0
        for inputs, labels in self._feed.train(stage, epoch):
            rate = self._recipe.rate(done / self._work, stage)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            with self._autocast:
                logits = self._module(inputs)
            loss = self._loss(logits.float(), labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            losses += loss.item() * len(labels)
            wrong += int((logits.argmax(1) != labels).sum())
            seen += len(labels)
            done += stage.work
        if not np.isfinite(losses):
            raise InputError(f"the loss is no longer finite in epoch {epoch + 1}; give a smaller --learning-rate")
        return {"learning_rate": rate, "train_loss": losses / seen, "train_err": 100 * wrong / seen}

    def error(self, stage: Stage, split: Split) -> float:
        """Returns the top-1 classification error on a split, in percent."""
        self._module.eval()
        wrong = seen = 0
        for inputs, labels in self._feed.in_order(stage, split):
            with torch.inference_mode(), self._autocast:
                wrong += int((self._module(inputs).argmax(1) != labels).sum())
            seen += len(labels)
        return 100 * wrong / seen


def has_bf16(device: torch.device) -> bool:
    """Says whether a device computes in bfloat16 by its own instructions; emulated, it is far slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        return any(bool(ask()) for ask in asked if ask)
    return False
