"""The tokens of a vision transformer: which are patches, and which the class scores are read from."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from wsol.models import Classifier, GapClassifier
from wsol.models.graph import attention_kind
from wsol.models.layout import Layout, find_layout
from wsol.models.measure import is_read, make_noise
from wsol.models.moves import skip_slices
from wsol.models.places import PlaceTensor, track_images


@dataclass(frozen=True)
class Readout:
    """The last tokens of a network, and those that the class scores are read from.

    Attributes:
        node: Node of the network's head that outputs the tokens; None where the head pools the target layer.
        layout: Layout of the tokens.
        read: Positions of the tokens that reach the class scores, ascending.
    """

    node: fx.Node | None
    layout: Layout
    read: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return self.layout.axes[0]

    def to_maps(self, matrix: Tensor) -> Tensor:
        """Return, as maps, what the tokens that are read have for every patch, averaged over these tokens.

        Args:
            matrix: ``(n, ..., tokens, tokens)``.

        Returns:
            ``(n, ..., h, w)``.
        """
        row = matrix[..., self.read[0], :] if len(self.read) == 1 else matrix[..., list(self.read), :].mean(-2)
        assert self.layout.places is not None  # tokens have positions
        patches = row[..., self.layout.places.to(row.device)]
        return patches.reshape(*row.shape[:-1], *self.layout.grid)


def find_readout(network: Classifier, size: tuple[int, int]) -> Readout | None:
    """Find the last tokens of a network, and the ones among them that it classifies.

    A network that averages its patches classifies all of them; one with a class token classifies that, wherever it
    stands among the tokens and however it is taken out of them.

    Args:
        network: The network.
        size: Height and width of the images.

    Returns:
        The tokens; None if the last feature maps are not tokens in the order in which they last attend to each other,
        or the network cannot be traced.
    """
    found = _FOUND.setdefault(network, {})
    if size not in found:
        with torch.inference_mode(False), torch.no_grad():
            found[size] = _find_readout(network, make_noise(network, size))
    return found[size]


def find_class_token(network: Classifier, size: tuple[int, int]) -> Readout | None:
    """Find the class token of a network that classifies nothing but maps of its patches, as TS-CAM trains it.

    Args:
        network: The network.
        size: Height and width of the images.

    Returns:
        The tokens that enter the last attention, with the first one that is no patch as the only one that is read; None
        if the scores are not the pooled maps of a trunk with attention and such a token.
    """
    if not isinstance(network, GapClassifier) or network.linear is not None:
        return None
    found = _CLASS_TOKENS.setdefault(network, {})
    if size not in found:
        with torch.inference_mode(False), torch.no_grad():
            found[size] = _find_class_token(network, make_noise(network, size))
    return found[size]


def _find_class_token(network: Classifier, images: Tensor) -> Readout | None:
    if not isinstance(network.trunk, fx.GraphModule):
        return None
    trunk = LayoutRecorder(network.trunk, len(images))
    trunk.run(track_images(images))
    layout = _find_attended([trunk])
    if layout is None or len(layout.axes) != 1 or layout.others is None or not layout.has_others:
        return None
    return Readout(None, layout, (int(layout.others[0]),))


_Found = WeakKeyDictionary[nn.Module, dict[tuple[int, int], Readout | None]]
_FOUND: _Found = WeakKeyDictionary()
_CLASS_TOKENS: _Found = WeakKeyDictionary()


def _find_readout(network: Classifier, images: Tensor) -> Readout | None:
    if not isinstance(network.trunk, fx.GraphModule):
        return None
    trunk = LayoutRecorder(network.trunk, len(images))
    outputs = trunk.run(track_images(images))
    parts = [trunk]
    if isinstance(network, GapClassifier):
        (end,) = next(iter(reversed(network.trunk.graph.nodes))).all_input_nodes[:1]
        layout = trunk.layouts.get(skip_slices(end, trunk.layouts.get))
        readout = None if layout is None else Readout(None, layout, _list_places(layout))
    elif isinstance(network.head, fx.GraphModule):
        head = LayoutRecorder(network.head, len(images))
        head.run(*outputs)
        parts.append(head)
        readout = _find_read_tokens(network, head, images)
    else:
        return None
    attended = _find_attended(parts)
    if readout is None or attended is None or not _has_same_order(readout.layout, attended):
        return None
    return readout


def _find_read_tokens(network: Classifier, head: "LayoutRecorder", images: Tensor) -> Readout | None:
    node = skip_slices(list(head.layouts)[-1], head.layouts.get)
    layout = head.layouts[node]
    inputs, marked = network.trunk.forward(images.clone()), layout.mark_places()
    chosen = torch.zeros_like(marked)
    read = [*_list_places(layout)] if is_read(head.graph_module, node, marked, *inputs) else []
    for each in layout.others.tolist() if layout.others is not None else []:
        chosen.zero_().view(-1)[each] = True
        if is_read(head.graph_module, node, chosen, *inputs):
            read = [*read, each]
    return Readout(node, layout, tuple(sorted(read))) if read else None


def _list_places(layout: Layout) -> tuple[int, ...]:
    positions: list[int] = layout.mark_places().flatten().nonzero().flatten().tolist()
    return tuple(positions)


def _find_attended(parts: "list[LayoutRecorder]") -> Layout | None:
    """Return the layout of the tokens that enter the last attention whose queries are tokens; None if there is none."""
    for part in reversed(parts):
        for node in reversed(part.graph_module.graph.nodes):
            if attention_kind(node, part.graph_module) is None:
                continue
            walker = node
            while walker.all_input_nodes:
                walker = walker.all_input_nodes[0]
                if walker in part.layouts:
                    return part.layouts[walker]
    return None


def _has_same_order(one: Layout, other: Layout) -> bool:
    """Return whether two layouts are of tokens, with the same places at the same positions."""
    if len(one.axes) != 1 or one.axes != other.axes or one.places is None or other.places is None:
        return False
    return torch.equal(one.places, other.places)


class LayoutRecorder(fx.Interpreter):
    """Interpreter that keeps which results depend on the places of tracked images, and their layouts.

    Attributes:
        graph_module: What it runs.
        images: Number of images.
        tracked: Nodes whose results depend on places.
        layouts: Layouts of those with feature maps, in the order of execution.
    """

    def __init__(self, module: fx.GraphModule, images: int) -> None:
        super().__init__(module)
        self.graph_module, self.images = module, images
        self.tracked: set[fx.Node] = set()
        self.layouts: dict[fx.Node, Layout] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if n.op == "output":
            return result
        if any(isinstance(each, PlaceTensor) for each in pytree.tree_leaves(result)):
            self.tracked.add(n)
        if (layout := find_layout(result, self.images)) is not None:
            self.layouts[n] = layout
        return result
