"""The result of a measurement: metrics with intervals, per image, and as curves; and the files that hold it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.errors import InputError
from wsol.io.arrays import read_json
from wsol.io.atomic import atomic_write, ensure_dir, refuse_foreign_files
from wsol.io.display import list_first
from wsol.metrics.bootstrap import intervals, resampled_means
from wsol.metrics.intervals import wilson_ends
from wsol.perturbation.scores import ImageScores, step_counts, summarize_image
from wsol.perturbation.settings import PERCENTILES, Settings
from wsol.runs.metadata import package_versions

TITLES = {
    "deletion": "deletion (lower is better)",
    "insertion": "insertion (higher is better)",
    "average_drop": "average drop (lower is better)",
    "increase": "increase (higher is better)",
    "road": "ROAD (higher is better)",
}
_SHARES = ("increase",)
_FILES = ("metrics.csv", "images.csv", "curves.csv", "faithfulness.json")


@dataclass(frozen=True)
class ImageResult:
    """Values of one image.

    Attributes:
        image_id: Its id.
        label: Its ground-truth class.
        class_id: The class that was measured.
        is_constant: Whether its map is constant, so that pixels are changed in raster order.
        scores: The probabilities.
    """

    image_id: str
    label: int
    class_id: int
    is_constant: bool
    scores: ImageScores


@dataclass(frozen=True)
class Cost:
    """Cost of a measurement.

    Attributes:
        seconds: Wall time of images, maps, imputation and forward passes.
        forwards_per_image: Images that passed through the network, for each image that was measured.
        device: Device of the network.
    """

    seconds: float
    forwards_per_image: float
    device: str


@dataclass(frozen=True)
class Faithfulness:
    """The result of ``measure_faithfulness``.

    Attributes:
        signature: Everything that decides a number, in one line.
        metrics: metric, value (percent), ci_low, ci_high, n.
        images: image_id, label, class_id, probability, and the metrics of each image as fractions.
        curves: curve, removed (share of the pixels), probability: means over images. ``insertion`` has the share of
            pixels that are still blurred.
        skipped: Reason by image id of the images that are left out.
        notes: What deserves a second look, one sentence each.
        cost: What it took.
    """

    signature: str
    metrics: pd.DataFrame
    images: pd.DataFrame = field(repr=False)
    curves: pd.DataFrame = field(repr=False)
    skipped: Mapping[str, str]
    notes: Sequence[str]
    cost: Cost

    def format(self) -> str:
        """Format the result for the terminal."""
        n = len(self.images)
        lines = [self.signature, *self.notes]
        if self.skipped:
            lines.append(f"{len(self.skipped)} unreadable images are NOT in these numbers")
        has_intervals = not self.metrics["ci_low"].isna().all()
        lines += ["", f"{'percent':<32}" + ("[95 %]" if has_intervals else "")]
        for row in self.metrics.to_dict("records"):
            interval = f" [{row['ci_low']:.1f}, {row['ci_high']:.1f}]" if has_intervals else ""
            lines.append(f"{TITLES[row['metric']]:<32}{row['value']:.3f}{interval}")
        cost = self.cost
        speed = f"{n / cost.seconds:.2f} images/s on {cost.device}"
        passes = f"{cost.forwards_per_image:g} forward passes per image"
        return "\n".join([*lines, "", f"{n} images, {passes}, {cost.seconds:.1f} s, {speed}"])


def summarize(
    signature: str,
    settings: Settings,
    rows: Sequence[ImageResult],
    skipped: Mapping[str, str],
    notes: Sequence[str],
    cost: Cost,
    bootstrap: int,
) -> Faithfulness:
    """Compute the tables; arguments as the attributes of ``Faithfulness``.

    Args:
        signature: The signature.
        settings: What was measured.
        rows: The images, at least one.
        skipped: Images that were left out.
        notes: Notes.
        cost: The cost.
        bootstrap: 0 for no intervals.
    """
    by_image = pd.DataFrame([summarize_image(each.scores) for each in rows])
    metrics = []
    for name in by_image:
        values = by_image[name].to_numpy(np.float64)
        ends = _find_ends(str(name), values) if bootstrap else np.full(2, np.nan)
        metrics.append([name, 100 * values.mean(), *(100 * ends), len(values)])
    facts = pd.DataFrame(
        {
            "image_id": [each.image_id for each in rows],
            "label": [each.label for each in rows],
            "class_id": [each.class_id for each in rows],
            "probability": [each.scores.original for each in rows],
        }
    )
    constant = [each.image_id for each in rows if each.is_constant]
    more = [f"{len(constant)} of {len(rows)} score maps are constant: {list_first(constant)}"] if constant else []
    return Faithfulness(
        signature,
        pd.DataFrame(metrics, columns=["metric", "value", "ci_low", "ci_high", "n"]),
        pd.concat([facts, by_image], axis=1),
        _average_curves(rows, settings),
        skipped,
        [*dict.fromkeys([*notes, *more])],
        cost,
    )


def _find_ends(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 95 % interval ``(2,)``: Wilson's of a share of images, percentiles of the bootstrap of other means."""
    if name in _SHARES:
        return wilson_ends(values.mean(), len(values))
    return intervals(resampled_means(values[:, None]))[:, 0]


def _average_curves(rows: Sequence[ImageResult], settings: Settings) -> pd.DataFrame:
    scores, parts = [each.scores for each in rows], []
    for name in ("deletion", "insertion"):
        curves = [curve for each in scores if (curve := getattr(each, name)) is not None]
        if curves:
            shares = step_counts(settings.steps, settings.steps) / settings.steps
            removed = shares if name == "deletion" else 1 - shares
            parts.append(pd.DataFrame({"curve": name, "removed": removed, "probability": np.mean(curves, axis=0)}))
    road = [each.road for each in scores if each.road is not None]
    if road:
        removed = 1 - np.array(PERCENTILES) / 100
        for name, probabilities in zip(("road most first", "road least first"), np.mean(road, axis=0), strict=True):
            parts.append(pd.DataFrame({"curve": name, "removed": removed, "probability": probabilities}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["curve", "removed", "probability"])


def claim_measurement(folder: Path, signature: str) -> None:
    """Create the folder of a measurement, or accept one that holds the same.

    Raises:
        InputError: The folder holds another measurement, or something else.
    """
    ensure_dir(folder)
    refuse_foreign_files(folder, _FILES, "a measurement")
    known = folder / "faithfulness.json"
    if known.is_file():
        try:
            stored = read_json(known)["request"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{known} cannot be read ({error!r}); give another --out or remove the folder") from error
        if stored != signature:
            raise InputError(f"{folder} holds another measurement ({stored}); give another --out or remove it")


def write_measurement(result: Faithfulness, folder: Path, request: str) -> None:
    """Write the files of a measurement, ``faithfulness.json`` last.

    Args:
        result: The result.
        folder: A claimed folder.
        request: Signature that was known before the measurement.
    """
    for name in ("metrics", "images", "curves"):
        table: pd.DataFrame = getattr(result, name)
        with atomic_write(folder / f"{name}.csv") as path:
            table.assign(signature=result.signature).to_csv(path, index=False, lineterminator="\n")
    facts = {
        "signature": result.signature,
        "request": request,
        "metrics": json.loads(result.metrics.to_json(orient="records", double_precision=15)),
        "skipped": dict(result.skipped),
        "notes": [*result.notes],
        "cost": asdict(result.cost),
        "versions": package_versions(),
    }
    with atomic_write(folder / "faithfulness.json") as path:
        path.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
