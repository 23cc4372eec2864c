"""Trainings that are killed, and trainings of several processes."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from children import begin, begin_together, compute_in_float32, read_outputs
from safetensors.torch import load_file

from wsol.errors import InputError
from wsol.io.lock import lock_folder
from wsol.runtime.distributed import ProcessGroup
from wsol.training import Recipe, Stage, config, train, trainer
from wsol.training.data import split_batches
from wsol.training.trainer import wrap_ddp

pytestmark = pytest.mark.sample(1)  # every case is slow, unless its test says otherwise

KILLS, KILLS_TOGETHER = 8, 2
# Without dropout and batch normalization, so that processes agree; ``idle`` makes files that take time to write.
NET = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.fc, self.idle = nn.Linear(16, 3), nn.Linear(1000, 1000)
    def forward(self, images):
        return self.fc(self.stem(images).mean((2, 3)))
make = Net
"""


@pytest.fixture(scope="module", autouse=True)
def _float32() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "has_bf16", compute_in_float32)
        yield


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Four epochs over 13 images in steps of 5, 5 and 3: two processes share 5 unevenly, and both compute all of 3."""
    root = tmp_path_factory.mktemp("data")
    (root / "net.py").write_text(NET)
    rng = random.Random(0)
    from PIL import Image  # noqa: PLC0415

    rows = ["image_id,label,x0,y0,x1,y1,split"]
    for i in range(20):
        Image.frombytes("RGB", (32, 32), rng.randbytes(3072)).save(root / f"{i}.png")
        rows.append(f"{i}.png,{i % 3},0,0,9,9,{'train' if i < 13 else 'val' if i < 18 else 'test'}")
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    return {
        "model": f"{root / 'net.py'}:make",
        "dataset": "csv",
        "data_root": root,
        "recipe": Recipe((Stage(4, 32, 5),), learning_rate=0.8),
        "device": "cpu",
    }


@pytest.fixture(scope="module")
def whole(asked: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    finish(begin(out, asked))
    return out


@pytest.fixture(scope="module")
def whole_together(asked: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("together") / "out"
    finish(*begin_together(out, asked))
    return out


def weights(folder: Path) -> Path:
    (path,) = folder.glob("*make.safetensors")
    return path


def finish(*children: object, code: int = 0) -> None:
    for child in children:
        child.join(60)
        assert child.exitcode == code


def same_files(folder: Path, other: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in other.iterdir())
    for path in other.iterdir():
        if path.name != "state.safetensors":  # its metadata come in any order
            assert (folder / path.name).read_bytes() == path.read_bytes(), path.name


def test_killed_at_any_moment_a_training_ends_like_one_that_was_not(
    asked: dict[str, object], whole: Path, tmp_path: Path
) -> None:
    begun = time.perf_counter()
    finish(begin(tmp_path / "timed", asked))
    seconds = time.perf_counter() - begun
    rng, kills, rounds = random.Random(0), 0, 0
    while kills < KILLS:
        out, rounds = tmp_path / str(rounds), rounds + 1
        while True:
            child = begin(out, asked)
            if kills < KILLS:
                child.join(rng.uniform(0, seconds))
                child.kill()
            child.join()
            if child.exitcode == 0:
                break
            assert child.exitcode == -9
            kills += 1
        same_files(out, whole)


@pytest.fixture(scope="module")
def begun(asked: dict[str, object], whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of four epochs, and what a process left that was killed while it wrote files."""
    out = tmp_path_factory.mktemp("begun") / "out"
    assert train(out=out, stop_after=3, **asked) is None
    for path in whole.iterdir():
        (out / f"{path.name}.tmp").write_bytes(b"half a file")
    return out


CHANGES = 13  # log, state, plot and weights are looked for, renamed, looked for once more; the lock


@pytest.mark.sample(4)
@pytest.mark.parametrize("change", range(CHANGES))
def test_killed_between_any_two_changes_of_files(
    asked: dict[str, object], whole: Path, begun: Path, tmp_path: Path, change: int
) -> None:
    out = tmp_path / "out"
    shutil.copytree(begun, out)
    child = begin(out, asked, change=change)
    child.join()
    assert child.exitcode != 0
    finish(begin(out, asked))
    same_files(out, whole)


def test_there_are_no_more_changes_of_files(asked: dict[str, object], begun: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(begun, out)
    finish(begin(out, asked, change=CHANGES))


def test_a_full_disk_is_one_error_and_harms_nothing(asked: dict[str, object], whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert train(out=out, stop_after=2, **asked) is None
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    finish(begin(out, asked, room=1_000_000), code=1)
    assert "File too large: " in (last := read_outputs(out)[0].splitlines()[-1])
    assert last.endswith("state.safetensors'")
    assert before.keys() == {path.name for path in out.iterdir()}
    assert (out / "state.safetensors").read_bytes() == before["state.safetensors"]
    train(out=out, **asked)
    same_files(out, whole)


def test_a_folder_takes_one_training_at_a_time(asked: dict[str, object], tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(InputError, match=f"is being written by process {os.getpid()}"):
        train(out=tmp_path, **asked)


def test_a_folder_that_cannot_be_made(asked: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be created"):
        train(out=tmp_path / "file" / "out", **asked)


def test_other_threads_are_told(asked: dict[str, object], tmp_path: Path) -> None:
    train(out=tmp_path, stop_after=1, **asked)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        with pytest.warns(
            UserWarning, match=rf"stopped with {threads} threads of torch and resumes with {threads + 1}"
        ):
            train(out=tmp_path, stop_after=1, **asked)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_processes_share_every_batch(size: int) -> None:
    order = random.Random(0).sample(range(23), 23)
    shares = zip(*(split_batches(order, 9, ProcessGroup(rank, size)) for rank in range(size)), strict=True)
    for batch, share in zip((order[:9], order[9:18], order[18:]), shares, strict=True):
        assert {total for _, total in share} == {len(batch)}
        if len(batch) < 2 * size:
            assert all(places == batch for places, _ in share)
        else:
            assert sorted(place for places, _ in share for place in places) == sorted(batch)


def test_two_processes_train_what_one_does(whole: Path, whole_together: Path) -> None:
    one, two = (load_file(weights(folder)) for folder in (whole, whole_together))
    moved = max(float((one[key] - torch.full_like(one[key], one[key].mean())).abs().max()) for key in one)
    assert moved > 0.1
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=0, atol=2e-6)  # float32 rounds at 3e-8 here
    logs = [pd.read_csv(folder / "log.csv") for folder in (whole, whole_together)]
    pd.testing.assert_frame_equal(*logs, check_exact=False, rtol=1e-5)
    for column in ("train_err", "val_err"):
        assert logs[0][column].tolist() == logs[1][column].tolist()


def test_the_first_process_alone_speaks(whole_together: Path) -> None:
    lines = sorted(len(text.splitlines()) for text in read_outputs(whole_together))
    assert lines == [0, 7]  # the stage, a note on classes without images, four epochs, and their speed


def test_two_processes_that_are_killed_end_like_two_that_were_not(
    asked: dict[str, object], whole_together: Path, tmp_path: Path
) -> None:
    begun = time.perf_counter()
    finish(*begin_together(tmp_path / "timed", asked))
    seconds = time.perf_counter() - begun
    rng, kills, rounds = random.Random(0), 0, 0
    while kills < KILLS_TOGETHER:
        out, rounds = tmp_path / str(rounds), rounds + 1
        while True:
            children = begin_together(out, asked)
            if kills < KILLS_TOGETHER:
                children[rng.randrange(2)].join(rng.uniform(0.3, 1) * seconds)
                for child in rng.sample(children, 2):
                    child.kill()
            for child in children:
                child.join()
            if all(child.exitcode == 0 for child in children):
                break
            kills += 1
        same_files(out, whole_together)


def test_another_number_of_processes_is_refused(asked: dict[str, object], whole_together: Path) -> None:
    with pytest.raises(InputError, match="processes = 2, not 1"):
        train(out=whole_together, **asked)


def test_two_processes_share_frozen_features(asked: dict[str, object], whole: Path, tmp_path: Path) -> None:
    recipe = Recipe((Stage(4, 32, 5),), learning_rate=0.05)  # stable, so that rounding is not amplified
    more = {**asked, "recipe": recipe, "weights": weights(whole), "freeze": "features"}
    one = train(out=tmp_path / "one", **more)
    finish(*begin_together(tmp_path / "two", more))
    a, b = load_file(one), load_file(weights(tmp_path / "two"))
    assert not torch.equal(a["fc.weight"], load_file(weights(whole))["fc.weight"])
    for key in a:
        torch.testing.assert_close(b[key], a[key], rtol=1e-5, atol=1e-5)  # folded weights are about 100


def test_an_image_that_one_process_cannot_read_stops_both(asked: dict[str, object], tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(asked["data_root"], root)
    (root / "3.png").write_bytes(b"no image")
    finish(*begin_together(tmp_path / "out", {**asked, "data_root": root}), code=1)
    for text in read_outputs(tmp_path / "out"):
        assert text.splitlines()[-1].startswith("wsol.errors.ImageError")
        assert "3.png is not an image" in text.splitlines()[-1]


def test_normalization_over_processes_shares_the_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "DistributedDataParallel", lambda module, **_: module)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    twin = wrap_ddp(network, torch.device("cuda")).module
    assert isinstance(twin[1], torch.nn.SyncBatchNorm)
    assert type(network[1]) is torch.nn.BatchNorm2d
    own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    theirs = {**dict(twin.named_parameters()), **dict(twin.named_buffers())}
    assert own.keys() == theirs.keys()
    assert all(own[key] is theirs[key] for key in own)


# Otherwise restarted processes may read the addresses of the processes before them.
FRESH = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
SCRIPT = """
import os, signal, sys
from pathlib import Path
from wsol.train import main
from wsol.training import config
from wsol.training.trainer import Trainer
config.has_bf16 = lambda device: False
train, once = Trainer.train, Path(sys.argv.pop())
def mortal(self, stage, epoch, done):
    if epoch == 2 and os.environ["RANK"] == "1" and not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return train(self, stage, epoch, done)
Trainer.train = mortal
sys.exit(main())
"""


def test_torchrun_starts_again_and_the_training_goes_on(
    asked: dict[str, object], whole_together: Path, tmp_path: Path
) -> None:
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=2"]
    options = {"model": asked["model"], "dataset": "csv", "data-root": asked["data_root"], "epochs": 4, "batch-size": 5}
    options |= {"image-size": 32, "learning-rate": 0.8, "device": "cpu", "out": out}
    words = [str(word) for key, value in options.items() for word in (f"--{key}", value)]
    command += [str(script), *words, str(tmp_path / "once")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **FRESH})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "once").exists()
    same_files(out, whole_together)
    assert done.stdout.count("Evaluate it:") == 1
    assert done.stdout.count("epoch 3") == 1
