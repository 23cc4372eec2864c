"""Optimism: how much the choice of tau on the evaluated images themselves adds to a number."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.bootstrap import (
    best_resampled_means,
    resampled_class_means,
    resampled_means,
    resampled_weighted_means,
)


class OracleDraws(NamedTuple):
    """A metric at its best tau, resampled.

    Attributes:
        best: float64 ``(RESAMPLES,)``, value in each resample at the tau that is best in it.
        at_tau: float64 ``(RESAMPLES,)``, value in each resample at the tau that is best on all images.
        optimism: At least 0, in the unit of the values.
    """

    best: NDArray[np.float64]
    at_tau: NDArray[np.float64]
    optimism: float


def resample_oracle(
    values: NDArray[np.generic], means: NDArray[np.float64], higher: bool, labels: NDArray[np.int64] | None = None
) -> OracleDraws:
    """Choose the best tau again in every resample, and estimate the optimism of the choice.

    The optimism is the bootstrap estimate of Efron, "Estimating the Error Rate of a Prediction Rule", JASA 1983,
    section 4: in each resample the value at its own best tau, less the value on all images at that tau. It estimates by
    how much the oracle number is better than the expected value of new images at the chosen tau. The value of the
    resample at the tau of all images is subtracted and its mean added, which changes nothing but the noise: the
    estimate is then a mean of numbers that are not negative.

    Args:
        values: ``(n, taus)``, the values of all images, as for ``resampled_means``.
        means: ``(taus,)``, their means over images, or over classes.
        higher: Whether higher values are better.
        labels: ``(n,)``, the classes of a mean over classes; None for a mean over images. The optimism is that of the
            weighted mean over images, as resampled class means vary too little where classes have one or two images.

    Returns:
        The resampled values, and the optimism. Ties go to the smallest tau.
    """
    sign = 1 if higher else -1
    own = int((sign * means).argmax())
    if higher and labels is None:
        best, columns = best_resampled_means(values)
        at_tau = resampled_means(values[:, [own]])[:, 0]
        return OracleDraws(best, at_tau, float((best - at_tau).mean() + (means[own] - means[columns]).mean()))
    starts = np.flatnonzero(np.append(True, (values[:, 1:] != values[:, :-1]).any(0)))  # boxes with the same hits
    kept, place = values[:, starts], int(np.searchsorted(starts, own, side="right")) - 1
    draws = resampled_means(kept) if labels is None else resampled_class_means(kept, labels)
    signed = sign * (draws if labels is None else resampled_weighted_means(kept, labels))
    again = sign * means[starts[signed.argmax(1)]]
    optimism = float((signed.max(1) - signed[:, place]).mean() + (sign * means[own] - again).mean())
    return OracleDraws(sign * (sign * draws).max(1), draws[:, place], optimism)
