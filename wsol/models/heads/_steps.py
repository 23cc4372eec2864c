"""Steps of the last layer of a head whose inputs are loud."""

import torch
from torch import Tensor

from wsol.runtime.distributed import process_group

_SQUARED_NORM = 256.0


def shorten_gradient(weight: Tensor, inputs: Tensor) -> Tensor:
    """Return a weight whose gradient is shortened where its inputs have a mean squared norm above 256.

    That is what the trainer does for a network's last linear layer, as the step of normalized least mean squares: the
    curvature grows with the norm, and features of published weights may be in the hundreds. Without a gradient, the
    weight itself.

    Args:
        weight: ``(outputs, channels, ...)``.
        inputs: What it is multiplied with, ``(n, channels)`` or ``(n, channels, h, w)``, of this process; the norm is
            that of all processes.
    """
    if not torch.is_grad_enabled() or not weight.requires_grad:
        return weight
    squares = inputs.detach().float().square().sum(1)
    numbers = torch.stack([squares.sum(), torch.full_like(squares.sum(), squares.numel())])
    total, count = process_group().all_reduce_sum(numbers).unbind()
    factor = (_SQUARED_NORM * count / total.clamp(min=1e-30)).clamp(max=1)
    shortened = weight.view_as(weight)
    shortened.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]  # torch's
    return shortened
