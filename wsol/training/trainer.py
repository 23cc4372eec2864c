"""One epoch of gradient descent, and one of validation."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from wsol.datasets import Split
from wsol.errors import InputError
from wsol.runtime.distributed import ProcessGroup
from wsol.runtime.precision import Precision
from wsol.training.data import BatchSource
from wsol.training.methods import TrainMethod
from wsol.training.recipe import Recipe, Stage
from wsol.training.standardization import SQUARED_NORM


class Trainer:
    """Trains a module on batches.

    Args:
        module: Module from inputs to logits; its parameters that require gradients are trained.
        batches: Batches of inputs and labels.
        recipe: The recipe.
        device: Device of the module.
        work: Work of the whole training, in pixels.
        group: The processes that share each batch; all end with the same weights.
        head: The last linear layer of the module, if it has one. The gradient of its weights is shortened where its
            inputs have a mean squared norm above 256, like the step of normalized least mean squares: its curvature
            grows with that norm, and would make the training diverge at rates that suit all other layers.
        precision: Whether the module runs in bfloat16; the caller sets the arithmetic of float32 numbers.
        method: Computes the loss of each step; the cross-entropy of whole images by default.

    Attributes:
        optimizer: The optimizer, with its momentum.
    """

    def __init__(
        self,
        module: nn.Module,
        batches: BatchSource,
        recipe: Recipe,
        device: torch.device,
        work: int,
        group: ProcessGroup,
        head: nn.Linear | None = None,
        precision: Precision = "float32",
        method: TrainMethod | None = None,
    ) -> None:
        self._module, self._batches, self._recipe, self._work, self._group = module, batches, recipe, work, group
        self._method = method or TrainMethod()
        self._head, self._norms = head, _record_norms(head)
        self._parallel = module if group.size == 1 else wrap_ddp(module, device)
        self._loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
        decayed = [p for p in module.parameters() if p.dim() > 1]
        others = [p for p in module.parameters() if p.dim() <= 1]  # biases and normalization
        self.optimizer = torch.optim.SGD(
            [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
        )

    def train(self, stage: Stage, epoch: int, done: int) -> dict[str, float]:
        """Train for one epoch.

        Args:
            stage: The stage of the epoch.
            epoch: Number of the epoch over all stages, from 0.
            done: Work of all previous epochs, in pixels.

        Returns:
            The last learning rate, the mean loss and the top-1 classification error (percent).

        Raises:
            InputError: The loss is no longer finite, or an image cannot be read.
        """
        self._parallel.train()
        # Dropout and methods draw from torch's global generator: seeded here, an epoch does not depend on earlier ones.
        torch.manual_seed(1_000_003 * self._recipe.seed + epoch + 10_007 * self._group.rank)
        losses, wrong = self._zero(), self._zero()  # on the device: to read them in every step would make it wait
        seen = rate = 0.0
        for inputs, labels, total in self._batches.train_batches(stage, epoch):
            middle = done + stage.work / 2  # of the step: at its start, the first of all would have a rate of zero
            rate = self._recipe.learning_rate_at(middle / self._work, stage)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss, logits = self._method.compute_loss(self._run, inputs, labels, self._loss)
            shared = len(labels) < total
            self.optimizer.zero_grad(set_to_none=True)
            # Scaled so that the mean of the processes' gradients is the gradient of the whole batch.
            share = len(labels) * self._group.size / total if shared else 1
            torch.autograd.backward(loss * share)
            self._shorten_head_gradient()
            self.optimizer.step()
            if shared or self._group.is_main:  # count each image once
                losses += loss.detach().double() * len(labels)
                wrong += _count_errors(logits, labels)
                seen += len(labels)
            done += stage.work
        if self._group.size > 1:
            for buffer in self._module.buffers():  # such as statistics of batch normalization
                distributed.broadcast(buffer, 0)
        loss_sum, errors, seen = self._sum_over_processes(losses.item(), wrong.item(), seen)
        if not np.isfinite(loss_sum):
            raise InputError(
                f"the loss is no longer finite in epoch {epoch + 1}; give a --learning-rate below "
                f"{self._recipe.learning_rate:g}"
            )
        return {"learning_rate": rate, "train_loss": loss_sum / seen, "train_err": 100 * errors / seen}

    def compute_error(self, stage: Stage, split: Split) -> float:
        """Return the top-1 classification error on a split, in percent."""
        self._module.eval()
        wrong, seen = self._zero(), 0.0
        batches = self._batches.eval_batches(stage, split)
        with self._group.sync_errors():
            for inputs, labels in batches:
                with torch.inference_mode(), self._autocast:
                    wrong += _count_errors(self._module(inputs), labels)
                seen += len(labels)
        errors, seen = self._sum_over_processes(wrong.item(), seen)
        return 100 * errors / seen

    def _run(self, *inputs: Tensor) -> Any:
        with self._autocast:
            return self._parallel(*inputs)

    def _shorten_head_gradient(self) -> None:
        if self._head is None or self._head.weight.grad is None or not self._norms:
            return
        total, count = self._group.all_reduce_sum(self._norms.pop()).unbind()
        self._head.weight.grad.mul_((SQUARED_NORM * count / total.clamp(min=1e-30)).clamp(max=1))

    def _zero(self) -> Tensor:
        return torch.zeros((), dtype=torch.float64, device=next(self._module.parameters()).device)

    def _sum_over_processes(self, *numbers: float) -> list[float]:
        return self._group.all_reduce_sum(torch.tensor(numbers, dtype=torch.float64)).tolist()


def _count_errors(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) != labels).sum()


def _record_norms(head: nn.Linear | None) -> list[Tensor]:
    """Return a list that holds sum and number of the squared norms of the layer's inputs in the last training step."""
    norms: list[Tensor] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if module.training:
            squares = inputs[0].detach().float().square().sum(-1)
            total = squares.sum().double()
            norms[:] = [torch.stack([total, torch.full_like(total, squares.numel())])]

    if head is not None:
        head.register_forward_pre_hook(record)
    return norms


def wrap_ddp(module: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a module in ``DistributedDataParallel``: it shares the tensors, and gradients are means over all processes.

    On a GPU batch normalization uses the statistics of the images of all processes. On a CPU, where torch does not
    support this, each process uses those of its own images, and the running statistics of the first process are kept.

    Args:
        module: The same module in every process; the tensors of the first process are copied to the others.
        device: Device of the module.
    """
    if device.type == "cuda":
        tensors = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
        shared = copy.deepcopy(module, tensors)
        module = nn.SyncBatchNorm.convert_sync_batchnorm(shared)  # type: ignore[no-untyped-call]  # torch's
    # With find_unused_parameters torch never rearranges its gradient buckets, so that the sums of a resumed training
    # are bit for bit those of an uninterrupted one.
    return DistributedDataParallel(_WithUnusedParameter(module), find_unused_parameters=True)


class _WithUnusedParameter(nn.Module):
    """A module with one unused parameter: ``find_unused_parameters`` warns if there is none."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.unused = module, nn.Parameter(next(module.parameters()).new_zeros(1))

    def forward(self, *inputs: Tensor) -> Any:
        return self.module(*inputs)
