"""Thresholded average pooling, as a training method."""

from dataclasses import dataclass

from wsol.errors import InputError
from wsol.models.base import MODELS
from wsol.models.pooling import THETA, check_theta
from wsol.training.methods.base import TRAIN_METHODS, TrainMethod


@TRAIN_METHODS.register("tap")
@dataclass(frozen=True)
class ThresholdedPooling(TrainMethod):
    """Replace the average pooling of ``NAME-gap`` by thresholded average pooling, that of ``NAME-tap``.

    Bae, Noh and Kim, "Rethinking Class Activation Mapping for Weakly Supervised Object Localization", ECCV 2020. The
    trained network is ``NAME-tap:theta=THETA``, as if it had been given as the model. The paper's two other changes,
    to negative weights and to the threshold of the map, belong to the evaluation.

    Attributes:
        theta: Share of the maximum that a value must exceed to be averaged, 0 or more and below 1.
    """

    theta: float = THETA

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: One is out of range.
        """
        check_theta(self.theta)

    def name_network(self, model: str) -> str:
        """Return the name with the other pooling; see ``TrainMethod.name_network``.

        Raises:
            InputError: There is no such network.
        """
        name = f"{model.removesuffix('-gap')}-tap"
        if not model.endswith("-gap") or name not in MODELS.names():
            raise InputError(
                f"tap replaces the pooling of a NAME-gap that has a NAME-tap, which {model!r:.80} is not; give another "
                "--model or --train-method"
            )
        return f"{name}:theta={self.theta}"
