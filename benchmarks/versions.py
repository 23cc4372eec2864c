"""Run the tests with the lowest or with the newest versions that ``pyproject.toml`` allows.

    pip install uv
    python benchmarks/versions.py --resolution lowest [--python python3.13] [-- OPTIONS OF pytest]

Makes a virtual environment in a temporary folder, in which uv installs the lowest or the newest versions of the direct
dependencies that the Python can install, prints all versions, and runs the tests and then the slow tests. With options
of pytest, such as a folder, it runs pytest once, with these. It exits with 1 if a test fails. Linters and type checks
are left out: their results depend on the versions that developers use, not on those of users.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}


def main() -> int:
    """Build the environment and run the tests in it; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--resolution", choices=_RESOLUTIONS, required=True)
    parser.add_argument("--python", default=sys.executable, help="name or path of the Python (default: this one)")
    parser.add_argument("pytest", nargs="*", help="options of pytest, after --")
    args = parser.parse_args()
    uv = shutil.which("uv")
    if uv is None:
        parser.error("uv is not installed; pip install uv")
    with tempfile.TemporaryDirectory() as folder:
        python = _build_environment(uv, Path(folder), args.python, _RESOLUTIONS[args.resolution])
        suites = [args.pytest] if args.pytest else [[], ["-m", "slow or sweep"]]
        results = [_run_tests(python, options) for options in suites]
        return int(any(results))


def _build_environment(uv: str, folder: Path, python: str, resolution: str) -> Path:
    """Install the package with its test dependencies; return the Python of the environment."""
    environment = folder / "environment"
    subprocess.run([uv, "venv", "--quiet", "--python", python, environment], check=True)
    installed = environment / "bin/python"
    install = [uv, "pip", "install", "--quiet", "--python", installed, "--resolution", resolution, "-e", ".[slow-test]"]
    subprocess.run(install, check=True, cwd=_ROOT)
    subprocess.run([installed, "--version"], check=True)
    subprocess.run([uv, "pip", "freeze", "--quiet", "--python", installed], check=True)
    return installed


def _run_tests(python: Path, options: Sequence[str]) -> int:
    """Run pytest in the repository; return its exit status."""
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])  # tests run the commands of the environment
    words = [str(python), "-m", "pytest", *options]
    print("+", *words, flush=True)
    return subprocess.run(words, check=False, cwd=_ROOT, env=os.environ | {"PATH": path}).returncode


if __name__ == "__main__":
    sys.exit(main())
