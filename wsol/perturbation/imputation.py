"""ROAD's noisy linear imputation: removed pixels become a weighted mean of their neighbors, plus noise.

Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods", ICML 2022.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from wsol.perturbation.settings import NOISE, PERCENTILES

_NEIGHBORS = [(dy, dx, 1 / 12 if dy and dx else 1 / 6) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
_KNOWN, _OUTSIDE = -1, -2


def impute(image: NDArray[np.float64], removed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return an image whose removed pixels solve the linear system of their neighborhoods, without noise.

    Each removed pixel is the mean of its eight neighbors, which are removed or not, with the weights 1/6 beside, above
    and below it and 1/12 in the corners. At the border of the image the weights of the neighbors that exist are scaled
    to the sum 1.

    Args:
        image: ``(channels, h, w)``.
        removed: bool ``(h, w)``, at least one pixel is not.
    """
    rows, columns = np.nonzero(removed)
    count = len(rows)
    if not count:
        return image.copy()
    places = np.full((removed.shape[0] + 2, removed.shape[1] + 2), _OUTSIDE)
    places[1:-1, 1:-1] = _KNOWN
    places[rows + 1, columns + 1] = np.arange(count)
    total, right = np.zeros(count), np.zeros((count, len(image)))
    entries: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    for dy, dx, weight in _NEIGHBORS:
        neighbor = places[rows + 1 + dy, columns + 1 + dx]
        total += weight * (neighbor != _OUTSIDE)
        known, unknown = np.flatnonzero(neighbor == _KNOWN), np.flatnonzero(neighbor >= 0)
        right[known] += weight * image[:, rows[known] + dy, columns[known] + dx].T
        entries.append((unknown, neighbor[unknown], np.full(len(unknown), -weight)))
    entries.append((np.arange(count), np.arange(count), total))
    equations, unknowns, values = map(np.concatenate, zip(*entries, strict=True))
    # Symmetric and diagonally dominant, so that no pivoting is needed.
    system = csc_matrix((values, (equations, unknowns)), (count, count))
    factors = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    out = image.copy()
    out[:, rows, columns] = factors.solve(right).T
    return out


def removed_pixels(ranks: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the pixels that ROAD removes at each percentile.

    At the percentile p, ``ceil(p (n - 1) / 100)`` of n pixels are kept: those that are below it in linear
    interpolation, if no two are equal.

    Args:
        ranks: int64 ``(h, w)``, the place of each pixel in descending order of the map.

    Returns:
        Most relevant first and least relevant first, bool ``(percentiles, h, w)`` each.
    """
    n = ranks.size
    counts = np.array([n - -(-percentile * (n - 1) // 100) for percentile in PERCENTILES])[:, None, None]
    return ranks < counts, ranks >= n - counts


def impute_all(
    image: NDArray[np.float32], ranks: NDArray[np.int64], std: Sequence[float], image_id: str, seed: int
) -> NDArray[np.float32]:
    """Return an image with the pixels of every percentile imputed, most relevant first, then least relevant first.

    The noise depends on the seed and the image alone, and is that of pixels in [0, 1]: the image is normalized, so it
    is divided by the standard deviation of each channel. (pytorch-grad-cam adds it to the normalized image.)

    Args:
        image: ``(3, h, w)``, normalized.
        ranks: As in ``removed_pixels``.
        std: Standard deviation that each channel was divided by.
        image_id: The id of the image.
        seed: The seed.

    Returns:
        float32 ``(2 percentiles, 3, h, w)``.
    """
    digest = hashlib.blake2b(image_id.encode(), digest_size=16).digest()
    generator = np.random.default_rng([seed, *np.frombuffer(digest, "<u4").tolist()])
    scale = NOISE / np.array(std)[:, None, None]
    exact, out = image.astype(np.float64), []
    for removed in np.concatenate(removed_pixels(ranks)):
        noise = scale * generator.standard_normal(exact.shape)
        out.append((impute(exact, removed) + noise * removed).astype(np.float32))
    return np.stack(out)
