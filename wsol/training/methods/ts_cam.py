"""TS-CAM: a vision transformer that learns to classify its patches."""

from dataclasses import dataclass

from wsol.training.methods.base import TRAIN_METHODS, TrainMethod


@TRAIN_METHODS.register("ts-cam")
@dataclass(frozen=True)
class TSCAMTraining(TrainMethod):
    """Train a vision transformer to classify the mean of class maps of its patches.

    Gao et al., "TS-CAM: Token Semantic Coupled Attention Map for Weakly Supervised Object Localization", ICCV 2021,
    eq. 6 to 8: a convolution 3 x 3 takes the patch tokens to one map per class, whose means are the class scores of a
    cross-entropy. The network is ``MODEL+ts-cam``; ``wsol.eval --method ts-cam`` multiplies the map of a class by the
    attention of the class token. The paper trains DeiT-S with AdamW, a rate of 5e-5 and a batch of 128 or 256. The
    convolution costs ``9 C`` products per class and patch.
    """

    map_method = "ts-cam"

    def name_network(self, model: str) -> str:
        """Return the name of the network with the convolution."""
        return f"{model}+ts-cam"
