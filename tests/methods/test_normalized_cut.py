"""The eigenvector of the normalized cut, by the library and by products of matrices, against SciPy."""

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor
from torch.nn import functional

from wsol.methods._normalized_cut import cut_graphs, find_second_eigenvector


def make_graphs(size: int, density: float, seed: int) -> Tensor:
    """Symmetric weights 1 and 1e-5 with some structure, also patches that are like no other."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(3, size, 6, generator=generator, dtype=torch.float64)
    vectors[:, : size // 2] += torch.tensor([2.0, 0, 0, 0, 0, 0])
    vectors = functional.normalize(vectors, dim=2)
    weights = torch.where(vectors @ vectors.transpose(1, 2) > density, 1.0, 1e-5).double()
    return (weights + weights.transpose(1, 2)) / 2


@pytest.mark.parametrize("way", ["library", "products, as on a GPU"])
@pytest.mark.parametrize("density", [0.0, 0.2, 0.6, 0.8])
@pytest.mark.parametrize("size", [4, 16, 49])
def test_the_eigenvector_is_that_of_scipy(size: int, density: float, way: str) -> None:
    compared = 0
    for weights in (make_graphs(size, density, seed) for seed in range(3)):
        degrees = weights.sum(2)
        scale = degrees.rsqrt()
        found = cut_graphs(weights)
        if way != "library":
            matrices = weights * scale[:, :, None] * scale[:, None, :]
            found = find_second_eigenvector(matrices, degrees) * scale
        for vector, weight in zip(found.numpy(), weights.numpy(), strict=True):
            degree = np.diag(weight.sum(1))
            values, vectors = linalg.eigh(degree - weight, degree)
            if values[2] - values[1] < 1e-7:  # several patches like no other: any mixture is an eigenvector
                continue
            compared += 1
            expected = vectors[:, 1]
            sign = np.sign(expected[np.argmax(np.abs(expected))] * vector[np.argmax(np.abs(expected))])
            np.testing.assert_allclose(sign * vector, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())
            assert vector @ degree @ vector == pytest.approx(1, abs=1e-9)
    assert compared >= 2
