"""One epoch of gradient descent, and one of validation."""

import copy

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from wsol.datasets import Split
from wsol.errors import InputError
from wsol.runtime.distributed import ProcessGroup
from wsol.training.data import BatchSource
from wsol.training.recipe import Recipe, Stage


class Trainer:
    """Trains a module on batches.

    Args:
        module: Inputs to logits; what of it requires gradients is trained.
        feed: Gives inputs and labels.
        recipe: What to do.
        device: Where the module is.
        work: Of the whole training, in pixels.
        group: The processes that share each batch; all come out with the same weights.

    Attributes:
        optimizer: Holds the momentum.
    """

    def __init__(
        self, module: nn.Module, feed: BatchSource, recipe: Recipe, device: torch.device, work: int, group: ProcessGroup
    ) -> None:
        self._module, self._feed, self._recipe, self._work, self._group = module, feed, recipe, work, group
        self._trained = module if group.size == 1 else parallel(module, device)
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
            InputError: The loss is no longer finite, or an image cannot be read.
        """
        self._trained.train()
        # Dropout draws from torch's own stream: seeded here, an epoch does not depend on those before it.
        torch.manual_seed(1_000_003 * self._recipe.seed + epoch + 10_007 * self._group.rank)
        losses = wrong = seen = rate = 0.0
        for inputs, labels, total in self._feed.train(stage, epoch):
            rate = self._recipe.learning_rate_at(done / self._work, stage)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            with self._autocast:
                logits = self._trained(inputs)
            loss = self._loss(logits.float(), labels)
            shared = len(labels) < total
            self.optimizer.zero_grad(set_to_none=True)
            # The mean of the processes' gradients is that of the whole batch.
            (loss * (len(labels) * self._group.size / total if shared else 1)).backward()
            self.optimizer.step()
            if shared or self._group.is_main:  # each image counts once
                losses += loss.item() * len(labels)
                wrong += float((logits.argmax(1) != labels).sum())
                seen += len(labels)
            done += stage.work
        if self._group.size > 1:
            for buffer in self._module.buffers():  # such as statistics of batch normalisation
                distributed.broadcast(buffer, 0)
        losses, wrong, seen = self._added(losses, wrong, seen)
        if not np.isfinite(losses):
            raise InputError(f"the loss is no longer finite in epoch {epoch + 1}; give a smaller --learning-rate")
        return {"learning_rate": rate, "train_loss": losses / seen, "train_err": 100 * wrong / seen}

    def error(self, stage: Stage, split: Split) -> float:
        """Return the top-1 classification error on a split, in percent."""
        self._module.eval()
        wrong = seen = 0.0
        batches = self._feed.in_order(stage, split)
        with self._group.sync_errors():
            for inputs, labels in batches:
                with torch.inference_mode(), self._autocast:
                    wrong += float((self._module(inputs).argmax(1) != labels).sum())
                seen += len(labels)
        wrong, seen = self._added(wrong, seen)
        return 100 * wrong / seen

    def _added(self, *numbers: float) -> list[float]:
        return self._group.all_reduce_sum(torch.tensor(numbers, dtype=torch.float64)).tolist()


def parallel(module: nn.Module, device: torch.device) -> nn.Module:
    """Return a module that shares its tensors with one, whose gradients are the means over all processes.

    On a GPU batch normalisation takes the statistics of all processes' images; on a CPU, where torch cannot, each
    process takes those of its own, and the first's running statistics are kept.

    Args:
        module: The same in every process; the first's tensors are copied to the others.
        device: Where it is.
    """
    if device.type == "cuda":
        tensors = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
        twin = copy.deepcopy(module, tensors)
        module = nn.SyncBatchNorm.convert_sync_batchnorm(twin)  # type: ignore[no-untyped-call]  # torch's
    # Asked to look for unused parameters, torch never rearranges how it adds gradients up, so that the sums of a
    # training that goes on have the bits of one that was never stopped.
    return DistributedDataParallel(_WithUnused(module), find_unused_parameters=True)


class _WithUnused(nn.Module):
    """A module, and a parameter that it does not use: torch warns where it looks for one and finds none."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.unused = module, nn.Parameter(next(module.parameters()).new_zeros(1))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.module(inputs)
        return logits


def has_bf16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 by its own instructions; emulated, it is far slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        return any(bool(ask()) for ask in asked if ask)
    return False
