"""A search that trains and evaluates, at a tiny size."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

import wsol
from wsol.errors import InputError
from wsol.runs.signature import Signature

NET = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.fc = torch.nn.Conv2d(3, 6, 8, 8), torch.nn.Linear(6, 3)
    def forward(self, images):
        return self.fc(self.stem(images).relu().mean((2, 3)))
"""
TEXT = """
by = "mean_iou"
dataset = "csv"
data_root = "DATA"
trials = 2
seeds = SEEDS
models = [{ model = "NET:Net", name = "net" }]
[training]
epochs = 3
image_size = 32
batch_size = 4
device = "cpu"
learning_rate = { choice = [0.01, 1e9] }
[evaluation]
protocol = "exact:levels=64"
bootstrap = 0
[train_methods.cam]
"""


@pytest.fixture
def text(tmp_path: Path, csv_data: Path) -> str:
    """A search over twelve images, four of each split, of which those of the split test are missing."""
    (tmp_path / "net.py").write_text(NET)
    rows = ["image_id,label,x0,y0,x1,y1,split"]
    rows += [f"{i:02d}.png,{i % 3},{i},5,50,{40 + i},{('train', 'val', 'test')[i // 4]}" for i in range(12)]
    (csv_data / "boxes.csv").write_text("\n".join(rows) + "\n")
    (csv_data / "away").mkdir()
    for i in range(8, 12):
        (csv_data / f"{i:02d}.png").rename(csv_data / "away" / f"{i:02d}.png")
    return TEXT.replace("DATA", str(csv_data)).replace("NET", str(tmp_path / "net.py"))


@pytest.mark.slow
def test_trials_need_no_image_of_the_split_test_and_a_diverged_one_is_kept(
    text: str, csv_data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "search.toml"
    path.write_text(text.replace("SEEDS", "0"))
    trials = wsol.search(path, out=tmp_path / "out").trials
    assert sorted(trials.learning_rate) == [0.01, 1e9]
    done, diverged = (trials[trials.learning_rate == rate].iloc[0] for rate in (0.01, 1e9))
    assert (done.status, diverged.status) == ("done", "diverged")
    assert pd.isna(diverged.value)
    assert re.search("the loss (grew|is no longer finite)", diverged.reason)
    assert (done.best, diverged.best) == (True, False)

    folder = tmp_path / "out" / "trials" / f"net-cam-{done.trial:03d}"
    (weights,) = (folder / "training").glob("*.safetensors")
    again = wsol.evaluate(
        f"{tmp_path / 'net.py'}:Net", weights, dataset="csv", data_root=csv_data, split="val", tau="oracle",
        protocol="exact:levels=64", bootstrap=0, device="cpu",
    )  # fmt: skip
    row = again.metrics[(again.metrics.metric == "mean_iou") & (again.metrics.tau_rule == "oracle")].iloc[0]
    assert done.value == pytest.approx(row.value, abs=1e-9)
    assert done.tau == again.metadata.tau.value
    assert done.signature == again.signature

    path.write_text(text.replace("SEEDS", "2"))
    with pytest.raises(InputError, match=rf"^trial {done.trial} of net with cam, seed 1: .*08\.png"):
        wsol.search(path, out=tmp_path / "out")
    for file in (csv_data / "away").iterdir():
        file.rename(csv_data / file.name)
    shutil.rmtree(tmp_path / "out" / "seeds")  # the run on it was begun without its images
    found = wsol.search(path, out=tmp_path / "out")
    pd.testing.assert_frame_equal(found.trials, trials)
    run, _ = found.runs("net")["cam"]
    signature = Signature.parse(wsol.leaderboard(run.parents[1], validate=True).rows[0]["signature"])
    assert f"+best-of-2-trials(mean_iou,{found.images})" in signature.model
    assert signature.tau.startswith("tau:val(csv-val#4:")

    # Two seeds of a network whose first weights are random are a group.
    folder = tmp_path / "out" / "comparisons" / "net"
    compared = pd.read_csv(folder / "metrics.csv")
    assert set(compared.seeds) == {2}
    own = compared[(compared.metric == "mean_iou") & (compared.tau_rule == "oracle")].iloc[0]
    expected = found.test[(found.test.metric == "mean_iou") & (found.test.tau_rule == "oracle")].iloc[0]
    assert (own.value, own.sd) == pytest.approx((expected["mean"], expected["sd"]))
    assert found.comparisons["net"] == (folder.parent / "net.txt").read_text(encoding="utf-8")
    assert f"written to {folder}" in found.comparisons["net"]
