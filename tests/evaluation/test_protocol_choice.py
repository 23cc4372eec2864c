"""The percentile that a rule chooses is the best of the grid on the images that the rule names, and on no others."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import wsol
from wsol.errors import InputError
from wsol.evaluation.protocol_choice import choose_protocol
from wsol.models import Model
from wsol.protocols import PROTOCOLS
from wsol.runs.read import read_run

IVR = "exact:levels=51,norm=ivr,percentile="


def accuracies(run: Path) -> list[float]:
    """Return MaxBoxAcc of the maps of a run at each percentile of the grid, from the tables of as many runs."""
    found = []
    for k in range(20):
        table = wsol.score(run=run, protocol=f"{IVR}{k / 20}", bootstrap=0).metrics
        found.append(float(table.loc[table["metric"] == "max_box_acc", "value"].item()))
    return found


@pytest.fixture
def run(tiny_model: Model, csv_data: Path, tmp_path: Path) -> Path:
    """A run whose maps are the object on a slope and noise, so that it depends on the percentile which are found."""
    wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, tau="val", bootstrap=0, out=tmp_path / "run")
    rng = np.random.default_rng(8)
    for folder in (tmp_path / "run", tmp_path / "run" / "val"):
        maps = np.load(folder / "maps.npy", mmap_mode="r+")  # their checksum is not compared
        h, w = maps.shape[-2:]
        for image_maps, truth in zip(maps, read_run(folder).results.truths, strict=True):
            x0, y0, x1, y1 = truth.sample.boxes[0] * np.tile([w / truth.size[0], h / truth.size[1]], 2)
            y, x = np.mgrid[:h, :w]
            inside = (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)
            image_maps[:] = inside + rng.normal() * x / w + 0.4 * rng.normal(size=(h, w))
        maps.flush()
    return tmp_path / "run"


@pytest.mark.slow
def test_each_rule_takes_the_best_percentile_of_its_images(run: Path, tmp_path: Path) -> None:
    on_test, on_val = accuracies(run), accuracies(run / "val")
    assert len({*on_test}) > 1
    assert int(np.argmax(on_test)) != int(np.argmax(on_val))  # so that one rule is not the other
    for rule, tau, values in (("oracle", 0.2, on_test), ("val", "val", on_val), ("oracle", "val", on_test)):
        scored = wsol.score(run=run, protocol=IVR + rule, tau=tau, bootstrap=0, out=tmp_path / f"{rule}-{tau}")
        best = int(np.argmax(values)) / 20  # the first of equal ones
        assert scored.signature.split("|")[3] == f"{IVR}{rule}={best:g}"
        numbers = wsol.score(run=run, protocol=f"{IVR}{best}", tau=tau, bootstrap=0).metrics
        assert scored.metrics["value"].tolist() == numbers["value"].tolist()
    stored = read_run(tmp_path / "val-val")
    assert stored.protocol.signature == stored.signature.split("|")[3]
    assert stored.validation.signature.split("|")[3] == stored.protocol.signature
    wsol.leaderboard(tmp_path / "val-val", validate=True)
    row = wsol.leaderboard(tmp_path / "val-val").table.iloc[0]
    assert row["protocol"] == f"{IVR}val=*"


def test_the_evaluated_images_have_no_part_in_the_choice_on_val() -> None:
    """A rule scores the images that it names and no others, as many times as there are candidates."""
    protocol, asked = PROTOCOLS.find("wsolevaluation:step=0.5,norm=ivr,percentile=val"), []
    hits = np.zeros((20, 4, 2), bool)
    hits[3, :2, 1] = hits[7, 1:3, 0] = hits[9, :, :] = True
    hits[9, 3:] = False
    hits[12, :3, 1] = True

    def score(candidate: Any) -> Any:
        asked.append(candidate.percentile.value)
        stats = SimpleNamespace(on_grid=SimpleNamespace(hits=hits[len(asked) - 1]), present={"complete"})
        return SimpleNamespace(stats=stats)

    assert choose_protocol(protocol, score).signature == "wsolevaluation:step=0.5,norm=ivr,percentile=val=0.45"
    assert asked == [k / 20 for k in range(20)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"run": "RUN", "tau": 0.2, "protocol": IVR + "val"}, "give --tau val, whose tables have the oracle tau too"),
        ({"baseline": "center-gaussian", "protocol": IVR + "val"}, "python -m wsol.eval --tau val --out RUN"),
        ({"maps": {}, "protocol": IVR + "oracle"}, "python -m wsol.eval --out RUN with another protocol"),
        (
            {"maps": {}, "protocol": "wsolevaluation:norm=max"},
            "norm=max would be ignored; leave that out, or give --raw",
        ),
        ({"boxes": "boxes.csv", "protocol": IVR + "val"}, "the rule val chooses a value by scoring the stored maps"),
    ],
)
def test_what_cannot_be_chosen_says_why(arguments: Any, sentence: str, csv_data: Path) -> None:
    source = {} if "run" in arguments else {"dataset": "csv", "data_root": csv_data}
    with pytest.raises(InputError, match=re.escape(sentence)):
        wsol.score(**arguments, **source)


def test_other_commands_refuse_an_open_percentile(tiny_model: Model, csv_data: Path) -> None:
    with pytest.raises(InputError, match="the rule val chooses a value by scoring the stored maps of a run"):
        wsol.evaluate(tiny_model, dataset="csv", data_root=csv_data, protocol=IVR + "val")
    with pytest.raises(InputError, match="the rule oracle chooses"):
        wsol.LocalizationMetric(protocol=IVR + "oracle")
