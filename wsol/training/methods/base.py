"""The interface of a training method."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from wsol.registry import Registry, format_settings

Run = Callable[..., Any]
"""Runs the network in training mode, in the precision of the training, on images and whatever else it takes."""


@dataclass(frozen=True)
class TrainMethod:
    """A training method; its fields are its settings, all with defaults.

    A method is registered in ``TRAIN_METHODS`` by a file in ``wsol/training/methods``, or by another package through an
    entry point of the group ``wsol.train_methods``. The base class trains on whole images with the cross-entropy.

    Random numbers come from torch's global generator on the CPU, which is seeded at the start of each epoch: a resumed
    training draws the same. Nothing may be read back from the device, since each read makes the processor wait.

    Attributes:
        name: Registered name.
        map_method: Method of ``wsol.eval`` that makes the score maps of the trained network.
    """

    name: ClassVar[str] = ""
    map_method: ClassVar[str] = "cam"

    @property
    def signature(self) -> str:
        """Name with all settings: ``has:grid=4,rate=0.5``."""
        return format_settings(self.name, self)

    def name_network(self, model: str) -> str:
        """Return the name of the network that is trained and stored: the model's, or one with other layers.

        Args:
            model: The name that the user gave.

        Raises:
            InputError: The method cannot train this model.
        """
        return model

    def prepare(self, network: nn.Module, model: str, side: int) -> None:
        """Insert layers that act in training mode alone, in place.

        They have no parameters and no buffers, so that the trained weights fit the network without them.

        Args:
            network: The network in evaluation mode.
            model: Its name in messages.
            side: Side of the smallest images that it is trained with.

        Raises:
            InputError: The network lacks the layers that the method needs.
        """

    def compute_loss(
        self, run: Run, images: Tensor, labels: Tensor, criterion: nn.CrossEntropyLoss
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss of a step.

        Args:
            run: The network.
            images: Augmented and normalized images, ``(n, 3, side, side)``; may be changed in place.
            labels: int64 ``(n,)``.
            criterion: The cross-entropy, with the label smoothing of the recipe; the mean over the images.

        Returns:
            The loss, a float32 scalar that is a mean over the images; and class scores ``(n, classes)``, of which the
            training error is computed.
        """
        logits = run(images).float()
        return criterion(logits, labels), logits

    def chance_loss(self, classes: int) -> float:
        """Return the loss of a network that guesses without the image; a training that diverges has more."""
        return math.log(classes)


TRAIN_METHODS: Registry[TrainMethod] = Registry("training method", "wsol.training.methods", group="wsol.train_methods")


def find_train_method(method: str | TrainMethod) -> TrainMethod:
    """Find a training method.

    Args:
        method: Registered name, with settings after a colon, ``has:grid=4,rate=0.5``; or the method itself.

    Raises:
        InputError: There is no such method or setting.
    """
    return TRAIN_METHODS.find(method) if isinstance(method, str) else method
