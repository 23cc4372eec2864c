"""Trace which files of the package ``wsol.eval`` enters, in order of first call: the table of docs/architecture.md.

    python benchmarks/trace_files.py

Runs the bundled network on twelve generated images and prints a Markdown table. A file is entered when one of its
functions is called while none of its functions is running; a return is not an entry, and calls that follow each other
are one entry. Imports and constructors do not count, nor do the threads of the loop over batches.
"""

import contextlib
import io
import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import wsol
from wsol.eval import main as evaluate

ROOT = Path(wsol.__file__).parent
Event = tuple[str, str, str, bool]
JOB = ("evaluation",)  # the folders of the main job; commands are files directly in the package
BELOW = ("errors.py", "registry.py")
LIBRARIES = ("baselines", "reports", "runs")  # above the metrics too, but they only answer calls


def main() -> None:
    """Trace a run and print the tables."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        call = ["--model", "vgg16-gap", "--limit", "12", "--device", "cpu", "--out", f"{folder}/run"]
        events = trace(call)
    job = [event for event in events if is_job(event[0])]
    print("| | file | first call | entered |")
    print("|---|---|---|---|")
    for number, (file, function, *_) in enumerate(first_calls(job), 1):
        print(f"| {number} | `wsol/{file}` | `{function}` | {count_entries(job, file)} |")
    print()
    print("| library | first call | called by |")
    print("|---|---|---|")
    for file, function, caller, _ in first_calls([each for each in events if each[0].split("/")[0] in LIBRARIES]):
        print(f"| `wsol/{file}` | `{function}` | `{caller}` |")


def trace(arguments: Sequence[str]) -> list[Event]:
    """Run ``wsol.eval``; return its calls from file to file: file, function, calling file, whether it is an entry."""
    events: list[Event] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_name
        if event != "call" or name.startswith("<") or name in ("__init__", "__post_init__"):
            return
        file, callers = package_file(frame), calling_files(frame.f_back)
        if file and callers[:1] != [file]:
            entry = file not in callers and threading.current_thread() is threading.main_thread()
            events.append((file, name, callers[0] if callers else "", entry))

    evaluate([*arguments])  # imports everything, compiles everything
    shutil.rmtree(arguments[-1])
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        evaluate([*arguments])
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return events


def package_file(frame: FrameType) -> str:
    """Return the module of a frame, relative to the package; empty for other packages and templates."""
    path = frame.f_code.co_filename
    return path.removeprefix(f"{ROOT}/") if path.startswith(f"{ROOT}/") and path.endswith(".py") else ""


def calling_files(frame: FrameType | None) -> list[str]:
    """Return the files of the package among the callers, the nearest first."""
    files = []
    while frame is not None:
        files.append(package_file(frame))
        frame = frame.f_back
    return [file for file in files if file]


def is_job(file: str) -> bool:
    """Return whether a file belongs to the main job: a command, or the evaluation package."""
    return ("/" not in file and file not in BELOW) or file.split("/", maxsplit=1)[0] in JOB


def first_calls(events: Sequence[Event]) -> list[Event]:
    """Return the first call into each file."""
    first: dict[str, Event] = {}
    for event in events:
        first.setdefault(event[0], event)
    return [*first.values()]


def count_entries(events: Sequence[Event], file: str) -> int:
    """Return how often a file was entered, entries that follow each other counted once."""
    files = [event[0] for event in events if event[3]]
    return sum(name == file and (i == 0 or files[i - 1] != file) for i, name in enumerate(files))


if __name__ == "__main__":
    main()
