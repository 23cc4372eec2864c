"""Adversarial complementary learning."""

from dataclasses import dataclass

from torch import Tensor, nn

from wsol.models.heads.acol import ACoLSettings
from wsol.training.methods.base import TRAIN_METHODS, Run, TrainMethod


@TRAIN_METHODS.register("acol")
@dataclass(frozen=True)
class ACoLTraining(ACoLSettings, TrainMethod):
    """Train a second classifier on the features that the first does not look at.

    Zhang et al., "Adversarial Complementary Learning for Weakly Supervised Object Localization", CVPR 2018. Two
    classifiers of two convolutions 3 x 3, a convolution 1 x 1 to one map per class and global average pooling, on the
    same features: with A's map of the label ``M``, normalized to [0, 1], B sees zeros where ``M >= threshold``. The
    loss is the sum of the cross-entropies of A and B. No gradient flows through the choice of the places; features get
    the gradients of both, where they are erased those of A alone. The logits of A rank the classes, and
    ``--method acol`` computes the maps. As in the code of Choe et al. (CVPR 2020), the threshold is 0.7 by default, and
    nothing is erased for a constant map. Different from it, the features are those of plain training: their VGG-16 has
    overlapping max pooling and a mean over 3 x 3 before the classifiers. The convolutions 1 x 1 start from zero, and
    their gradients are shortened for loud features, as that of a linear layer is in plain training.
    Costs the forward and backward passes of two heads, ``9 channels (C + channels)`` products each for every place.

    Attributes:
        threshold: Classifier B does not see the places where the normalized map of classifier A is this or more, in
            [0, 1].
        channels: Channels of the two convolutions 3 x 3 of each classifier; 1024 in the paper.
    """

    map_method = "acol"

    def name_network(self, model: str) -> str:
        """Return the network with both classifiers, whose settings are those of the method."""
        return f"{model}+{self.signature}"

    def compute_loss(
        self, run: Run, images: Tensor, labels: Tensor, criterion: nn.CrossEntropyLoss
    ) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses of A and B, and the logits of A."""
        first, second = (logits.float() for logits in run(images, labels))
        return criterion(first, labels) + criterion(second, labels), first

    def chance_loss(self, classes: int) -> float:
        """Return the loss of two classifiers that guess."""
        return 2 * super().chance_loss(classes)
