"""The first eigenvector of Eigen-CAM against LAPACK: close eigenvalues, ties, extreme scales, and zeros."""

import numpy as np
import pytest
import torch
from torch import Tensor

from wsol.methods import eigencam
from wsol.methods.eigencam import find_first_eigenvector


def make_matrix(values: list[float], size: int, seed: int = 0) -> Tensor:
    """A symmetric matrix with these eigenvalues and zeros, in a random basis."""
    basis = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(seed)).double())[0]
    matrix = (basis[:, : len(values)] * torch.tensor(values, dtype=torch.float64)) @ basis[:, : len(values)].T
    return (matrix + matrix.T) / 2


def distance(vector: Tensor, matrix: Tensor) -> float:
    """The largest difference to LAPACK's eigenvector, of either sign."""
    expected = torch.from_numpy(np.linalg.eigh(matrix.numpy())[1][:, -1:])
    return float(torch.minimum((vector - expected).abs().amax(), (vector + expected).abs().amax()))


@pytest.mark.parametrize("rounds", ["until it is found", "all, as on a GPU"])
@pytest.mark.parametrize("gap", [0.9, 0.1, 1e-3, 1e-5])
@pytest.mark.parametrize("size", [1, 2, 49, 120])
def test_it_is_that_of_lapack(size: int, gap: float, rounds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if rounds.startswith("all"):
        monkeypatch.setattr(eigencam, "_NEARLY_PURE", 2.0)
    values = [3.0, 3.0 * (1 - gap), *(1.0 / i for i in range(1, size))][:size]
    matrices = torch.stack([make_matrix(values, size, seed) for seed in range(3)])
    vectors = find_first_eigenvector(matrices)
    for vector, matrix in zip(vectors, matrices, strict=True):
        assert float(vector.norm()) == pytest.approx(1, abs=1e-12)
        assert distance(vector, matrix) < 1e-13 * size / gap


def test_eigenvalues_that_float32_features_can_tell_apart_are_told_apart() -> None:
    matrix = make_matrix([1.0, 1 - 2e-7, 0.5], 30)
    assert distance(find_first_eigenvector(matrix[None])[0], matrix) < 1e-6


@pytest.mark.parametrize("values", [[2.0, 2.0, 1.0], [1.0] * 8])
def test_a_tie_has_a_vector_of_the_tied_ones(values: list[float]) -> None:
    matrix = make_matrix(values, 20)
    vector = find_first_eigenvector(matrix[None])[0]
    torch.testing.assert_close(matrix @ vector, values[0] * vector, rtol=0, atol=1e-7)


@pytest.mark.parametrize("scale", [1e-70, 1e-12, 1e30, 1e70])
def test_the_scale_of_the_features_does_not_matter(scale: float) -> None:
    matrix = make_matrix([1.0, 0.7, 0.1], 12)
    torch.testing.assert_close(
        find_first_eigenvector(scale * matrix[None])[0].abs(), find_first_eigenvector(matrix[None])[0].abs()
    )


def test_zeros_have_none_and_change_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = make_matrix([1.0, 0.4], 9)
    alone, both = find_first_eigenvector(matrix[None]), find_first_eigenvector(torch.stack([matrix, 0 * matrix]))
    assert not both[1].any()
    torch.testing.assert_close(both[0], alone[0], rtol=0, atol=1e-14)


def test_it_is_not_negative_where_the_matrix_is_not() -> None:
    """Perron and Frobenius: features without negative values have a map without negative values."""
    matrix = torch.rand(4, 25, 60, generator=torch.Generator().manual_seed(2), dtype=torch.float64).pow(8)
    assert bool((find_first_eigenvector(matrix @ matrix.mT) >= 0).all())
