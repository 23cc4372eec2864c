"""Comparisons of trainings with several seeds: by a loop, and what makes runs a group."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import wsol
from wsol.compare import main
from wsol.comparison.groups import parse_arguments
from wsol.comparison.terminal import format_comparison
from wsol.datasets import Content, Dataset, Sample
from wsol.datasets.base import as_boxes
from wsol.errors import InputError
from wsol.metrics.base import LocalizationStats
from wsol.metrics.seeds import seed_picks
from wsol.protocols import find_protocol
from wsol.protocols.ground_truths import GroundTruths
from wsol.runs.metadata import DatasetRecord, RunMetadata, TauRecord
from wsol.runs.predictions import predictions_table
from wsol.runs.provenance import ExternalFile, NetworkRecord, Normalization, Provenance, WeightsFile
from wsol.runs.read import StoredRun
from wsol.runs.results import LocalizationResults, Tables

PROTOCOL = "wsolevaluation:step=0.25,norm=minmax"
N = 30
RECIPE = {"model": "tiny", "learning_rate": 0.01, "stages": [{"epochs": 2}], "seed": 0}
Make = Callable[..., StoredRun]


def curves_of(name: str, share: float = 0.5, n: int = N) -> Any:
    """Return made-up IoUs ``(n, 4)`` of a training."""
    rng = np.random.default_rng([*name.encode()])
    return np.where(rng.random((n, 4)) < share, 0.75, 0.25).astype(np.float32)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return runs of a network, its weights identified by the run's name."""

    def run(
        name: str,
        seed: int | None = 0,
        curves: Any = None,
        weights: str | None = None,
        method: str = "cam",
        provenance: Provenance | None = None,
        notes: tuple[str, ...] = (),
        **recipe: Any,
    ) -> StoredRun:
        curves = curves_of(name) if curves is None else curves
        n, digest = len(curves), sha256((weights or name).encode()).hexdigest()
        network = NetworkRecord(
            "tiny", WeightsFile(f"{name}.safetensors", digest), Normalization((0.5,), (0.2,)), None, "conv", method,
            "float32", "cpu", None if seed is None else {**RECIPE, "seed": seed, **recipe},
        )  # fmt: skip
        provenance = provenance or Provenance(f"tiny:{digest[:8]}", method, None, network)
        samples = tuple(
            Sample(f"{i}.jpg", i % 2, as_boxes([[0, 0, 9, 9]]), "inclusive", size=(20, 20)) for i in range(n)
        )
        columns = (np.arange(n)[:, None] % 2, np.ones((n, 1), np.float32), 0.25, np.ones((n, 1, 4)))
        predictions = predictions_table(samples, *columns, curves[:, 1, None].astype(float), np.full((n, 1), "other"))
        metadata = RunMetadata(
            f"made-test#{n}:0|{provenance.model}|{provenance.method}|{PROTOCOL}|tau:0.25|wsol:0", "",
            DatasetRecord("x", "test", "", n, "", Content(), ("a", "b")), provenance, PROTOCOL,
            TauRecord("fixed", 0.25, 0.25), {}, 0, None, notes, {}, {},
        )  # fmt: skip
        truths = GroundTruths(samples, np.full((n, 2), 20), np.tile([0.0, 0, 10, 10], (n, 1)), np.ones(n, np.int64))
        stats = LocalizationStats(curves, 0.5, np.arange(n) % 2)
        images = Dataset("made", "test", samples, ("cat", "dog"))
        classes, scores = columns[:2]
        results = LocalizationResults(images, truths, classes, scores, stats, lambda _: np.empty(0), {}, 0)
        empty = pd.DataFrame()
        return StoredRun(
            tmp_path / name, metadata, find_protocol(PROTOCOL), Tables(*5 * [empty], predictions), results, None
        )

    return run


def groups_of(make: Make) -> dict[str, list[StoredRun]]:
    return {
        "cam": [make(f"cam{s}", s, curves_of(f"cam{s}", 0.5)) for s in range(3)],
        "has": [make(f"has{s}", s, curves_of(f"has{s}", 0.7), train_method="has") for s in range(2)],
    }


def at(table: pd.DataFrame, rule: str = "fixed", **more: str) -> Any:
    picked = table[(table.metric == "gt_known_loc_acc") & (table.tau_rule == rule)]
    for column, value in more.items():
        picked = picked[picked[column] == value]
    (match,) = picked.itertuples()
    return match


def test_a_group_of_one_is_the_run_to_the_last_bit(make: Make) -> None:
    runs = [make("a"), make("b")]
    expected, found = wsol.compare(runs), wsol.compare({"a": runs[0], "b": [runs[1]]})
    for name in ("runs", "metrics", "differences", "images", "curves", "seeds"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(expected, name), check_exact=True)
    assert found.notes == expected.notes
    assert found.signature == expected.signature
    assert found.draw_figures() == expected.draw_figures()
    assert not {"sd", "seeds"} & {*expected.metrics, *expected.runs}


def test_a_loop_over_resamples_of_seeds_and_images(make: Make) -> None:
    """Draw the seeds of each group and the images, which are the same for all runs, one resample after the other."""
    groups = groups_of(make)
    comparison = wsol.compare(groups)
    hits = {name: [run.results.stats.curves[:, 1] >= 0.5 for run in runs] for name, runs in groups.items()}
    means = {name: np.mean([each.mean() for each in of_group]) for name, of_group in hits.items()}
    for name, of_group in hits.items():
        row = at(comparison.metrics, run=name)
        assert row.value == pytest.approx(100 * means[name])
        assert row.sd == pytest.approx(100 * np.std([each.mean() for each in of_group], ddof=1))
        assert row.seeds == len(of_group)
    draws = []
    weights = {name: [run.metadata.provenance.network.weights.sha256 for run in runs] for name, runs in groups.items()}
    picks = {name: seed_picks(sorted(of_group)) for name, of_group in weights.items()}
    for r in range(1000):
        images, values = np.random.RandomState([0, r]).randint(0, N, N), {}
        for name, of_group in hits.items():
            by_weights = [of_group[i] for i in np.argsort(weights[name])]
            of_seed = [each[images].mean() for each in by_weights]
            drawn = [x for x, count in zip(of_seed, picks[name][:, r], strict=True) for _ in range(count)]
            n = len(of_seed)
            values[name] = np.mean(of_seed) + (n / (n - 1)) ** 0.5 * (np.mean(drawn) - np.mean(of_seed))
        draws.append(100 * (values["cam"] - values["has"]))
    pair = at(comparison.differences)
    assert pair.difference == pytest.approx(100 * (means["cam"] - means["has"]))
    np.testing.assert_allclose([pair.ci_low, pair.ci_high], np.percentile(draws, [2.5, 97.5]), atol=1e-9)
    far = np.abs(np.array(draws) - pair.difference) > abs(pair.difference) - 1e-4
    assert pair.p == pytest.approx((1 + far.sum()) / 1001)


def test_the_order_of_groups_and_of_runs_does_not_matter(make: Make) -> None:
    groups = groups_of(make)
    one, other = wsol.compare(groups), wsol.compare({name: groups[name][::-1] for name in ("has", "cam")})
    key = ["run", "metric", "tau_rule"]
    pd.testing.assert_frame_equal(
        *(table.sort_values(key).reset_index(drop=True) for table in (one.metrics, other.metrics)), check_exact=True
    )
    assert at(one.differences).p_corrected == at(other.differences).p_corrected
    assert at(one.differences).ci_low == -at(other.differences).ci_high


def test_methods_on_the_same_trainings_are_paired_over_seeds(make: Make) -> None:
    """The seeds are far apart, but one method is better by the same image in each: no resample says otherwise."""
    base = np.full((N, 4), 0.25, np.float32)
    runs: dict[str, list[StoredRun]] = {"cam": [], "layercam": []}
    for seed, count in enumerate((5, 15, 25)):
        for method, more in (("cam", 0), ("layercam", 3)):
            curves = base.copy()
            curves[: count + more] = 0.75
            runs[method].append(make(f"{method}{seed}", seed, curves, weights=f"seed {seed}", method=method))
    comparison = wsol.compare(runs)
    assert "cam and layercam are the same trainings" in " ".join(comparison.notes)
    paired = at(comparison.differences)
    others = [make(f"other{s}", s, run.results.stats.curves) for s, run in enumerate(runs["layercam"])]
    unpaired = at(wsol.compare({"cam": runs["cam"], "other": others}).differences)
    assert paired.difference == pytest.approx(-10)
    assert paired.ci_high < 0 < unpaired.ci_high
    shared = wsol.compare({"cam": runs["cam"], "layercam": [*runs["layercam"][:2], make("new", 7, method="layercam")]})
    assert "cam and layercam have 2 trainings in common, but not all" in " ".join(shared.notes)


def test_groups_and_single_runs(make: Make, tmp_path: Path) -> None:
    groups = groups_of(make)
    single = make("single", 3, curves_of("single", 0.3), notes=("odd",))
    baseline = make("box", None, provenance=Provenance("center-box", "none", baseline="center-box"))
    comparison = wsol.compare({**groups, "single": single, "box": baseline}, out=tmp_path / "out")
    assert comparison.runs["seeds"].tolist() == [3, 2, 1, 1]
    cam, own = at(comparison.metrics, run="cam"), at(comparison.metrics, run="single")
    assert f"\n  cam: GT-known accuracy {cam.value:.3f} % ± {cam.sd:.2f} points (3 seeds)\n" in repr(comparison)
    assert f"\n  single: GT-known accuracy {own.value:.3f} %\n" in repr(comparison)
    assert comparison.runs["model"].tolist()[:2] == ["tiny:*", "tiny:*"]
    assert [len(signature.split(";")) for signature in comparison.runs["signature"]] == [3, 2, 1, 1]
    assert np.isnan(at(comparison.metrics, run="single").sd)  # unknown, not 0
    assert at(comparison.metrics, run="single").seeds == 1
    notes = " ".join(comparison.notes)
    assert "cam (3), has (2): few seeds" in notes
    assert "single: a single training" in notes
    assert "box: a single training" not in notes
    assert "single: odd" in comparison.notes
    seeds = pd.read_csv(tmp_path / "out" / "seeds.csv")
    fixed = seeds[(seeds["metric"] == "gt_known_loc_acc") & (seeds["tau_rule"] == "fixed")]
    assert fixed["run"].tolist() == ["cam"] * 3 + ["has"] * 2
    assert fixed["seed"].tolist() == [0, 1, 2, 0, 1]
    means = fixed.groupby("run")["value"].agg(["mean", "std"])
    for name in groups:
        row = at(comparison.metrics, run=name)
        np.testing.assert_allclose([row.value, row.sd], means.loc[name])
    hits = np.stack([run.results.stats.curves[:, 1] >= 0.5 for run in groups["cam"]])
    images = comparison.images
    np.testing.assert_allclose(images["hit_share cam"], hits.mean(0))
    assert images["hit cam"].tolist() == (hits.sum(0) >= 2).tolist()
    assert images["hit has"].tolist() == (images["hit_share has"] == 1).tolist()  # more than half of two
    np.testing.assert_allclose(
        images["iou cam"], np.mean([run.results.stats.curves[:, 1] for run in groups["cam"]], axis=0)
    )
    assert "hit_share single" not in images
    np.testing.assert_allclose(
        comparison.curves["cam"], 100 * np.mean([run.results.stats.curves >= 0.5 for run in groups["cam"]], axis=(0, 1))
    )
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    row = at(comparison.metrics, run="cam")
    assert f"{row.value:.3f} ± {row.sd:.2f} <small>[{row.ci_low:.1f}, {row.ci_high:.1f}]" in page
    assert "paired bootstrap over seeds and images" in page
    row = at(comparison.metrics, run="single")  # has no spread
    assert f"{row.value:.3f} <small>[{row.ci_low:.1f}, {row.ci_high:.1f}]" in page
    assert "<td>fixed @0.250</td>" in page
    assert "<td>0.250</td>" in page  # tau of a run, as on the terminal
    wsol.compare({**groups, "single": single, "box": baseline}, out=tmp_path / "out")  # the same again
    with pytest.raises(InputError, match="contains a comparison of other runs"):
        wsol.compare({**groups, "single": single}, out=tmp_path / "out")


def test_one_group_alone_has_its_mean_and_spread(make: Make) -> None:
    comparison = wsol.compare({"cam": groups_of(make)["cam"]})
    assert at(comparison.metrics).seeds == 3
    assert pd.isna(at(comparison.metrics)._asdict()["rank"])
    assert len(comparison.differences) == 0
    with pytest.raises(InputError, match="needs at least two runs"):
        wsol.compare({"cam": make("a")})


def test_the_terminal_shows_the_spread_and_where_there_is_none(make: Make, tmp_path: Path) -> None:
    groups = groups_of(make)
    single = make("single", 3, curves_of("single", 0.3))

    def lines_of(comparison: Any) -> list[str]:
        tables = comparison.runs, comparison.metrics, comparison.differences
        text = format_comparison("", comparison.notes, *tables, comparison.images_found_only_by, tmp_path)
        return text.splitlines()

    comparison = wsol.compare({"cam": groups["cam"], "single": single})
    (line,) = (line for line in lines_of(comparison) if line.startswith("GT-known accuracy") and "fixed" in line)
    cam, one = (at(comparison.metrics, run=name) for name in ("cam", "single"))
    assert f"{cam.value:.3f} ± {cam.sd:.2f} [{cam.ci_low:.1f}, {cam.ci_high:.1f}] 1" in line
    assert f"{one.value:.3f} ± - [{one.ci_low:.1f}, {one.ci_high:.1f}]" in line
    assert [*filter(lambda line: "paired bootstrap over seeds and images" in line, lines_of(comparison))]
    many = wsol.compare({**groups, "single": single, "other": make("other", 4)})
    (line,) = (line for line in lines_of(many) if line.startswith("GT-known accuracy") and "fixed" in line)
    assert f"{cam.value:.3f} ± {cam.sd:.2f} " in line
    assert "[" not in line


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"seed": 1, "weights": "a"}, r"g \(a\) and g \(b\) have the same weights, which is no spread over seeds"),
        ({"seed": 1, "learning_rate": 0.02}, r"differ in more than the seed \(learning_rate: 0\.02, not 0\.01\)"),
        ({"seed": 1, "stages": [{"epochs": 3}]}, r"differ in more than the seed \(stages: "),
        ({"seed": 0}, r"g \(a\) and g \(b\) have the same recipe and the same seed, 0; give trainings with several"),
        (
            {"seed": 1, "method": "layercam"},
            r"g \(b\) and g \(a\) differ in more than the weights \(method: layercam, not",
        ),
        (
            {"provenance": Provenance("center-box", "none", baseline="center-box")},
            r"g \(b\) is a baseline, which no training made; give it outside of the group",
        ),
        (
            {"provenance": Provenance("maps:0", "x", external=ExternalFile("maps", "0"))},
            r"differ in more than the weights \(made by: another program, not a network",
        ),
    ],
)
def test_runs_that_are_no_group_are_refused(make: Make, other: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        wsol.compare({"g": [make("a"), make("b", **other)], "c": make("c")})
    assert "\n" not in str(raised.value)


def test_runs_without_a_recipe_are_accepted_with_a_note(make: Make) -> None:
    group = [make("a", None), make("b", 1)]
    note = "g: not all weights record a recipe"
    assert [each for each in wsol.compare({"g": group, "c": make("c")}).notes if each.startswith(note)]
    maps = [
        make(f"{i}", None, provenance=Provenance(f"maps{i}:{i}", "x", external=ExternalFile(f"maps{i}", f"{i}")))
        for i in range(2)
    ]
    comparison = wsol.compare({"g": maps, "c": make("c")})
    assert [each for each in comparison.notes if each.startswith(note)]
    assert comparison.runs["model"].tolist()[0] == "*"


@pytest.mark.parametrize("seed", ["one", 10**30, True, -1, None])
def test_a_seed_that_is_none_is_missing(make: Make, seed: Any) -> None:
    odd = make("a", 0)
    odd.metadata.provenance.network.recipe["seed"] = seed
    comparison = wsol.compare({"g": [odd, make("b", 1)]})
    assert comparison.seeds["seed"].isna().sum() == (comparison.seeds["folder"].str.endswith("a")).sum() > 0


def test_a_note_of_all_seeds_is_said_once(make: Make) -> None:
    group = [make("a", 0, notes=("same", "own")), make("b", 1, notes=("same",))]
    notes = wsol.compare({"g": group, "c": make("c")}).notes
    assert [note for note in notes if note.endswith(("same", "own"))] == ["g: same", "g (a): own"]


def test_names(make: Make) -> None:
    with pytest.raises(InputError, match="the group 'g' has no run; give at least one"):
        wsol.compare({"g": [], "c": make("c")})
    with pytest.raises(InputError, match="two entries of the comparison are named 'g h'"):
        wsol.compare({"g h": make("a"), "g\nh": make("c")})
    with pytest.raises(InputError, match="empty name"):
        wsol.compare({" ": make("a"), "c": make("c")})


def test_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "x/a", "x=1", "b,c"):
        (tmp_path / name).mkdir(parents=True)
    assert parse_arguments(["a", "x=1", "b,c"]) == ["a", "x=1", "b,c"]  # folders that exist are runs
    assert parse_arguments(["cam=a,x/a", "x=1", "has=b,c"]) == {"cam": ["a", "x/a"], "x=1": ["x=1"], "has": ["b,c"]}
    assert parse_arguments(["none/x=1"]) == ["none/x=1"]
    with pytest.raises(InputError, match="two entries of the comparison are named 'a'; give each another name"):
        parse_arguments(["a", "a=x/a"])
    for argument in ("cam=a,", "cam="):
        with pytest.raises(InputError, match="the group 'cam' has an empty name of a run; write cam=RUN,RUN without"):
            parse_arguments([argument, "x/a"])


def test_a_run_without_a_list_and_an_empty_name_are_refused() -> None:
    for given in ("results/run", Path("results/run")):
        with pytest.raises(InputError, match="one run is given without a list"):
            wsol.compare(given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a run has an empty name"):
        wsol.compare(["", "b"])


def test_a_folder_of_a_group_that_is_no_run_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([f"cam={tmp_path},nowhere", "other"]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert str(tmp_path) in printed


def test_the_recipe_does_not_change_what_is_comparable(make: Make) -> None:
    """A run of an earlier version has none, although it has the same weights."""
    run = make("a")
    network = run.metadata.provenance.network
    assert network is not None
    earlier = make("b", provenance=replace(run.metadata.provenance, network=replace(network, recipe=None)))
    notes = wsol.compare([run, earlier]).notes
    assert "recipe" not in " ".join(notes)
    assert "the reason is outside of what it covers" in notes[0]
