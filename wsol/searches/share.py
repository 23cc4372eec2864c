"""Processes share the trials of a search: each takes the next one that no other process works on."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from wsol.errors import InputError
from wsol.io.atomic import ensure_dir
from wsol.io.lock import FolderLockedError, lock_folder
from wsol.searches.plan import SearchPlan
from wsol.searches.trials import Task, name_keys, run_task

_SECONDS = 0.5  # between two looks at what other processes do


def run_unfinished(plan: SearchPlan) -> Iterator[Task]:
    """Run trials until all are finished, by this process or by others, and yield each that this process has finished.

    A trial that another process works on is left to it; if that process is killed, the operating system releases its
    lock, and the trial is resumed here.

    Args:
        plan: The search.

    Raises:
        InputError: A trial is not possible.
    """
    said = False
    while tasks := plan.unfinished():
        for task in tasks:
            if _run_unless_taken(plan, task):
                said = False
                yield task
                break
        else:
            if not said:
                _say(f"waiting for {len(tasks)} trials of other processes")
            said = True
            time.sleep(_SECONDS)


@contextlib.contextmanager
def wait_for_lock(folder: Path) -> Iterator[None]:
    """Lock a folder, after waiting for the process that has locked it."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock_folder(folder))
                break
            except FolderLockedError:
                time.sleep(_SECONDS)
        yield


def _run_unless_taken(plan: SearchPlan, task: Task) -> bool:
    """Run a trial, unless another process works on it or has just finished it; return whether it was run."""
    ensure_dir(task.folder)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock_folder(task.folder))
        except FolderLockedError:
            return False
        if plan.result(task) is not None:
            return False
        drawn = ", ".join(f"{name} {value}" for name, value in task.drawn.items())
        _say(f"{task.title}: {drawn}" if drawn else task.title)
        try:
            result = plan.results[task.folder] = run_task(task)
        except InputError as error:
            raise InputError(f"{task.title}: {name_keys(str(error))}") from error
    if result.value is None:
        _say(f"{task.title}: diverged, {result.reason}")
    else:
        _say(f"{task.title}: {task.by} {result.value:.3f} % on {task.evaluation.split}, {result.seconds:.0f} s")
    return True


def _say(text: str) -> None:
    print(f"wsol: {text}", file=sys.stderr, flush=True)
