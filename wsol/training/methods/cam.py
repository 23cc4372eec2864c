"""Plain training, the baseline of all training methods."""

from dataclasses import dataclass

from wsol.training.methods.base import TRAIN_METHODS, TrainMethod


@TRAIN_METHODS.register("cam")
@dataclass(frozen=True)
class CAMTraining(TrainMethod):
    """Train a classifier on whole images, as CAM assumes.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016. Costs nothing beyond the step.
    """
