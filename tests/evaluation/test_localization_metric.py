"""The streaming metric: by hand, equal to wsol.score and wsol.evaluate, in several processes, and on bad input."""

import copy
import importlib.util
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import metric_process
import numpy as np
import pytest
import torch
from PIL import Image

import wsol
from wsol.datasets import Dataset, Mask, Sample, load_dataset
from wsol.errors import InputError
from wsol.evaluation._metric_batch import _ranks
from wsol.evaluation.inference import TOP, rank_classes
from wsol.metrics.classification import ranks_of
from wsol.models import Model
from wsol.protocols import find_protocol

BASES = ("torchmetrics", "own")
WITHOUT_TORCHMETRICS = "localization_metric_without_torchmetrics"  # name of a module
PROTOCOLS = ("wsolevaluation", "exact:also=0.3", "exact", "zhou2016", "zhou2016:box=script")
DTYPES = (np.float32, np.float64, np.float16, np.uint8)
CASES = [
    *((name, np.float32) for name in ("wsolevaluation:step=0.01,size=97", "exact:levels=6", "zhou2016:step=0.1")),
    ("exact:levels=6", np.float64),
    ("crop224:step=0.1", np.float32),
    ("crop224:step=0.1", np.float64),
    ("tscam:step=0.1", np.float32),
    *(pytest.param(name, dtype, marks=pytest.mark.slow) for name in PROTOCOLS for dtype in DTYPES),
]


@pytest.fixture(params=BASES)
def metric_class(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """The class with torchmetrics, where it is installed, and without it."""
    if request.param == "torchmetrics":
        pytest.importorskip("torchmetrics")
        yield wsol.LocalizationMetric
        return
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    file = importlib.util.find_spec("wsol.evaluation.localization_metric").origin  # the module itself keeps its base
    spec = importlib.util.spec_from_file_location(WITHOUT_TORCHMETRICS, file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, WITHOUT_TORCHMETRICS, module)  # for pickle
    spec.loader.exec_module(module)
    yield module.LocalizationMetric


def test_it_is_a_metric_of_torchmetrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    assert issubclass(wsol.LocalizationMetric, torchmetrics.Metric)
    both = torchmetrics.MetricCollection({"box": wsol.LocalizationMetric("exact"), "v2": wsol.LocalizationMetric()})
    both.update(*BATCH)
    assert {both.compute()[f"{name}_n"] for name in ("box", "v2")} == {2}


def block(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    values = np.zeros((8, 8), np.float32)
    values[y0:y1, x0:x1] = 1
    return values


# In a frame of 8 x 8 a map of 8 x 8 is not resampled, and its box is the block.
MAPS = np.stack([block(0, 0, 4, 4), block(0, 0, 4, 4), block(4, 4, 6, 6), np.ones((8, 8), np.float32)])
BOXES = [[[0, 0, 4, 4]], [[0, 0, 4, 8], [7, 7, 8, 8]], [[4, 4, 8, 8]], [[0, 0, 8, 8]]]  # IoU 1, 1/2, 1/4, no box
LABELS = [2, 0, 1, 0]
LOGITS = [
    [0, 0, 9, 0, 0, 0, 0],  # first
    [5, 6, 0, 0, 0, 0, 0],  # second
    [3, 1, 3, 3, 3, 3, 3],  # last
    [1, 1, 1, 1, 1, 1, 1],  # first of equal ones
]
BATCH = (torch.eye(5).repeat(2, 1, 1), [np.array([[0.0, 0, 224, 224]])] * 2)


def update_by_hand(metric: Any, indices: Sequence[int]) -> None:
    chosen = [[values[i] for i in indices] for values in (MAPS, BOXES, LABELS, LOGITS)]
    metric.update(np.array(chosen[0]), *chosen[1:], sizes=[[8, 8]] * len(indices))


@pytest.mark.parametrize("batches", [[[0, 1, 2, 3]], [[3], [], [1, 0], [2]]])
def test_by_hand(metric_class: type, batches: list[list[int]]) -> None:
    metric = metric_class("exact", frame="image", classes=7)
    for indices in batches:
        if indices:
            update_by_hand(metric, indices)
        else:
            metric.update(np.empty((0, 8, 8)), [], [], np.empty((0, 7)), sizes=np.empty((0, 2), int))
    found = metric.compute()
    expected = {
        "n": 4,
        "gt_known_loc_acc": 50,
        "gt_known_loc_acc.oracle": 50,
        "gt_known_loc_acc.oracle.tau": 0,
        "max_box_acc": 50,
        "max_box_acc.tau": 0,
        "mean_iou": 100 * 1.75 / 4,
        "top1_cls_err": 50,
        "top5_cls_err": 25,
        "top1_loc_err": 75,  # image 0 alone is right
        "top5_loc_err": 50,
        "corloc": 50,  # 1 of 1, 1 of 2, 0 of 1
        "pointing_game": 75,  # a constant map has no highest pixel
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert {type(value) for value in found.values()} == {float}
    assert not [name for name in found if name.startswith("max_box_acc_v2")]


def make_images(seed: int, n: int, masked: bool) -> tuple[Dataset, np.ndarray]:
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(n):
        width, height = rng.integers(60, 120, 2).tolist()
        corners = np.add(rng.integers(0, 30, (1 + i % 3, 4)), [0, 0, 25, 25])
        mask = Mask(*rng.random((2, height, width)).round().astype(bool))
        reader = (lambda mask=mask: mask) if masked else None
        samples.append(Sample(f"{i}.png", i % 3, corners.astype(float), "inclusive", size=(width, height), mask=reader))
    maps = rng.normal(size=(n, 9, 7))
    maps[2] = 0.5  # constant
    return Dataset("some", "test", tuple(samples), ("a", "b", "c")), maps


OF_INTERVALS = (".ci_low", ".ci_high", ".optimism")


def expected_values(result: Any) -> dict[str, tuple[float, float, float]]:
    rows = result.metrics
    has_fixed = {*rows[rows.tau_rule == "fixed"].metric}
    return {
        row.metric + (".oracle" if row.tau_rule == "oracle" and row.metric in has_fixed else ""): (
            row.value,
            row.ci_low,
            row.ci_high,
        )
        for row in rows.itertuples()
        if row.tau_rule != "val"
    }


def assert_equal(found: dict[str, float], result: Any, with_interval: bool) -> None:
    expected = expected_values(result)
    values = {name for name in found if name != "n" and not name.endswith((".tau", *OF_INTERVALS))}
    assert values == {*expected}
    for name, (value, low, high) in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-13, abs=1e-10), name
        if with_interval:
            ends = found[f"{name}.ci_low"], found[f"{name}.ci_high"]
            assert ends == pytest.approx((low, high), rel=1e-13, abs=1e-10), name
    rows = result.metrics[result.metrics.tau_rule == "oracle"]
    for row in rows.itertuples():
        name = f"{row.metric}.oracle" if f"{row.metric}.oracle" in found else row.metric
        if not np.isnan(row.tau):
            assert found[f"{name}.tau"] == row.tau
        if with_interval:
            assert found[f"{name}.optimism"] == pytest.approx(row.optimism, rel=1e-13, abs=1e-10), name


@pytest.mark.parametrize(("protocol", "dtype"), CASES)
def test_equals_the_score_of_the_same_maps(protocol: str, dtype: type, tmp_path: Path) -> None:
    masked = find_protocol(protocol).uses_masks
    images, maps = make_images(0, 7, masked)
    maps = (100 * (maps - maps.min()) / np.ptp(maps) if dtype is np.uint8 else maps).astype(dtype)
    for sample, score_map in zip(images, maps, strict=True):
        np.save(tmp_path / sample.image_id.replace("png", "npy"), score_map)
    tau = 0.3 if "also" in protocol else 0.2
    result = wsol.score(maps=tmp_path, dataset=images, protocol=protocol, tau=tau, raw=True)
    metric = wsol.LocalizationMetric(
        protocol, tau=tau, frame="image", corners="inclusive", classes=3, interval=dtype is np.float32
    )
    for start in (0, 3, 6):
        chosen = images.samples[start : start + 3]
        arguments: dict[str, Any] = {"masks": [sample.mask() for sample in chosen]} if masked else {}
        metric.update(
            maps[start : start + 3],
            [sample.boxes for sample in chosen],
            [sample.label for sample in chosen],
            sizes=[sample.size for sample in chosen],
            **arguments,
        )
    assert_equal(metric.compute(), result, metric.interval)


@pytest.mark.sample(3)
@pytest.mark.parametrize("protocol", ["wsolevaluation", "exact", "zhou2016", "zhou2016:box=script"])
def test_equals_an_evaluation(
    protocol: str, tiny_model: Model, csv_data: Path, tmp_path: Path, metric_class: type
) -> None:
    options = {"dataset": "csv", "data_root": csv_data, "device": "cpu", "protocol": protocol}
    result = wsol.evaluate(tiny_model, out=tmp_path / "run", **options)
    maps = np.load(tmp_path / "run" / "maps.npy")[:, :1]
    predicted = result.predictions.query("`rank` > 0").pivot_table(index="image_id", columns="rank", values="class_id")
    images = load_dataset("csv", csv_data, "test", {})
    logits = np.zeros((len(images), 7))
    for i, sample in enumerate(images):
        logits[i, predicted.loc[sample.image_id].to_numpy(int)] = [5, 4, 3, 2, 1]
    metric = metric_class(protocol, frame="image", classes=7, interval=True)
    for chunk in (slice(0, 5), slice(5, None)):
        chosen = images.samples[chunk]
        sizes = [Image.open(sample.path).size for sample in chosen]
        metric.update(
            torch.from_numpy(maps[chunk]),
            [torch.from_numpy(sample.boxes) for sample in chosen],
            torch.tensor([sample.label for sample in chosen]),
            torch.from_numpy(logits[chunk]),
            sizes=sizes,
        )
    assert_equal(metric.compute(), result, True)


def test_classes_are_ranked_as_in_an_evaluation(tiny_model: Model) -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.integers(0, 4, (50, 7)).astype(np.float32))  # with ties
    logits[0] = torch.arange(7) * 1e-20  # distinct in single precision, equal as log probabilities
    labels = rng.integers(0, 7, 50)

    class Pass:
        images = torch.zeros(1)

    Pass.logits = logits
    classes, _, _ = rank_classes(tiny_model, [Pass()], torch.from_numpy(labels[:, None]), TOP)  # type: ignore[list-item]
    assert _ranks(logits, labels).tolist() == ranks_of(classes.numpy()).tolist()


@pytest.mark.parametrize(
    "images", [pytest.param("all", marks=pytest.mark.slow), pytest.param("few", marks=pytest.mark.sweep)]
)
def test_two_processes(metric_class: type, images: str, tmp_path: Path) -> None:
    base = "own" if metric_class.__module__ == WITHOUT_TORCHMETRICS else "torchmetrics"
    command = [sys.executable, metric_process.__file__, base, images]
    processes = [subprocess.Popen([*command, str(rank), "2", str(tmp_path)]) for rank in range(2)]
    one = metric_process.compute_in_group(metric_class, images, 0, 1, tmp_path / "group of one")
    assert [process.wait(300) for process in processes] == [0, 0]
    two, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert two == other  # in every bit
    assert one.keys() == two.keys()
    without = [name for name in one if not name.endswith(OF_INTERVALS)]
    assert {name: one[name] for name in without} == {name: two[name] for name in without}
    if images == "few":  # the second process has none
        assert one == two
        assert one["n"] == 4
        assert not {"pxap", "top1_cls_err"} & {*one}
        return
    assert one["n"] == metric_process.N
    assert {"pxap", "corloc.oracle", "max_box_acc_v2", "mean_pixel_iou", "top5_loc_err"} <= {*one}


def test_intervals_are_those_of_the_order_of_the_images() -> None:
    images = metric_process.draw_images()
    whole = wsol.LocalizationMetric(**metric_process.OPTIONS)
    metric_process.update(whole, range(metric_process.N))
    parts = wsol.LocalizationMetric(**metric_process.OPTIONS)
    for indices in ([0, 1], [2, 3, 4], range(5, metric_process.N)):
        metric_process.update(parts, indices)
    assert whole.compute() == parts.compute()
    assert whole.compute()["mean_iou.ci_low"] < whole.compute()["mean_iou"] < whole.compute()["mean_iou.ci_high"]
    assert len(images["maps"]) == whole.compute()["n"]


def test_frames_and_maps_of_all_classes() -> None:
    rng = np.random.default_rng(5)
    maps, labels = rng.normal(size=(4, 3, 6, 5)).astype(np.float32), np.array([2, 0, 1, 1])
    boxes = np.add(rng.integers(0, 50, (4, 4)), [0, 0, 51, 52])
    first = wsol.LocalizationMetric(frame="image")
    first.update(maps, boxes, labels, sizes=np.array([[112, 112]] * 4))
    second = wsol.LocalizationMetric()  # boxes scaled to 224 by hand; ints stay what they are
    second.update(torch.from_numpy(maps), torch.from_numpy(2 * boxes), torch.from_numpy(labels), np.eye(3)[labels])
    own = wsol.LocalizationMetric()
    own.update(maps[range(4), labels], [2 * box for box in boxes])
    found = own.compute()
    assert first.compute() == found
    assert {name: second.compute()[name] for name in found} == found
    assert second.compute()["top1_cls_err"] == 0


def test_life_of_a_metric(metric_class: type) -> None:
    metric = metric_class("exact", frame="image", classes=7, interval=True)
    values = metric(np.array(MAPS[:1]), BOXES[:1], LABELS[:1], LOGITS[:1], sizes=[[8, 8]])  # forward
    assert (values["n"], values["mean_iou"]) == (1, 100)
    update_by_hand(metric, [1, 2])
    running = metric.clone().compute()
    assert running["n"] == 3
    update_by_hand(metric, [3])
    other = pickle.loads(pickle.dumps(copy.deepcopy(metric)))  # noqa: S301  # its own
    result = metric.compute()
    assert result == other.compute() == metric.compute()
    with pytest.raises(InputError, match="call reset first"):
        update_by_hand(metric, [0])
    with pytest.raises(InputError, match="call reset first"):
        metric(np.array(MAPS[:1]), BOXES[:1], LABELS[:1], LOGITS[:1], sizes=[[8, 8]])
    assert metric.compute() == result
    metric.reset()
    with pytest.raises(InputError, match="no image"):
        metric.compute()
    update_by_hand(metric, [0, 1, 2, 3])
    assert metric.to("cpu").compute() == result


def test_memory_does_not_grow() -> None:
    metric = wsol.LocalizationMetric("exact", frame="image")
    update_by_hand(metric, [0, 1, 2, 3])
    size = len(pickle.dumps(metric))
    for _ in range(20):
        update_by_hand(metric, [0, 1, 2, 3])
    assert len(pickle.dumps(metric)) <= size + 100
    assert metric.compute()["n"] == 84


GOOD: dict[str, Any] = {
    "maps": torch.eye(5).repeat(2, 1, 1),
    "boxes": [[[0, 0, 100, 100]], [[5, 5, 50, 60], [1, 2, 3, 4]]],
    "labels": [0, 2],
    "logits": np.eye(3)[[0, 1]],
    "masks": np.ones((2, 224, 224)),
}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "rank 2": ({"maps": torch.eye(5)}, r"maps have the shape \(5, 5\); give"),
    "rank 6": ({"maps": torch.zeros(2, 1, 1, 1, 5, 5)}, r"maps have the shape"),
    "no array": ({"maps": "abc"}, "maps are not an array of numbers"),
    "ragged": ({"maps": [np.eye(3), np.eye(4)]}, "maps are not an array of numbers"),
    "bool": ({"maps": torch.ones(2, 5, 5, dtype=torch.bool)}, "maps hold bool; give numbers"),
    "no pixel": ({"maps": torch.zeros(2, 0, 5)}, "without a pixel"),
    "nan": ({"maps": np.stack([np.eye(5), np.full((5, 5), np.nan)])}, "image 1 of the batch has a map with values"),
    "crops": ({"maps": torch.zeros(2, 3, 10, 5, 5)}, "takes no crops"),
    "two maps": ({"maps": torch.zeros(2, 2, 5, 5)}, "but there are 3 classes"),
    "counts of boxes": ({"boxes": [[[0, 0, 9, 9]]]}, "a batch of 2 maps has 1 boxes"),
    "counts of labels": ({"labels": [1]}, "a batch of 2 maps has 1 labels"),
    "counts of logits": ({"logits": np.eye(3)}, "a batch of 2 maps has 3 logits"),
    "counts of masks": ({"masks": [np.ones((224, 224))]}, "a batch of 2 maps has 1 masks"),
    "one number": ({"labels": torch.tensor(1)}, "labels are a single value"),
    "box outside": ({"boxes": [[[0, 0, 100, 100]], [[5, 5, 300, 60]]]}, "image 1 of the batch has the box .*outside"),
    "box left": ({"boxes": [[[-2, 0, 100, 100]], [[5, 5, 30, 60]]]}, "image 0 of the batch has the box .*outside"),
    "box inverted": ({"boxes": [[[0, 0, 9, 9]], [[50, 5, 30, 60]]]}, "image 1 of the batch has the box .*inverted"),
    "box nan": ({"boxes": [[[0, 0, 9, np.nan]], [[5, 5, 30, 60]]]}, "image 0 of the batch has the box .*not finite"),
    "box of three": ({"boxes": [[[0, 0, 9]], [[5, 5, 30, 60]]]}, r"image 0 of the batch has boxes of shape \(1, 3\)"),
    "no box": ({"boxes": [np.empty((0, 4)), [[5, 5, 30, 60]]]}, "image 0 of the batch has no box"),
    "box of text": ({"boxes": ["abcd", "efgh"]}, "boxes are not an array of numbers"),
    "label beyond": ({"labels": [0, 3]}, "image 1 of the batch has the label 3; labels are from 0 to 2"),
    "label below": ({"labels": [-1, 0]}, "image 0 of the batch has the label -1"),
    "label of floats": ({"labels": [0.5, 1]}, "labels are float64"),
    "no labels": ({"labels": None}, "there are no labels"),
    "logits of rank 1": ({"logits": [1, 2]}, r"logits have the shape \(2,\); give \(n, 3\)"),
    "logits of others": ({"logits": np.eye(4)[:2]}, r"give \(n, 3\)"),
    "logits nan": ({"logits": [[0, 1, 2], [0, np.inf, 1]]}, "image 1 of the batch has logits that are not finite"),
    "mask of gray": ({"masks": np.full((2, 224, 224), 7)}, "the mask of image 0 of the batch has values other than"),
    "mask of color": ({"masks": np.ones((2, 9, 9, 3))}, r"has the shape \(9, 9, 3\); give \(height, width\)"),
    "sizes": ({"sizes": [[9, 9]] * 2}, "sizes have no effect in the frame 'input'"),
    "other parts": ({"masks": None}, "the images counted so far had masks, these have none"),
    "without logits": ({"logits": None}, "the images counted so far had logits"),
}


def test_bad_input_leaves_the_state_as_it_was(metric_class: type) -> None:
    metric = metric_class(classes=3, interval=True)
    metric.update(**GOOD)
    before = copy.deepcopy({key: getattr(metric, key) for key in ("sums", "class_sums", "all_curves", "all_ranks")})
    for name, (changes, message) in BAD.items():
        with pytest.raises(InputError, match=message) as raised:
            metric.update(**GOOD | changes)
        assert "\n" not in str(raised.value), name
        for key, value in before.items():
            now = getattr(metric, key)
            same = torch.equal(now, value) if isinstance(value, torch.Tensor) else len(now) == len(value) == 2
            assert same, (name, key)
    metric.update(**GOOD)
    assert metric.compute()["n"] == 4


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (None, "need sizes"),
        ([[8, 8, 3]] * 4, "sizes are int64 of shape"),
        ([[8.5, 8]] * 4, "sizes are float64"),
        ([[8, 8]] * 3 + [[0, 8]], r"image 3 of the batch has the size \[0, 8\]"),
        ([[8, 8]] * 2 + [[10**6, 10**6]] * 2, "image 2 of the batch has the size"),
        ([[4, 4]] * 4, "image 1 of the batch has the box .* outside the frame of 4 x 4 pixels"),
    ],
)
def test_bad_sizes(sizes: Any, message: str) -> None:
    metric = wsol.LocalizationMetric("exact", frame="image")
    with pytest.raises(InputError, match=message):
        metric.update(MAPS, BOXES, LABELS, LOGITS, sizes=sizes)
    with pytest.raises(InputError, match="no image"):
        metric.compute()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "nothing"}, "unknown protocol"),
        ({"tau": 0.12345}, "is not on the protocol's grid"),
        ({"tau": "oracle"}, "tau is 'oracle'; give a number"),
        ({"frame": "output"}, "frame is input or image"),
        ({"corners": "round"}, "corners edges, inclusive, one-based"),
        ({"classes": 0}, "classes is 0"),
        ({"deltas": (0.5, 1.5)}, "deltas are"),
        ({"protocol": "exact", "deltas": (0.5,)}, "exact does not evaluate every contour"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        wsol.LocalizationMetric(**arguments)


def test_a_protocol_that_ignores_masks_takes_from_them_which_images_show_no_object() -> None:
    without, metric, rest = (wsol.LocalizationMetric("zhou2016", tau=0.2) for _ in range(3))
    without.update(GOOD["maps"], GOOD["boxes"])
    metric.update(GOOD["maps"], GOOD["boxes"], masks=GOOD["masks"])
    assert metric.compute() == without.compute()
    metric.reset()
    boxes = [[], *GOOD["boxes"][1:]]
    with pytest.raises(InputError, match="image 0 of the batch has no box"):
        metric.update(GOOD["maps"], boxes)
    for _ in range(2):
        metric.update(GOOD["maps"], boxes, masks=[np.zeros((8, 8)), *GOOD["masks"][1:]])
        rest.update(GOOD["maps"][1:], GOOD["boxes"][1:])
    n = 2 * len(boxes)
    assert metric.compute() == rest.compute() | {"n": n, "n.objects": n - 2}


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_on_a_device(name: str) -> None:
    if not (torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available()):
        pytest.skip(f"no {name} on this machine")
    moved = wsol.LocalizationMetric(classes=3).to(name)
    tensors = {key: torch.as_tensor(GOOD[key]).float().to(name) for key in ("maps", "logits")}
    moved.update(**GOOD | tensors | {"labels": torch.tensor(GOOD["labels"], device=name)})
    here = wsol.LocalizationMetric(classes=3)
    here.update(**GOOD)
    assert moved.sums.device.type == name
    assert moved.compute() == here.compute()
