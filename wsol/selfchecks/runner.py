"""Runs all checks and formats their outcomes."""

import contextlib
import importlib
import io
import pkgutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from wsol.errors import first_line
from wsol.selfchecks import checks
from wsol.selfchecks.outcome import Check, CheckFailed, Checks, CheckSkipped, Outcome

FIRST = "packages"  # imports everything, before the other modules run two at a time
MODULES = sorted(module.name for module in pkgutil.iter_modules(checks.__path__) if module.name != FIRST)
"""The other modules of ``wsol.selfchecks.checks``; each has a mapping ``CHECKS``, and ``RUNS_NETWORKS`` if it does."""


def run_checks() -> Iterator[Outcome]:
    """Yield the outcome of each check, module by module; an exception in a check is a failure of that check."""
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars and warnings would interrupt the lines
        yield from _run_module(_load_checks(FIRST))
        modules = [(_runs_networks(name), _load_checks(name)) for name in MODULES]
        # Networks run in one thread, as torch.fx traces one network at a time; meanwhile Numba compiles in another.
        with ThreadPoolExecutor(1) as networks, ThreadPoolExecutor(1) as others:
            futures = [(networks if first else others).submit(_run_module, module) for first, module in modules]
            for future in futures:
                yield from future.result()


def _load_checks(name: str) -> Checks:
    """Import the checks of a module; if that fails, return one check that fails."""
    try:
        module_checks: Checks = importlib.import_module(f"{checks.__name__}.{name}").CHECKS
    except Exception as error:  # the import of a broken package can raise anything
        failure = CheckFailed(_describe_error(error))

        def fail() -> None:
            raise failure

        return {f"{name}: import of the checks": fail}
    return module_checks


def _runs_networks(name: str) -> bool:
    with contextlib.suppress(Exception):  # _load_checks reports it
        return hasattr(importlib.import_module(f"{checks.__name__}.{name}"), "RUNS_NETWORKS")
    return False


def _run_module(module_checks: Checks) -> list[Outcome]:
    return [_run_check(title, check) for title, check in module_checks.items()]


def _run_check(title: str, check: Check) -> Outcome:
    start = time.perf_counter()
    failure = remark = skipped = None
    try:
        remark = check()
    except CheckFailed as error:
        failure = str(error)
    except CheckSkipped as error:
        skipped = str(error)
    except Exception as error:
        failure = _describe_error(error)
    return Outcome(title, time.perf_counter() - start, failure, remark, skipped)


def _describe_error(error: Exception) -> str:
    return f"expected no error, found {type(error).__name__}: {first_line(error)}"


def format_outcome(outcome: Outcome) -> str:
    """Return the line of one check: seconds, title, and ``ok``, the failure, or why it was skipped."""
    verdict = f"WRONG: {outcome.failure}" if outcome.failure else "ok"
    verdict = f"skipped: {outcome.skipped}" if outcome.skipped else verdict
    remark = f" ({outcome.remark})" if outcome.remark else ""
    return f"{outcome.seconds:6.2f} s  {outcome.title:<58}  {verdict}{remark}"


def format_fact(name: str, value: str) -> str:
    """Return the line of one fact."""
    return f"{name:<14} {value}"


def format_summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return the last line: the number of checks that failed or passed, of those skipped, and the duration."""
    failed = sum(outcome.failure is not None for outcome in outcomes)
    skipped = sum(outcome.skipped is not None for outcome in outcomes)
    checked, others = len(outcomes) - skipped, f", {skipped} skipped" if skipped else ""
    if failed:
        return f"{failed} of {checked} checks are WRONG{others} ({seconds:.0f} s)"
    return f"all {checked} checks are right{others} ({seconds:.0f} s)"
