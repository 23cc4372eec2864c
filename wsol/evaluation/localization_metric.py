"""``wsol.LocalizationMetric``: the metrics of localization in a loop of one's own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsol.datasets.base import TO_EDGES, Corners
from wsol.errors import InputError
from wsol.evaluation._metric_batch import Array, BatchReader, Frame, example_stats
from wsol.metrics.base import CURVES
from wsol.metrics.localization import DELTAS, metrics_at
from wsol.metrics.streaming import MetricValue, StreamingMetrics, image_counts
from wsol.metrics.summary import resample_metrics
from wsol.metrics.tau import DEFAULT_TAU, check_tau
from wsol.protocols import find_protocol

if TYPE_CHECKING:
    from wsol.evaluation._metric_base import Metric
else:
    try:
        from torchmetrics import Metric
    except ImportError:
        from wsol.evaluation._metric_base import Metric

_ARRAYS = (*CURVES, "pixels", "peaks", "objects")


class LocalizationMetric(Metric):
    """Localization metrics of the images that a training or validation loop hands over, batch by batch.

    It has the interface of torchmetrics, and is a ``torchmetrics.Metric`` where that package is installed. ``update``
    counts a batch, ``compute`` returns the metrics of all images so far, in a process group of all processes together,
    and ``reset`` starts over. The state is a vector of sums of integers, so it does not grow with the number of images,
    and the result depends neither on their order nor on the number of processes. The numbers are those of
    ``wsol.score`` with ``raw`` on the same maps.

    The box of an image is that of its ground-truth class's map; top-1 localization is correct if it is a hit and the
    class is the first by logits (Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015).

    Args:
        protocol: Registered name, or one with settings such as ``wsolevaluation:step=0.01``.
        deltas: IoUs of MaxBoxAccV2, each a metric of its own; for protocols that evaluate every contour. The IoU of all
            other metrics is the setting ``delta`` of the protocol.
        tau: Threshold of the boxes, on the grid of the protocol.
        frame: Coordinates of boxes and masks. ``input``: pixels of the square that the protocol resizes images to,
            224 x 224 for ``wsolevaluation``, ``tscam`` and ``exact`` and 256 x 256 for ``zhou2016`` and ``crop224``
            unless a setting says otherwise. ``image``: pixels of the original images, whose ``sizes`` every ``update``
            gets.
        corners: Convention of the corners of boxes: ``edges``, ``inclusive`` or ``one-based``.
        classes: Number of classes, for metrics by class (CorLoc); without it they are left out.
        interval: Whether the statistics of every image are kept for 95 % intervals: 8 kB per image at 1,000 thresholds,
            24 kB with masks.
        kwargs: Arguments of ``torchmetrics.Metric``, where that package is installed.

    Raises:
        InputError: An argument cannot be used.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    sums: Tensor
    class_sums: Tensor

    def __init__(
        self,
        protocol: str = "wsolevaluation",
        deltas: Sequence[float] = DELTAS,
        *,
        tau: float = DEFAULT_TAU,
        frame: Frame = "input",
        corners: Corners = "edges",
        classes: int | None = None,
        interval: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(tau, str):
            raise InputError(f"tau is {tau!r}; give a number, values at the best tau are computed anyway")
        if frame not in ("input", "image") or corners not in TO_EDGES:
            raise InputError(f"frame is input or image, corners {', '.join(TO_EDGES)}; not {frame!r} and {corners!r}")
        if classes is not None and classes < 1:
            raise InputError(f"classes is {classes}; give 1 or more, or leave it out")
        self.protocol = find_protocol(protocol).including(tau)
        _check_deltas(deltas, self.protocol.uses_all_contours, protocol)
        fixed = check_tau(tau, self.protocol.taus)
        assert not isinstance(fixed, str)
        self.tau, self.interval = fixed, interval
        self._reader = BatchReader(self.protocol, frame, corners, classes)
        example = example_stats(self.protocol)
        self._metrics = StreamingMetrics(metrics_at(deltas), example, self.protocol.taus, fixed, classes)
        self._is_finished = False
        self.add_state("sums", torch.zeros(self._metrics.size, dtype=torch.int64), dist_reduce_fx="sum")
        shape = (classes or 0, self._metrics.class_size)
        self.add_state("class_sums", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        arrays = {name: getattr(example, name) for name in (*_ARRAYS, "labels", "ranks") if interval}
        self._kept = {name: array[:0] for name, array in arrays.items() if array is not None}
        for name in self._kept:
            self.add_state(f"all_{name}", [], dist_reduce_fx="cat")
        self._begin_lists()

    def update(
        self,
        maps: Array,
        boxes: Array,
        labels: Array | None = None,
        logits: Array | None = None,
        *,
        masks: Array | None = None,
        sizes: Array | None = None,
    ) -> None:
        """Count a batch of ``n`` images; tensors on any device, or arrays. Without images it does nothing.

        Args:
            maps: Raw score maps of any size and range, of whole images, or of the crop of ``crop224``: ``(n, h, w)`` or
                ``(n, 1, h, w)``, those of the ground-truth classes, or ``(n, classes, h, w)``, of which those are
                taken. ``(n, k, crops, h, w)`` are maps of the crops of a protocol that shows crops to the network. Maps
                in double precision are scored as such.
            boxes: Ground truth of each image, ``(g, 4)`` or a single box ``(4,)``: x0, y0, x1, y1. ``(0, 4)`` and an
                empty mask are an image that shows no object: metrics of pixels and of classes alone count it.
            labels: Integers ``(n,)``, the classes.
            logits: ``(n, classes)``, or any scores that rank the classes; ties go to the smaller class index. Without
                them, metrics of predicted classes are left out; a protocol with one box for all predictions
                (``crop224``) needs maps of all classes too for top-5 localization.
            masks: The object in each image, ``(height, width)`` of bool or of 0 and 1, or a ``wsol.datasets.Mask``.
                Without them, metrics of pixels are left out. A protocol that ignores masks takes from them only that an
                image without a box shows no object.
            sizes: Integers ``(n, 2)``, width and height of the original images; for ``frame="image"``.

        Raises:
            InputError: An argument cannot be used, other images had logits or masks and these have not or the other way
                round, or ``compute`` was called before and ``reset`` was not. The state is as before.
        """
        if self._is_finished:
            raise InputError(
                "these images would be added to those that compute has finished; call reset first, or compute a clone "
                "to continue afterwards"
            )
        batch = self._reader.read(maps, boxes, labels, logits, masks, sizes)
        if batch is None:
            return
        has_guesses = not self.protocol.one_box or self.protocol.agnostic or batch.firsts is not None
        has_masks = masks is not None and self.protocol.uses_masks
        self._metrics.check_parts(self.sums[:4].cpu().numpy(), logits is not None, has_masks, has_guesses)
        stats = batch.stats(self.protocol)
        sums = self._metrics.sums(stats)
        shown = np.ones(len(stats), bool) if stats.objects is None else stats.objects
        all_arrays = {name: shown if name == "objects" else getattr(stats, name) for name in self._kept}
        kept = {name: array for name, array in all_arrays.items() if array is not None}
        if len(self.class_sums):
            rows = torch.from_numpy(self._metrics.class_rows(stats)).to(self.device)
            self.class_sums.index_add_(0, torch.from_numpy(stats.labels).to(self.device), rows)
        self.sums = self.sums + torch.from_numpy(sums).to(self.device)
        for name, array in kept.items():
            getattr(self, f"all_{name}").append(_flat_tensor(array).to(self.device))

    def compute(self) -> dict[str, float]:
        """Return the metrics of all images, in percent.

        Returns:
            Values by the names of the metrics: those with a threshold at ``tau``, and at their best one as
            ``NAME.oracle``; those that are only defined at the best one (``max_box_acc``) by their name. The best
            threshold itself is ``NAME.oracle.tau`` or ``NAME.tau``, in [0, 1]. With ``interval``, ``.ci_low`` and
            ``.ci_high`` follow, and ``.optimism`` of values at the best threshold. ``n`` is the number of images;
            ``n.objects`` that of the images that show an object, if it is another one.

        Raises:
            InputError: There is no image, or some have logits or masks and others have not.
        """
        values = self._list_values(self.sums, self.class_sums)
        self._is_finished = True
        out = _flatten(values, self.sums)
        if self.interval:
            out |= self._list_intervals(values)
        return out

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Count a batch as ``update`` does, and return its own metrics, without intervals."""
        sums, class_sums = self.sums, self.class_sums.clone()
        self.update(*args, **kwargs)
        sums, class_sums = self.sums - sums, self.class_sums - class_sums
        return _flatten(self._list_values(sums, class_sums), sums) if int(sums[0]) else {}

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self._begin_lists()
        self._is_finished = False

    def _begin_lists(self) -> None:
        """Begin each list by an empty tensor: a process without images exchanges these with the others."""
        for name, empty in self._kept.items():
            getattr(self, f"all_{name}").append(_flat_tensor(empty).to(self.device))

    def _list_values(self, sums: Tensor, class_sums: Tensor) -> list[MetricValue]:
        by_class = class_sums.cpu().numpy() if len(class_sums) else None
        return [*self._metrics.values(sums.cpu().numpy(), by_class)]

    def _list_intervals(self, values: Sequence[MetricValue]) -> dict[str, float]:
        arrays: dict[str, NDArray[Any]] = {}
        for name, empty in self._kept.items():
            state = getattr(self, f"all_{name}")
            flat = state if isinstance(state, Tensor) else torch.cat([part.cpu() for part in state])
            if len(flat):  # otherwise the images have none
                arrays[name] = flat.cpu().numpy().astype(empty.dtype).reshape(-1, *empty.shape[1:])
        if arrays["objects"].all():
            del arrays["objects"]
        stats = self.protocol.make_stats(**arrays)
        metrics = {value.metric.name: value.metric for value in values}.values()
        resampled = resample_metrics(stats, self.protocol.taus, self.tau, metrics=metrics)
        by_rule = {(each.metric.name, each.rule): each for each in resampled}
        out: dict[str, float] = {}
        for value in values:
            found = by_rule[value.metric.name, value.rule]
            out |= {
                f"{value.name}.ci_low": 100 * found.interval.low,
                f"{value.name}.ci_high": 100 * found.interval.high,
            }
            if value.rule == "oracle":
                out[f"{value.name}.optimism"] = 100 * found.optimism
        return out


def _flatten(values: Sequence[MetricValue], sums: Tensor) -> dict[str, float]:
    out = {value.name: 100 * value.value for value in values}
    taus = {f"{value.name}.tau": value.tau for value in values if value.rule == "oracle" and not np.isnan(value.tau)}
    counts = image_counts(sums.cpu().numpy())
    return out | taus | {name: float(count) for name, count in counts.items()}


def _flat_tensor(array: NDArray[Any]) -> Tensor:
    """Return a copy with one axis, integers as int64: not every backend exchanges others."""
    return torch.from_numpy(array.flatten() if array.dtype.kind == "f" else array.flatten().astype(np.int64))


def _check_deltas(deltas: Sequence[float], are_used: bool, protocol: str) -> None:
    if not are_used and tuple(deltas) != DELTAS:
        raise InputError(f"{protocol} does not evaluate every contour; leave out deltas, or set delta of the protocol")
    if not all(0 < delta <= 1 for delta in deltas):
        raise InputError(f"deltas are {list(deltas)}; give IoUs above 0 and up to 1")
