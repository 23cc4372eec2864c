"""Baselines: boxes that ignore the image, which a method has to beat."""

from wsol.baselines._stats import BaselineBoxes, baseline_stats
from wsol.baselines.base import BASELINES, Baseline

__all__ = ["BASELINES", "Baseline", "BaselineBoxes", "baseline_stats"]
