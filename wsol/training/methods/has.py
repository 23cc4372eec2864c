"""Hide-and-Seek: random cells of each image are hidden."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models.base import upload
from wsol.training.methods.base import TRAIN_METHODS, Run, TrainMethod


@TRAIN_METHODS.register("has")
@dataclass(frozen=True)
class HideAndSeek(TrainMethod):
    """Hide random cells of each image, so that the classifier cannot rely on one part of the object alone.

    Singh and Lee, "Hide-and-Seek: Forcing a Network to be Meticulous for Weakly-supervised Object and Action
    Localization", ICCV 2017. Each image is divided into ``grid`` x ``grid`` cells, and each cell is set to the mean
    color of the preprocessing (0 after normalization) with probability ``rate``, independently of all other cells and
    images, in every step. The image at test is whole.

    Pixel ``i`` of ``side`` belongs to cell ``floor(i * grid / side)``: cells differ by at most one pixel where the side
    is not divisible. The paper and Choe et al.'s released code give the side of a cell in pixels and cut the last cell
    short instead: at 224 pixels, the paper's HaS-16, HaS-32 and HaS-56 are ``grid`` = 14, 7 and 4, and the 4 pixels
    that are the default of Choe et al.'s ``has_grid_size`` are ``grid`` = 56. The paper's mixture of several sizes is
    not offered.

    Attributes:
        grid: Number of cells along each side of the image; at most its side.
        rate: Probability that a cell is hidden, 0 to 1.
    """

    grid: int = 4
    rate: float = 0.5

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: One is out of range.
        """
        if self.grid < 1:
            raise ValueError(f"grid is {self.grid}, which must be 1 or more")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate is {self.rate}, which must be from 0 to 1")

    def prepare(self, network: nn.Module, model: str, side: int) -> None:
        """Check that each cell has a pixel; see ``TrainMethod.prepare``.

        Raises:
            InputError: It has none.
        """
        if self.grid > side:
            raise InputError(
                f"has cannot divide images of {side} x {side} into {self.grid} x {self.grid} cells; give a smaller grid"
            )

    def compute_loss(
        self, run: Run, images: Tensor, labels: Tensor, criterion: nn.CrossEntropyLoss
    ) -> tuple[Tensor, Tensor]:
        """Hide cells; see ``TrainMethod.compute_loss``."""
        hidden = torch.rand(len(images), 1, self.grid, self.grid, device="cpu") < self.rate
        hide_cells(images, upload(hidden, images.device))
        return super().compute_loss(run, images, labels, criterion)


def hide_cells(images: Tensor, hidden: Tensor) -> None:
    """Set cells of images to zero, in place.

    Args:
        images: ``(n, C, h, w)``.
        hidden: Bool ``(n, 1, rows, columns)``, on the same device.
    """
    (height, width), (rows, columns) = images.shape[2:], hidden.shape[2:]
    row = torch.arange(height, device=images.device) * rows // height
    column = torch.arange(width, device=images.device) * columns // width
    images.masked_fill_(hidden[:, :, row[:, None], column], 0)
