"""Boxes that look at no image: what a method has to beat."""

from wsol.baselines._evidence import baseline_stats
from wsol.baselines.base import BASELINES, Baseline

__all__ = ["BASELINES", "Baseline", "baseline_stats"]
