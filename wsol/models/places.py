"""The place in the image that each element of a tensor belongs to, followed through a forward pass.

Sizes do not tell which axis of a tensor runs over the image: 1,024 channels look like 32 x 32 tokens. Here every
element carries the box of the image that it belongs to, and every operation says what becomes of the boxes: moving
data moves them, a convolution divides the image among its outputs, a matrix product keeps the rows of its first factor,
and what combines elements of several places belongs to all of them.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils import _pytree as pytree

from wsol.models._place_boxes import PlaceTracker, arange, minimize


class PlaceTensor(Tensor):
    """A tensor whose elements carry the places that they belong to; operations on it compute both.

    Attributes:
        value: The tensor itself.
        ids: Ids of the boxes, float32, of as many dimensions; of size 1 where they do not depend on the dimension.
        tracker: The boxes of the ids.
    """

    value: Tensor
    ids: Tensor
    tracker: PlaceTracker
    base: "PlaceTensor | None"

    @staticmethod
    def __new__(cls, value: Tensor, ids: Tensor, tracker: PlaceTracker, base: "PlaceTensor | None" = None) -> Any:
        """Wrap a tensor."""
        wrapper: Any = torch.Tensor._make_wrapper_subclass(  # as torch's documentation does
            cls,
            value.size(),
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            layout=value.layout,
            device=value.device,
        )
        wrapper.value, wrapper.ids, wrapper.tracker, wrapper.base = value, ids, tracker, base
        return wrapper

    def without_values(self) -> "PlaceTensor":
        """Return a tensor of the same shape and places that keeps no values."""
        empty = torch.empty((), dtype=self.dtype, device="meta").expand(self.shape)
        return PlaceTensor(empty, self.ids, self.tracker)  # type: ignore[no-any-return]

    def __repr__(self) -> str:  # type: ignore[override]
        """Return the shape; printing values would run operations."""
        return f"PlaceTensor({tuple(self.shape)})"

    __torch_function__: ClassVar[Any] = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Run an operation on the values, and follow the places."""
        kwargs = kwargs or {}
        given = [each for each in pytree.tree_leaves((args, kwargs)) if isinstance(each, PlaceTensor)]
        values, named = pytree.tree_map_only(PlaceTensor, lambda each: each.value, (args, kwargs))
        result = func(*values, **named)
        operation = _Operation(func, args, kwargs, given)
        schema = func._schema
        if schema.is_mutable and schema.arguments[0].alias_info is not None and schema.arguments[0].alias_info.is_write:
            return operation.update(args[0], result)
        leaves, spec = pytree.tree_flatten(result)
        view = len(leaves) and any(each.alias_info is not None for each in schema.returns)
        base = given[0] if view else None
        outputs = zip(leaves, operation.find_places(leaves), strict=True)
        tracker = given[0].tracker
        return pytree.tree_unflatten(
            [PlaceTensor(v, ids, tracker, base) if isinstance(v, Tensor) else v for v, ids in outputs], spec
        )


def track_images(images: Tensor) -> PlaceTensor:
    """Wrap images ``(n, 3, H, W)``: every pixel belongs to its place."""
    tracker = PlaceTracker()
    count, _, height, width = images.shape
    numbers = arange(count).double()[:, None, None]
    y = arange(height + 1).double()[None, :, None] / height
    x = arange(width + 1).double()[None, None, :] / width
    parts = (numbers, numbers, y[:, :-1], y[:, 1:], x[..., :-1], x[..., 1:])
    boxes = torch.stack([part.expand(count, height, width) for part in parts], -1)
    return PlaceTensor(images, tracker.intern(boxes)[:, None], tracker)  # type: ignore[no-any-return]


def track_elements(value: Tensor, chosen: Tensor) -> PlaceTensor:
    """Wrap a tensor, some elements of which are to be followed; the rest counts as independent of the image.

    Args:
        value: Any tensor.
        chosen: Bool, of as many dimensions, broadcast to the tensor.
    """
    tracker = PlaceTracker()
    box = tracker.intern(torch.tensor([0.0, 0, 0, 1, 0, 1], dtype=torch.float64, device="cpu"))
    return PlaceTensor(value, chosen.float().cpu() * box, tracker)  # type: ignore[no-any-return]


def is_reached(result: Any, source: PlaceTensor) -> bool:
    """Return whether a result depends on the elements that are followed in ``source``."""
    found = [each for each in pytree.tree_leaves(result) if isinstance(each, PlaceTensor)]
    return source.tracker.lost or any(bool(each.ids.any()) for each in found)


class _Operation:
    """One call of an operation, by its name in torch's own table of operations."""

    def __init__(self, func: Any, args: Any, kwargs: Any, given: list[PlaceTensor]) -> None:
        self.func, self.args, self.kwargs, self.given = func, args, kwargs, given
        self.tracker = given[0].tracker
        self.name = func._schema.name.partition("::")[2]
        self.named = {each.name: value for each, value in zip(func._schema.arguments, args, strict=False)} | kwargs

    def update(self, target: Any, result: Any) -> Any:
        """Return the target of an operation that works in place, with its new places."""
        if not isinstance(target, PlaceTensor):
            self.tracker.lost = True
            return target
        (ids,) = self.find_places([result])
        changed = target.ids.shape != ids.shape or not torch.equal(target.ids, ids)
        target.value, target.ids = result, ids
        base = target.base
        while changed and base is not None:  # the written part of the base is not known
            everything = torch.cat([self._hull_all(base.ids).reshape(1), self._hull_all(ids).reshape(1)])
            base.ids = self.tracker.hull(everything, [0]).reshape((1,) * base.dim())
            base = base.base
        return target

    def find_places(self, results: list[Any]) -> list[Any]:
        """Return the ids of each result; None for what is not a tensor."""
        name = self.name.removesuffix("_") if self.name[-1:] == "_" and self.name[-2:] != "__" else self.name
        if name in _FACTORIES:
            ids: Any = [_no_places(each.dim()) for each in results]
        elif name in _MOVES:
            ids = self._move(results)
        elif name in _RULES:
            ids = [self._follow_rule(_RULES[name], each) if isinstance(each, Tensor) else None for each in results]
        elif torch.Tag.pointwise in self.func.tags or name in _POINTWISE:
            ids = [self._join_all(each) for each in results]
        else:
            ids = [None] * len(results)
        everything = None
        for i, each in enumerate(results):
            if isinstance(each, Tensor) and (ids[i] is None or ids[i].dim() != each.dim()):
                if everything is None:
                    parts = torch.cat([self._hull_all(one.ids).reshape(1) for one in self.given])
                    everything = self.tracker.hull(parts, [0])
                ids[i] = everything.reshape((1,) * each.dim())
        return ids  # type: ignore[no-any-return]

    def _hull_all(self, ids: Tensor) -> Tensor:
        return self.tracker.hull(ids, range(ids.dim()))

    def _follow_rule(self, rule: "_Rule", result: Tensor) -> Tensor | None:
        """Return the places by a rule, which looks at one or two tensors; the others reach every element."""
        ids = rule(self, result)
        if ids is None or ids.dim() != result.dim():
            return None
        for each in self.given[1:]:
            everything = self._hull_all(each.ids).reshape((1,) * ids.dim())
            ids = self.tracker.join(ids, everything)
        return ids

    def _move(self, results: list[Any]) -> list[Any]:
        """Run the operation on the ids in place of the values."""

        def replace(each: Any) -> Any:
            if isinstance(each, PlaceTensor):
                return each.ids.expand(each.shape).contiguous()
            if isinstance(each, Tensor):  # constants have no place; indices stay
                return _no_places(each.dim()).expand(each.shape) if each.is_floating_point() else each.cpu()
            return each

        others = [each for each in pytree.tree_leaves((self.args, self.kwargs)) if type(each) is Tensor]
        if any(each.is_meta and not each.is_floating_point() for each in others):
            return [None] * len(results)  # indices without values
        args, kwargs = pytree.tree_map(replace, (self.args, self.kwargs))
        kwargs = {key: value for key, value in kwargs.items() if key not in ("memory_format", "dtype", "device")}
        moved = pytree.tree_leaves(self.func(*args, **kwargs))
        return [minimize(each) for each in moved]

    def _join_all(self, result: Tensor) -> Tensor:
        parts = [one.ids.reshape((1,) * (result.dim() - one.dim()) + one.ids.shape) for one in self.given]
        return reduce(self.tracker.join, parts)

    def keep(self, result: Tensor) -> Tensor | None:
        """Return the places of the input, if the result has its shape."""
        first = self.given[0]
        return first.ids if first.shape == result.shape else None

    def replace(self, result: Tensor) -> Tensor | None:
        """Return the places of the source of a copy."""
        source = self.named["src"]
        if not isinstance(source, PlaceTensor):
            return _no_places(result.dim())
        return source.ids.reshape((1,) * (result.dim() - source.dim()) + source.ids.shape)

    def pad(self, result: Tensor) -> Tensor:
        """Return the places after padding with a constant, which has none."""
        given, pads = self.given[0], self.named["pad"]
        dims = range(result.dim() - len(pads) // 2, result.dim())
        sizes = [given.shape[dim] if dim in dims else given.ids.shape[dim] for dim in range(result.dim())]
        return minimize(functional.pad(given.ids.expand(sizes), pads))

    def reduce(self, result: Tensor) -> Tensor:
        """Return the places after a reduction over dimensions."""
        ids, dims = self.given[0].ids, self.named.get("dim", self.named.get("dims"))
        rank = self.given[0].dim()
        if self.name in ("topk", "sort", "glu") and dims is None:
            dims = -1
        chosen = [dims] if isinstance(dims, int) else list(dims or range(rank))
        chosen = [dim % rank for dim in chosen]
        ids = self.tracker.hull(ids, chosen)
        if result.dim() < rank:
            ids = ids.reshape([size for dim, size in enumerate(ids.shape) if dim not in chosen])
        return ids

    def convolve(self, result: Tensor) -> Tensor | None:
        """Return the places after a convolution: channels of a group are combined, and windows resampled."""
        images, groups = self.args[0], self.named.get("groups", 1)
        if not isinstance(images, PlaceTensor):
            return None
        ids = images.ids
        if ids.shape[1] > 1:
            parts = ids.reshape(ids.shape[0], groups, -1, *ids.shape[2:])
            parts = self.tracker.hull(parts, [2]).expand(-1, -1, result.shape[1] // groups, *ids.shape[2:])
            ids = minimize(parts.flatten(1, 2))
        return self._resample_all(ids, result)

    def pool(self, result: Tensor) -> Tensor:
        """Return the places after pooling or resizing each channel."""
        return self._resample_all(self.given[0].ids, result)

    def _resample_all(self, ids: Tensor, result: Tensor) -> Tensor:
        for dim in range(2 if result.dim() > 3 or self.name == "convolution" else 1, result.dim()):
            ids = self.tracker.resample(ids, dim, result.shape[dim])
        return ids

    def multiply(self, result: Tensor) -> Tensor | None:
        """Return the places of a matrix product: those of the rows of the first factor, or of columns of the second.

        A query attends to keys all around it, but stays at its own place; if it comes from elsewhere, what it attends
        to counts.
        """
        names = {"addmm": ("mat1", "mat2"), "baddbmm": ("batch1", "batch2")}.get(self.name, ("self", "mat2"))
        if self.name == "linear":
            names = ("input", "weight")
        rows, columns = (self.named.get(name, self.named.get("other")) for name in names)
        by_row = by_column = None
        if isinstance(rows, PlaceTensor):
            by_row = self._pad_rank(self.tracker.hull(rows.ids, [rows.dim() - 1]), result)
        if isinstance(columns, PlaceTensor):
            by_column = self._pad_rank(self.tracker.hull(columns.ids, [columns.dim() - 2]), result)
        if by_row is None or by_column is None:
            return by_column if by_row is None else by_row
        spread = self.tracker.hull(by_column, [result.dim() - 1])
        if bool((self.tracker.join(by_row, spread) == spread).all()):  # no row has a place of its own
            return self.tracker.join(by_row, by_column)
        return self.tracker.join(by_row, spread, prefer_second=True)

    def attend(self, result: Tensor) -> Tensor | None:
        """Return the places after attention in one call: those of the queries, as in ``multiply``."""
        query, value = self.args[0], self.args[2]
        if result.dim() != query.dim() or not isinstance(query, PlaceTensor):
            return None
        ids = self.tracker.hull(query.ids, [query.dim() - 1])
        if isinstance(value, PlaceTensor):
            spread = self.tracker.hull(value.ids, [value.dim() - 2, value.dim() - 1])
            ids = self.tracker.join(ids, spread, prefer_second=True)
        return ids

    @staticmethod
    def _pad_rank(ids: Tensor, result: Tensor) -> Tensor:
        return ids.reshape((1,) * (result.dim() - ids.dim()) + ids.shape)


_Rule = Callable[[_Operation, Tensor], Tensor | None]


def _rules(rule: _Rule, names: str) -> dict[str, _Rule]:
    return dict.fromkeys(names.split(), rule)


_RULES: dict[str, _Rule] = {
    **_rules(
        _Operation.keep,
        "_to_copy _softmax _log_softmax native_layer_norm native_group_norm native_batch_norm cudnn_batch_norm "
        "miopen_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_no_update "
        "batch_norm_inference native_dropout tril triu _transformer_encoder_layer_fwd _fused_rms_norm",
    ),
    **_rules(_Operation.replace, "copy"),
    **_rules(_Operation.pad, "constant_pad_nd"),
    **_rules(
        _Operation.reduce,
        "mean sum amax amin max min logsumexp var std var_mean std_mean norm linalg_vector_norm prod any all argmax "
        "argmin topk sort nansum nanmean kthvalue median mode aminmax glu",
    ),
    **_rules(_Operation.convolve, "convolution"),
    **_rules(
        _Operation.pool,
        "avg_pool2d max_pool2d max_pool2d_with_indices _adaptive_avg_pool2d adaptive_max_pool2d "
        "upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d _upsample_bilinear2d_aa "
        "_upsample_bicubic2d_aa",
    ),
    **_rules(_Operation.multiply, "mm bmm addmm baddbmm matmul linear"),
    **_rules(
        _Operation.attend,
        "_scaled_dot_product_attention_math _scaled_dot_product_flash_attention_for_cpu "
        "_scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention "
        "_scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable "
        "_scaled_dot_product_attention_math_for_mps _native_multi_head_attention",
    ),
}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Elementwise operations that torch does not tag as such.
_POINTWISE = _names("hardswish prelu _prelu_kernel log_sigmoid log_sigmoid_forward rrelu_with_noise polar complex")
_FACTORIES = _names(
    "zeros_like ones_like empty_like full_like rand_like randn_like new_zeros new_ones new_empty new_full "
    "new_empty_strided zero fill"
)
_MOVES = _names(
    "view _unsafe_view reshape permute transpose t unsqueeze squeeze expand select slice split split_with_sizes "
    "unsafe_split unsafe_split_with_sizes unbind cat stack clone contiguous alias detach roll flip rot90 index "
    "index_select gather take_along_dim repeat repeat_interleave pixel_shuffle pixel_unshuffle channel_shuffle "
    "native_channel_shuffle im2col reflection_pad2d replication_pad2d unfold index_put slice_scatter select_scatter "
    "lift_fresh movedim view_copy _reshape_alias_copy diagonal unsafe_chunk chunk narrow swapaxes"
)


def _no_places(dims: int) -> Tensor:
    return torch.zeros((1,) * dims, device="cpu")  # whatever the default device is
