"""Tracing of networks whose code looks at the shapes of its tensors, as those of transformers do."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.models.feature_extraction import NodePathTracer

_IMAGES = 3  # a number that no network's own sizes are, so that a graph that has it built in fails for other batches


class ShapeTracer(NodePathTracer):  # type: ignore[misc]  # torchvision ships no type information
    """Tracer that knows the shapes of all tensors for square images of one side.

    The code of a network sees numbers where it asks for a shape, so that it may compare them, and number format and
    device of every tensor; only the number of images, the first axis of what depends on the images, stays symbolic.

    Args:
        side: Side of the images.
        like: A tensor of the number format and on the device of the images.
    """

    def __init__(self, side: int, like: Tensor) -> None:
        super().__init__()
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._images = like.new_empty(_IMAGES, 3, side, side, device="meta" if like.is_meta else like.device)
        self._computing = False
        self._first: fx.Node | None = None

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """Return the function to trace and its arguments: the images alone, so that others keep their defaults."""
        return root_fn, [self.root, self.create_proxy("placeholder", "images", (), {})]

    def proxy(self, node: fx.Node) -> "_ShapedProxy":
        """Return the stand-in of a node's output."""
        return _ShapedProxy(node, self)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **named: Any) -> fx.Proxy:
        """Add a node to the graph and compute the shape of its output."""
        proxy: fx.Proxy = super().create_proxy(kind, target, args, kwargs, *more, **named)
        node = proxy.node
        if kind == "placeholder" and self._first is None:
            self._first = node
            with self._mode:
                node.meta["shaped"] = self._mode.from_tensor(self._images)
            node.meta["of_images"] = True
        elif kind != "output":
            node.meta["shaped"] = self._compute(node)
            node.meta["of_images"] = any(each.meta.get("of_images") for each in node.all_input_nodes)
        return proxy

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Trace the call of a module, or compute it."""
        return forward(*args, **kwargs) if self._computing else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Return an attribute of a module, or the stand-in of a parameter."""
        return attr_val if self._computing else super().getattr(attr, attr_val, parameter_proxy_cache)

    def _compute(self, node: fx.Node) -> Any:
        """Return the output of a node, of tensors without values."""
        args, kwargs = fx.map_arg((node.args, node.kwargs), self._find_output)
        self._computing = True
        try:
            with self._mode, torch.no_grad():
                if node.op == "get_attr":
                    return self._find_output(node)
                if node.op == "call_module":
                    return self.root.get_submodule(str(node.target))(*args, **kwargs)
                if node.op == "call_method":
                    return getattr(args[0], str(node.target))(*args[1:], **kwargs)
                return node.target(*args, **kwargs) if callable(node.target) else None
        finally:
            self._computing = False

    def _find_output(self, node: fx.Node) -> Any:
        """Return the output of a node; that of a buffer or constant, which has no proxy, is the tensor itself."""
        if "shaped" not in node.meta:
            module, _, name = str(node.target).rpartition(".")
            node.meta["shaped"] = self._mode.from_tensor(getattr(self.root.get_submodule(module), name))
        return node.meta["shaped"]


class _ShapedProxy(fx.Proxy):
    """A stand-in whose shape, number format and device are known."""

    def __getattr__(self, k: str) -> Any:
        value = self.node.meta.get("shaped")
        if not isinstance(value, Tensor):
            return super().__getattr__(k)
        if k == "shape":
            return self._shape(value)
        if k == "size":
            return lambda dim=None: self._shape(value) if dim is None else self._shape(value)[dim]
        if k in ("dtype", "device", "ndim", "is_cuda", "layout"):
            return getattr(value, k)
        if k in ("dim", "ndimension", "is_floating_point", "is_complex"):
            return getattr(value, k)
        return super().__getattr__(k)

    def _shape(self, value: Tensor) -> tuple[Any, ...]:
        shape = tuple(value.shape)
        if not shape or not self.node.meta["of_images"]:
            return shape
        symbolic: Any = super().__getattr__("shape")
        return (symbolic[0], *shape[1:])
