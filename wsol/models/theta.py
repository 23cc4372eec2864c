"""Search for the threshold of a head that pools maps by thresholded averages, whoever wrote it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

_ROUNDS = 24
_NARROW = 1e-5  # an interval that holds one number of a few digits
_ROUNDING = 1e-6  # of theta times the maximum
_DIGITS = 5


def find_theta(run: Callable[[Tensor], Tensor], noise: Tensor) -> float | None:
    """Find theta such that scores are linear in the mean over the places above theta times the maximum, if any.

    All channels get the same map, times a number of each channel, with a maximum of 1 and its other values in
    descending order. The scores, relative to those of constant maps, are then the mean of its first values, as many as
    are above theta; the next map has its values between the last that counts and the first that does not. That this
    explains the scores of other maps is not checked here.

    Args:
        run: Function from maps ``(n, C, h, w)`` to scores ``(n, classes)``, less those of maps of zeros.
        noise: Random maps of a size that the function accepts.

    Returns:
        The number with the fewest digits that explains the scores; None if none does.
    """
    height, width = noise.shape[2:]
    vectors = noise.mean((2, 3), keepdim=True).abs()
    scores = run(vectors.expand_as(noise))
    square = float(scores.square().sum())
    if not (math.isfinite(square) and square > 0):
        return None
    low, high = 0.0, 1.0
    for _ in range(_ROUNDS):
        steps = torch.arange(height * width - 1, 0, -1, dtype=torch.float64, device="cpu") / (height * width)
        values = torch.cat([torch.ones(1, dtype=torch.float64, device="cpu"), low + (high - low) * steps])
        score_map = values.to(noise.device, noise.dtype).reshape(1, 1, height, width)
        ratio = float((run(vectors * score_map) * scores).sum()) / square
        means = values.cumsum(0) / torch.arange(1, len(values) + 1, device="cpu")
        count = int((means - ratio).abs().argmin()) + 1
        if not abs(float(means[count - 1]) - ratio) <= 1e-3 * float(means[0] - means[-1]):
            return None
        low, high = float(values[count]) if count < len(values) else low, min(high, float(values[count - 1]))
        if high - low < _NARROW:
            return _find_shortest(max(0.0, low - _ROUNDING), high + _ROUNDING)
    return None


def _find_shortest(low: float, high: float) -> float | None:
    """Return the number of the fewest digits from ``low`` to below ``high``; None if it has too many."""
    for digits in range(1, _DIGITS + 1):
        scale = float(10**digits)
        number = math.ceil(low * scale) / scale
        if number < high:
            return number
    return None
