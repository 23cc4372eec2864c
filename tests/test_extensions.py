"""A third-party package adds an entry of each kind, with a file and an entry point each."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FILES = {
    "datasets": (
        "squares",
        """
        from functools import partial

        import numpy as np

        from wsol.datasets import DATASETS, Dataset, Sample, Split
        from wsol.datasets.base import as_boxes


        def draw(i):
            pixels = np.zeros((64, 64, 3), np.uint8)
            pixels[8:40, 8:40] = 255 - 10 * i
            return pixels


        @DATASETS.register("squares")
        def squares(split: Split) -> Dataset:
            box = as_boxes([[8, 8, 40, 40]])
            samples = [Sample(f"{i}", i % 2, box, "edges", size=(64, 64), render=partial(draw, i)) for i in range(4)]
            return Dataset("squares", split, tuple(samples), ("one", "two"))
        """,
    ),
    "models": (
        "tiny-net",
        """
        import torch
        from torch import nn

        from wsol.models import MODELS
        from wsol.models.base import Architecture


        @MODELS.register("tiny-net")
        class TinyNet(Architecture):
            comes_with_weights = True

            def build(self, state, published, map_size=None):
                torch.manual_seed(0)
                body = nn.Conv2d(3, 4, 16, 16), nn.ReLU()
                return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

            def build_for_training(self, classes, map_size=None, from_scratch=True):
                raise NotImplementedError
        """,
    ),
    "methods": (
        "one-channel",
        """
        from dataclasses import dataclass

        from wsol.methods import METHODS, Method


        @METHODS.register("one-channel")
        @dataclass(frozen=True)
        class OneChannel(Method):
            \"\"\"Shows one channel of the features.\"\"\"

            needs = "features"
            channel: int = 0

            def maps(self, forward, classes):
                channel = forward.features[:, self.channel : self.channel + 1]
                return channel.expand(-1, classes.shape[1], -1, -1)
        """,
    ),
    "protocols": (
        "coarse",
        """
        from dataclasses import dataclass

        import numpy as np

        from wsol.boxes.components import boxes_at_taus
        from wsol.boxes.resize import linear_taps, resize_and_normalize
        from wsol.protocols import PROTOCOLS, Protocol


        @PROTOCOLS.register("coarse")
        @dataclass(frozen=True)
        class Coarse(Protocol):
            steps: int = 10
            delta: float = 0.5

            @property
            def taus(self):
                return np.arange(self.steps) / self.steps

            def ground_truth(self, sample, size):
                return sample.edges

            def prepare(self, maps, size):
                return resize_and_normalize(maps, size[::-1], linear_taps)

            def boxes(self, prepared, taus):
                return boxes_at_taus(prepared, taus)
        """,
    ),
    "metrics": (
        "near_miss",
        """
        from wsol.metrics.base import METRICS


        @METRICS.register("near_miss", title="IoU of 0.1 and more", headline=9, short_title="IoU >= 0.1")
        def near_miss(stats):
            return stats.curves >= 0.1


        @METRICS.register("nearer", part_of="near_miss")
        def nearer(stats):
            return stats.curves >= 0.2
        """,
    ),
    "baselines": (
        "left-half",
        """
        from wsol.baselines import BASELINES
        from wsol.baselines.base import one_box


        @BASELINES.register("left-half")
        def left_half(protocol, image_id, size):
            width, height = protocol.frame(size)
            return one_box((0, 0, width // 2, height), (width, height))
        """,
    ),
}

RUN = """
import warnings
from dataclasses import dataclass

import wsol
from wsol.eval import main as evaluate
from wsol.leaderboard import main as leaderboard
from wsol.list import main as list_names
from wsol.methods import METHODS

for kind in ("datasets", "methods", "protocols", "metrics", "baselines"):
    assert list_names([kind]) == 0
assert list_names(["models", "tiny-net"]) == 0
print("---")
options = ["--model", "tiny-net", "--dataset", "squares", "--method", "one-channel:channel=2", "--tau", "0.2"]
options += ["--protocol", "coarse:steps=5", "--out", "results/run", "--device", "cpu"]
assert evaluate(options) == 0
print("---")
assert leaderboard(["results", "--validate", "--out", "board"]) == 0
with warnings.catch_warnings(record=True) as caught:
    for _ in range(2):  # as a notebook cell that runs twice

        @METHODS.register("mine")
        @dataclass(frozen=True)
        class Mine(type(METHODS.get("one-channel"))):
            pass

    assert METHODS.get("mine") == Mine()
(message,) = caught
assert str(message.message).startswith("the method 'mine' is registered by __main__ and by __main__; the later")
"""


def install(folder: Path, package: str, files: dict[str, tuple[str, str]], extra: str = "") -> None:
    """Lays a package out as pip does."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").touch()
    info = folder / f"{package}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
    lines = []
    for group, (name, code) in files.items():
        (folder / package / f"{group}.py").write_text(re.sub("^ {8}", "", code, flags=re.M))
        lines += [f"[wsol.{group}]", f"{name} = {package}.{group}"]
    (info / "entry_points.txt").write_text("\n".join([*lines, extra, ""]))


def run(code: str, *, path: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH")]))},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    install(folder, "wsol_extras", FILES)
    install(folder, "outdated", {}, "[wsol.methods]\nold-cam = outdated.cams:OldCAM\n")
    return folder


@pytest.mark.slow
def test_one_file_adds_one_thing_and_everything_shows_it(site: Path, tmp_path: Path) -> None:
    done = run(RUN, path=site, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names, table, _ = done.stdout.split("---\n")
    for group, (name, _) in FILES.items():
        (line,) = re.findall(rf"^{re.escape(name)}(?: .*)?$", names, re.M)
        assert group != "methods" or "Shows one channel of the features." in line
    assert re.search(r"^ +one-channel:channel=0$", names, re.M)
    assert "squares-test#4:" in table
    assert "|one-channel:channel=2|coarse:steps=5|tau:0.2|" in table
    rows = [re.match(r" *(?:\S+(?: (?! ))?)*", line)[0].rstrip() for line in table.splitlines()]
    assert rows.index("IoU of 0.1 and more") == rows.index("  nearer") - 1 > rows.index("pointing game")
    assert "GT-known of left-half" in rows
    report = (tmp_path / "results" / "run" / "report.html").read_text()
    assert "IoU of 0.1 and more" in report
    assert "IoU >= 0.1, fixed" in (tmp_path / "board" / "leaderboard.md").read_text().replace("&#62;", ">")
    (warning,) = re.findall(r"UserWarning: (.*)", done.stderr)
    assert warning == (
        "the entry point 'old-cam' (wsol.methods) of outdated 0.1 is skipped, since importing outdated.cams:OldCAM "
        """fails with ModuleNotFoundError("No module named 'outdated.cams'"); upgrade or uninstall the package"""
    )


@pytest.mark.slow
def test_a_run_from_before_the_package_was_installed_is_still_valid(site: Path, tmp_path: Path) -> None:
    code = """
import wsol

wsol.score(baseline="center-box", dataset="synthetic", dataset_args={"images": "12"}, out="results/run")
"""
    assert run(code, path=tmp_path, cwd=tmp_path).returncode == 0
    code = "import sys; from wsol.leaderboard import main; sys.exit(main(['results', '--validate', '--out', 'board']))"
    done = run(code, path=site, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_lists_need_no_torch(site: Path, tmp_path: Path) -> None:
    code = "import sys; from wsol.list import main; main(['metrics']); assert 'torch' not in sys.modules"
    done = run(code, path=site, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "near_miss" in done.stdout.splitlines()
