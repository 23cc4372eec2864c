"""Normalized cuts of graphs, of all images at once."""

import torch
from torch import Tensor

from wsol.methods.eigencam import find_first_eigenvector


def cut_graphs(weights: Tensor) -> Tensor:
    """Return the second smallest eigenvector of ``(D - W) y = lambda D y`` for each graph.

    Shi and Malik, "Normalized Cuts and Image Segmentation", TPAMI 2000, eq. 6. With ``y = D^-1/2 z``, z is an
    eigenvector of ``D^-1/2 W D^-1/2``, whose largest eigenvalue, 1, has the eigenvector ``D^1/2 1``. Like SciPy's
    ``eigh``, this function returns y with ``y' D y = 1``; the sign is arbitrary, as it is there.

    On a CPU, LAPACK solves one matrix after another. On a GPU a solver would make the processor wait for each; there
    all matrices are raised to a high power by products, after their first eigenvector has been moved to the other end
    of the spectrum.

    Args:
        weights: Symmetric, positive, float64 ``(n, s, s)`` with s of 2 or more.

    Returns:
        float64 ``(n, s)``.
    """
    degrees = weights.sum(2)
    scale = degrees.rsqrt()
    matrices = weights * scale[:, :, None] * scale[:, None, :]
    if weights.device.type == "cpu":
        vectors: Tensor = torch.linalg.eigh(matrices).eigenvectors
        return vectors[:, :, -2] * scale
    return find_second_eigenvector(matrices, degrees) * scale


def find_second_eigenvector(matrices: Tensor, degrees: Tensor) -> Tensor:
    """Return the eigenvector z of ``cut_graphs`` by products of matrices alone, float64 ``(n, s)``.

    Args:
        matrices: ``D^-1/2 W D^-1/2``, float64 ``(n, s, s)``.
        degrees: Diagonal of D, float64 ``(n, s)``.
    """
    first = (degrees / degrees.sum(1, keepdim=True)).sqrt()
    identity = torch.eye(matrices.shape[1], dtype=matrices.dtype, device=matrices.device)
    # Eigenvalues are from -1 to 1; of this sum they are from 0 to 2, the first one 0.
    return find_first_eigenvector(matrices + identity - 2 * first[:, :, None] * first[:, None, :])[:, :, 0]
