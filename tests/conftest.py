"""What all tests share: small images on disk, a tiny network, and the folder of real data where there is one."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

# A process a core runs the tests; if each took threads for all cores too, they would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_net import TinyNet
from torchvision.models import squeezenet1_1

from wsol.models import Model, Preprocessing, find_gap

LONGEST = ("test_wheel.py", "test_docs.py", "test_killed.py", "test_killed_runs.py")


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cases of sampled tests, and begin with the files that take longest.

    No process is then left with one of these files when the others are done.
    """
    cases: Counter[str] = Counter()
    for item in items:
        if sample := item.get_closest_marker("sample"):
            test = item.nodeid.partition("[")[0]
            item.add_marker("sweep" if cases[test] % sample.args[0] else "slow")
            cases[test] += 1
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs and weights; see CONTRIBUTING.md."""
    folder = os.environ.get("WSOL_REAL_DATA")
    if not folder:
        pytest.skip("WSOL_REAL_DATA is not set: the checks on real photographs are left out")
    return Path(folder)


@pytest.fixture
def draw() -> Callable[..., Path]:
    """Writes an image of noise and returns its path."""

    def write(path: Path, size: tuple[int, int] = (60, 40), mode: str = "RGB", **save: object) -> Path:
        width, height = size
        noise = np.random.default_rng([*path.name.encode()]).integers(0, 256, (height, width, 3), np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).convert(mode).save(path, **save)
        return path

    return write


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of SqueezeNet 1.1 for seven classes, as a file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(squeezenet1_1(num_classes=7).state_dict(), path)
    return path


@pytest.fixture
def tiny_model() -> Model:
    """A random network as the stations take it."""
    torch.manual_seed(0)
    return Model("tiny", find_gap(TinyNet().eval(), "tiny"), Preprocessing(), "random", "0" * 64, 7)


@pytest.fixture
def synthetic_model() -> Model:
    """The same with a class for each of the generated data set's."""
    torch.manual_seed(0)
    return Model("tiny", find_gap(TinyNet(12).eval(), "tiny"), Preprocessing(), "random", "0" * 64, 12)


@pytest.fixture
def csv_data(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    """Twelve images of seven classes with a box each, one with two, as a user would have them."""
    root = tmp_path / "data"
    rows = ["image_id,label,x0,y0,x1,y1,split"]
    rng = np.random.default_rng(5)
    for i in range(12):
        draw(root / f"{i:02d}.png", (80 + i, 64))
        part = "val" if i % 3 == 0 else "test"
        for _ in range(1 + (i == 4)):
            x0, y0 = rng.integers(0, 30, 2)
            x1, y1 = rng.integers(35, 60, 2)
            rows.append(f"{i:02d}.png,{i % 7},{x0},{y0},{x1},{y1},{part}")
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    return root
