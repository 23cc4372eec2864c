"""Runs all checks, whatever becomes of any."""

import contextlib
import importlib
import io
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from wsol.errors import first_line
from wsol.selfchecks.expect import Check, CheckFailed, Checks, Outcome

# Modules beside this one. The first loads the packages; of the others two run at a time, as Numba compiles on one core
# what the protocols need while networks run on another.
FIRST = "packages"
PARTS = (
    "wsolevaluation",
    "bundled",
    "activation",
    "overlap",
    "upsampling",
    "exact",
    "zhou2016",
    "metrics",
    "images",
    "end_to_end",
)


def run_checks() -> Iterator[Outcome]:
    """Yield what each check comes to, part by part; no exception of a check gets out."""
    with contextlib.redirect_stderr(io.StringIO()):  # bars and warnings would stand between the lines
        yield from _part(FIRST)
        with ThreadPoolExecutor(2) as pool:
            for outcomes in pool.map(_part, PARTS):
                yield from outcomes


def _part(name: str) -> list[Outcome]:
    start = time.perf_counter()
    try:
        checks: Checks = importlib.import_module(f"wsol.selfchecks.checks.{name}").CHECKS
    except Exception as error:  # a package that is broken raises anything when it is imported
        return [Outcome(f"{name} can be checked", time.perf_counter() - start, _unexpected(error))]
    return [_outcome(title, check) for title, check in checks.items()]


def _outcome(title: str, check: Check) -> Outcome:
    start = time.perf_counter()
    wrong = remark = None
    try:
        remark = check()
    except CheckFailed as error:
        wrong = str(error)
    except Exception as error:
        wrong = _unexpected(error)
    return Outcome(title, time.perf_counter() - start, wrong, remark)


def _unexpected(error: Exception) -> str:
    return f"expected no error, found {type(error).__name__}: {first_line(error)}"


def outcome_line(outcome: Outcome) -> str:
    """Return the line of one check: seconds, title, and ``ok`` or what is wrong."""
    verdict = f"WRONG: {outcome.wrong}" if outcome.wrong else "ok" + (f" ({outcome.remark})" if outcome.remark else "")
    return f"{outcome.seconds:6.2f} s  {outcome.title:<58}  {verdict}"


def fact_line(name: str, value: str) -> str:
    """Return the line of one fact."""
    return f"{name:<14} {value}"


def last_line(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return how many checks came out right, in how many seconds."""
    wrong = sum(outcome.wrong is not None for outcome in outcomes)
    if wrong:
        return f"{wrong} of {len(outcomes)} checks are WRONG ({seconds:.0f} s)"
    return f"all {len(outcomes)} checks are right ({seconds:.0f} s)"
