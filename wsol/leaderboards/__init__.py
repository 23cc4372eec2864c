"""Leaderboards: tables of runs, with checks that their numbers follow from their stored files."""

from wsol.leaderboards.build import Leaderboard, leaderboard

__all__ = ["Leaderboard", "leaderboard"]
