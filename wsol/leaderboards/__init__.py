"""Leaderboards: runs side by side, and whether their numbers follow from what they stored."""

from wsol.leaderboards.build import Leaderboard, leaderboard

__all__ = ["Leaderboard", "leaderboard"]
