"""Runs that are killed, run by several processes, or without room on the disk: their files are the same."""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import killed_processes
import numpy as np
import pytest
from killed_processes import content
from PIL import Image

import wsol
from wsol._cli import run_command
from wsol.errors import InputError
from wsol.io.lock import lock_folder
from wsol.runs.batches import BatchStore

pytestmark = pytest.mark.sample(1)  # every case is slow, unless its test says otherwise


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    rows = ["image_id,label,x0,y0,x1,y1,split"]
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(root / f"{i}.png")
        rows.append(f"{i}.png,{i % 7},{i},2,{20 + i},30,{'val' if i % 3 == 0 else 'test'}")
    (root / "7.png").write_bytes(b"no image")
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run that was never stopped, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    killed_processes.finish(killed_processes.start(_work, data, folder))  # the server starts with the first
    return folder, killed_processes.finish(killed_processes.start(_work, data, folder))


def _work(data: Path, out: Path) -> None:
    killed_processes.evaluate(data, out, resume=True, skip_bad_images=True)


def _begin(data: Path, processes: int = 1) -> Callable[[Path], list]:
    return lambda folder: killed_processes.start(_work_with_forks, data, folder, processes=processes)


def _work_with_forks(data: Path, out: Path) -> None:
    killed_processes.evaluate(data, out, forks=True, workers=2, resume=True, skip_bad_images=True)


@pytest.mark.sample(2)
@pytest.mark.parametrize("processes", [2, 1])
def test_a_run_killed_at_any_moment_goes_on(
    data: Path, whole: tuple[Path, float], tmp_path: Path, processes: int
) -> None:
    folder, seconds = whole
    expected = content(folder)
    assert {"run.json", "val/run.json", "report.html", "thumbnails/000/000006.jpg", "maps.npy"} < {*expected}
    begin = _begin(data, processes)
    ends = killed_processes.survive(
        begin, tmp_path / "run", 20, lambda path: content(path) == expected, seconds, processes
    )
    assert ends >= 7


def test_three_processes_and_any_number_of_threads(data: Path, whole: tuple[Path, float], tmp_path: Path) -> None:
    killed_processes.finish(_begin(data, 3)(tmp_path / "3" / "run"))
    killed_processes.finish(killed_processes.start(_threads, data, tmp_path / "threads" / "run"))
    assert content(tmp_path / "3" / "run") == content(tmp_path / "threads" / "run") == content(whole[0])


def _threads(data: Path, out: Path) -> None:
    killed_processes.evaluate(data, out, threads=3, forks=True, workers=5, skip_bad_images=True)


def test_torchrun_starts_a_worker_that_died_again(data: Path, tmp_path: Path) -> None:
    # The second process ends itself in its second batch, once.
    (tmp_path / "net.py").write_text(
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "import killed_processes, torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.features, self.fc = torch.nn.Conv2d(3, 8, 8, 8), torch.nn.Linear(8, 7)\n"
        "    def forward(self, images):\n"
        "        return self.fc(self.features(images).relu().mean((2, 3)))\n"
        "def build():\n"
        "    torch.manual_seed(0)\n"
        "    return Net()\n"
        "if os.environ.get('RANK') == '1' and os.environ['TORCHELASTIC_RESTART_COUNT'] == '0':\n"
        "    from wsol.evaluation.inference import BatchInference\n"
        "    predict, calls = BatchInference.predict, []\n"
        "    def dying(*arguments):\n"
        "        calls.append(1)\n"
        "        if len(calls) == 2:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return predict(*arguments)\n"
        "    BatchInference.predict = dying\n"
    )
    command = ["-m", "wsol.eval", "--model", "net.py:build", "--dataset", "csv", "--data-root", str(data)]
    command += ["--batch-size", "1", "--skip-bad-images", "--device", "cpu", "--out"]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1", "--standalone"]
    several = subprocess.run(
        [sys.executable, *torchrun, *command, "several/run"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert several.returncode == 0, several.stderr
    assert several.stdout.count("written to") == 1
    assert "Signal 9" in several.stderr or "exitcode: -9" in several.stderr.replace("exitcode  :", "exitcode:")
    subprocess.run([sys.executable, *command, "one/run"], cwd=tmp_path, capture_output=True, check=True)
    assert content(tmp_path / "several" / "run") == content(tmp_path / "one" / "run")


@pytest.fixture
def begun(data: Path, tmp_path: Path) -> Path:
    """A run that stopped at an image that cannot be read, all others of its batches done."""
    with pytest.raises(InputError, match=r"7\.png is not an image"):
        killed_processes.evaluate(data, tmp_path / "run")
    assert len([*(tmp_path / "run" / "batches" / "run").glob("*.safetensors")]) == 4
    return tmp_path / "run"


def test_what_was_begun_is_not_overwritten(data: Path, begun: Path) -> None:
    with pytest.raises(InputError, match=r"holds an unfinished run, 8 of 12 batches; give --resume to continue it"):
        killed_processes.evaluate(data, begun)
    with pytest.raises(InputError, match=r"7\.png is not an image"):
        killed_processes.evaluate(data, begun, resume=True)
    assert not (begun / "run.json").exists()


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"skip_bad_images": True}, r"skip_bad_images: False, not True"),
        ({"batch_size": 2}, r"batch_size: 1, not 2"),
        ({"memory": 1.0}, r"memory: 2147483648, not 1073741824"),
        ({"channels_last": True}, r"channels_last: False, not True"),
        ({"method": "eigencam"}, r"method: cam, not eigencam"),
        ({"protocol": "exact"}, r"protocol: wsolevaluation:step=0.05,norm=minmax, not exact"),
        ({"limit": 3}, r"dataset: csv-test#8:[\w+:]+, not csv-test#3"),
        ({"tau": 0.5}, r"tau: val\(csv-val#4:[\w+:]+\), not 0.5"),
    ],
)
def test_other_options_are_refused_by_name(
    data: Path, begun: Path, options: dict[str, object], difference: str
) -> None:
    with pytest.raises(InputError, match=rf"unfinished run with other options \({difference}"):
        killed_processes.evaluate(data, begun, resume=True, **options)


def test_a_damaged_batch_is_named(data: Path, begun: Path) -> None:
    parts = BatchStore(begun, "run", 8)
    (broken,) = parts.missing()[:1]
    parts.write(broken, parts.read(0))  # as if the image had been mended
    for number in parts.missing():
        parts.write(number, parts.read(0))
    damaged = begun / "batches" / "val" / "000001.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(
        InputError, match=r"000001\.safetensors is damaged \(.+\); delete it and give --resume to compute it again"
    ):
        killed_processes.evaluate(data, begun, resume=True)


def test_a_finished_run_is_read_back(whole: tuple[Path, float], data: Path) -> None:
    before = _times(whole[0])
    again = killed_processes.evaluate(data, whole[0], resume=True, skip_bad_images=True)
    assert _times(whole[0]) == before
    assert again.metadata.dataset.n == 7


def _times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_two_processes_do_not_write_to_one_folder(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (
        lock_folder(tmp_path / "run"),
        pytest.raises(InputError, match=r"run is being written by process \d+ on .+; wait"),
    ):
        killed_processes.evaluate(data, tmp_path / "run", skip_bad_images=True)
    with lock_folder(tmp_path / "run"), pytest.raises(InputError, match="is being written by"):
        wsol.score(baseline="center-box", dataset="csv", data_root=data, limit=1, out=tmp_path / "run")
    assert not [*(tmp_path / "run").iterdir()]


@pytest.mark.parametrize("room", [2_000, 40_000, 60_000, 150_000])
def test_a_full_disk_is_one_sentence(
    data: Path, whole: tuple[Path, float], tmp_path: Path, room: int, capfd: pytest.CaptureFixture[str]
) -> None:
    (process,) = killed_processes.start(_without_room, data, tmp_path / "run", room)
    process.join(120)
    assert process.exitcode == 2
    sentence = (tmp_path / "said").read_text()
    assert sentence.startswith("wsol: [Errno 27] File too large")
    assert sentence.endswith("that the disk has room\n")
    assert sentence.count("\n") == 1
    killed_processes.finish(_begin(data)(tmp_path / "run"))
    assert content(tmp_path / "run") == content(whole[0])


def _without_room(data: Path, out: Path, room: int) -> None:
    """No file may grow beyond some bytes; Python raises OSError then, as on a full disk."""
    sys.stderr = (out.parent / "said").open("w")
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    code = run_command(lambda _: _work(data, out), None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    sys.stderr.close()
    sys.exit(code)
