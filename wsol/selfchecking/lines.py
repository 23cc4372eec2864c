"""What the command prints."""

from collections.abc import Sequence

from wsol.selfchecking.outcome import Outcome


def outcome_line(outcome: Outcome) -> str:
    """Returns the line of one check: seconds, title, and ``ok`` or what is wrong."""
    verdict = f"WRONG: {outcome.wrong}" if outcome.wrong else "ok" + (f" ({outcome.remark})" if outcome.remark else "")
    return f"{outcome.seconds:6.2f} s  {outcome.title:<58}  {verdict}"


def fact_line(name: str, value: str) -> str:
    """Returns the line of one fact."""
    return f"{name:<14} {value}"


def last_line(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Returns how many checks came out right, in how many seconds."""
    wrong = sum(outcome.wrong is not None for outcome in outcomes)
    if wrong:
        return f"{wrong} of {len(outcomes)} checks are WRONG ({seconds:.0f} s)"
    return f"all {len(outcomes)} checks are right ({seconds:.0f} s)"
