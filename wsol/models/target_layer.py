"""Search for the target layer, whose feature maps the methods use."""

import torch
from torch import fx, nn

from wsol.errors import InputError, NotFiniteError
from wsol.models.classifier import Classifier, GapClassifier
from wsol.models.graph import TracedNetwork, UntraceableError, attention_kind, split_graph, split_graph_at, trace
from wsol.models.heads.acol import ACoLNetwork
from wsol.models.hooked import find_hooked_classifier
from wsol.models.hooked_layers import find_hooked_layers
from wsol.models.layered import TracedLayers, check_distinct, list_layers, split_names
from wsol.models.linear_head import find_linear_head
from wsol.models.measure import Measurement, check_finite_scores, make_noise, measure
from wsol.models.moves import is_pooling, skip_moves, skip_slices
from wsol.models.outputs import check_graph, format_shape, select_traced_scores
from wsol.models.unwrap import check_network, unwrap
from wsol.models.zero_shot import ZeroShotClassifier
from wsol.runtime.precision import arithmetic

SIDE = 224  # of the images that most networks take
_ACOL_REASON = (
    "it would show the first of the two classifiers of ACoL alone; use --method acol, which shows both, or gradcam for "
    "the class scores, which are those of the first"
)


@arithmetic("float32")
def find_classifier(
    network: nn.Module, name: str, layer: str | None = None, side: int = SIDE, output: str | None = None
) -> Classifier:
    """Split a network at its target layer.

    The target layer is the last one with feature maps that reach the class scores: the one that the network pools
    globally before a linear layer; else the input of the pooling after the last convolution; or, where a class token
    is classified, the input of the last attention, because patches of later layers do not reach the scores. Which axis
    of an output is which follows from the operations that computed it, not from sizes.

    A network whose structure ``torch.fx`` cannot trace is run as it is: its target layer is a module, whose output is
    read and replaced by hooks during a pass.

    Args:
        network: A network in evaluation mode; the classifier shares its tensors.
        name: Name of the network in messages.
        layer: Dotted name of the target layer, as in ``named_modules``, or of several, separated by commas, in any
            order: the classifier is then a ``LayeredClassifier``. None to find it.
        side: Side of the square images that the network is measured with.
        output: Name or index of the output that holds the class scores, if the network returns several.

    Raises:
        InputError: The network cannot be run, there is no such layer, it is named twice, or its output has no feature
            maps whose places in the image are known.
    """
    network, layers = unwrap(network), split_names(layer, name)
    check_network(network, name)
    if isinstance(network, ACoLNetwork) and not layers:
        classifier = _split_network(network, name, ["features"], side, output)
        classifier.acol, classifier.unsupported_reason = network.classifiers, _ACOL_REASON
        return classifier
    classifier = _split_network(network, name, layers, side, output)
    if isinstance(network, ZeroShotClassifier):
        for each in (classifier, *list_layers(classifier)):
            each.text_features, each.text_scale = network.text_features, network.scale
    return classifier


def _split_network(network: nn.Module, name: str, layers: list[str], side: int, output: str | None) -> Classifier:
    try:
        traced = trace(network, name, side)
        check_graph(traced, side)
    except UntraceableError as error:
        if len(layers) > 1:
            return find_hooked_layers(network, name, layers, side, output, error)
        return find_hooked_classifier(network, name, layers[0] if layers else None, side, output, error)
    nodes = [traced.find_node(each) for each in layers]
    check_distinct(layers, nodes, name)
    measurement = measure(traced, side)
    notes = select_traced_scores(traced, measurement, output)
    named = dict(zip(nodes, layers, strict=True))
    classifier = _split_at(traced, measurement, named) if named else _split_at_last_map(traced, measurement)
    for each in (classifier, *list_layers(classifier)):
        each.has_fixed_size = traced.has_shapes
        each.classes = measurement.shape(traced.output_node.args[0])[1]
    classifier.notes = notes
    if not named and classifier.unsupported_reason and (single := _find_single_place(traced, measurement)) is not None:
        classifier.unsupported_reason = (
            f"the maps of {traced.names[single]} are 1 x 1 for images of {side} x {side}; use larger images or "
            "--map-size, or gradcam with the larger maps of an earlier layer"
        )
    _check_scores(classifier, traced, measurement)
    return classifier


def find_gap(network: nn.Module, name: str, side: int = SIDE) -> GapClassifier:
    """Split a network at the layer that it pools globally before at most one linear layer.

    Args:
        network: A network in evaluation mode; the classifier shares its tensors.
        name: Name of the network in messages.
        side: Side of the square images that the network is measured with.

    Raises:
        InputError: The network does not end in global pooling and at most one linear layer, or cannot be run.
    """
    classifier = find_classifier(network, name, side=side)
    if not isinstance(classifier, GapClassifier):
        reason = classifier.unsupported_reason or f"more than the maps of {classifier.layer} reaches the class scores"
        raise InputError(f"{name}: {reason}")
    return classifier


def _split_at(traced: TracedNetwork, measurement: Measurement, named: dict[fx.Node, str]) -> Classifier:
    """Split a network at named layers, whatever the order in which they are named.

    Raises:
        InputError: A layer has no feature maps.
    """
    for node, layer in named.items():
        if measurement.layout(node) is None:
            raise InputError(
                f"{traced.name}: the output of {layer} is {format_shape(measurement.shape(node))}, not feature maps or "
                "patches whose places are known; name another layer"
            )
    cuts = [node for node in traced.graph.nodes if node in named]
    layers = [_split(traced, measurement, node, named[node]) for node in cuts]
    return layers[0] if len(layers) == 1 else TracedLayers(layers, split_graph_at(traced, cuts)).eval()


def _split_at_last_map(traced: TracedNetwork, measurement: Measurement) -> Classifier:
    maps = _list_maps(traced, measurement)
    if not maps:
        raise InputError(
            f"{traced.name}: no layer outputs feature maps of several rows and columns for images of "
            f"{measurement.side} x {measurement.side}; name one"
        )
    _check_last_map(traced, measurement, maps[-1])
    for node in _list_compared_maps(traced, maps):
        classifier = _split(traced, measurement, node)
        if classifier.unsupported_reason is None:
            return classifier
    last = node = skip_moves(traced, measurement, maps[-1])
    classifier = _split(traced, measurement, last)
    if isinstance(classifier, GapClassifier):
        return classifier
    if (node := skip_slices(last, measurement.layout)) is not last:  # class tokens may be read as well
        last = node
        classifier = _split(traced, measurement, last)
    if classifier.unsupported_reason is None:
        return classifier
    if not classifier.reads_places:
        node = _find_attention_input(traced, measurement, node)
        earlier = maps[: maps.index(last)]
        while not measurement.reaches_scores(node):
            if not earlier:
                raise InputError(f"{traced.name}: the class scores depend on no feature map; name a layer")
            node = earlier.pop()
    while is_pooling(node, traced) and measurement.layout(below := node.all_input_nodes[0]) is not None:
        node = below
    return classifier if node is last else _split(traced, measurement, node)


def _split(traced: TracedNetwork, measurement: Measurement, node: fx.Node, layer: str | None = None) -> Classifier:
    layout, size = measurement.layout(node), (measurement.side, measurement.side)
    assert layout is not None  # the callers have seen it
    trunk, head = split_graph(traced, node)
    name = layer or traced.names[node]
    classifier = Classifier(trunk, head, name, layout, size)
    classifier.overwrites_images = measurement.overwrites_images
    classifier.reads_places = measurement.reaches_scores(node)
    linear = None
    if classifier.reads_places:
        linear = find_linear_head(classifier.eval(), make_noise(traced.network, classifier.size, images=1))
    if linear is None:
        classifier.unsupported_reason = (
            f"class activation maps need class scores that are linear in the mean or maximum of {name} over all "
            "places; use gradcam or another method"
        )
    elif layout.has_others or linear.is_computed or linear.is_positive or _reads_more(head, measurement):
        channels = linear.weights.shape[1] if linear.weights is not None else len(linear.bias)
        classifier.class_weights = torch.eye(channels) if linear.weights is None else linear.weights.detach()
    else:
        gap = GapClassifier(trunk, linear.to_linear(), linear.pooling, name, layout, size, linear.theta)
        gap.overwrites_images = classifier.overwrites_images
        classifier = gap
    return classifier.eval()


def _reads_more(head: fx.GraphModule, measurement: Measurement) -> bool:
    """Return whether a head reads further tensors that depend on the image."""
    tensors = {node.name for node in measurement.outputs}
    _, *extras = [node for node in head.graph.nodes if node.op == "placeholder"]
    return any(node.users and node.name in tensors for node in extras)


def _check_scores(classifier: Classifier, traced: TracedNetwork, measurement: Measurement) -> None:
    """Check that the network, split in two, computes what it computes as a whole.

    Raises:
        InputError: It does not.
        NotFiniteError: Its scores are not finite, or as a whole it computes other ones for one image than for two.
    """
    expected = measurement.rows.get(traced.output_node.all_input_nodes[0])
    if expected is None or expected.is_meta:
        return
    with torch.inference_mode(False), torch.no_grad():
        found = classifier(make_noise(traced.network, classifier.size, images=1))
    expected = expected[:1]
    if _agree(found, expected):
        return
    check_finite_scores(expected, traced.name)
    with torch.inference_mode(False), torch.no_grad():
        whole = fx.GraphModule(traced.network, traced.graph)(make_noise(traced.network, classifier.size, images=1))
    if not _agree(whole, expected):
        raise NotFiniteError(
            f"{traced.name}: the class scores of an image depend on the images beside it, as where weights are so "
            "large that rounding decides; give weights from before the training diverged"
        )
    raise InputError(f"{traced.name}: split at {classifier.layer}, it computes other class scores; name another layer")


def _agree(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return found.shape == expected.shape and bool(((found - expected).abs() <= 1e-3 * expected.abs().max()).all())


def _find_single_place(traced: TracedNetwork, measurement: Measurement) -> fx.Node | None:
    """Return the last convolution whose maps are 1 x 1 although it reads neighbors; None if there is none.

    One that is as large as its input makes them 1 x 1 on purpose, and one of 1 x 1 may follow a global pooling.
    """
    nodes: list[fx.Node] = list(traced.graph.nodes)
    for node in reversed(nodes):
        module = traced.module(node)
        if isinstance(module, nn.Conv2d) and measurement.shape(node)[2:] == (1, 1):
            given = measurement.shape(node.all_input_nodes[0])[2:]
            if max(module.kernel_size) > 1 and (given == (1, 1) or given != module.kernel_size):
                return node
    return None


def _check_last_map(traced: TracedNetwork, measurement: Measurement, last: fx.Node) -> None:
    """Check that no convolution of several rows and columns follows the last feature maps whose places are known.

    Raises:
        InputError: One does.
    """
    nodes = list(traced.graph.nodes)
    for node in nodes[nodes.index(last) + 1 :]:
        shape = measurement.shape(node)
        is_convolution = isinstance(traced.module(node), nn.Conv2d) or node.target is nn.functional.conv2d
        if is_convolution and len(shape) == 4 and min(shape[2:]) > 1:
            raise InputError(
                f"{traced.name}: where the maps of {traced.names[node]} lie in the image cannot be followed; name a "
                f"layer, such as {traced.names[last]}, the last one whose places are known"
            )


def _list_maps(traced: TracedNetwork, measurement: Measurement) -> list[fx.Node]:
    """Return the nodes with feature maps that the scores are computed from, in the order of execution."""
    to_scores = {traced.output_node}
    for node in reversed(traced.graph.nodes):
        if node in to_scores:
            to_scores.update(node.all_input_nodes)
    return [
        node
        for node in traced.graph.nodes
        if node in to_scores and node.op != "placeholder" and measurement.layout(node) is not None
    ]


_COMPARISONS = frozenset(("gt", "ge", "lt", "le"))
_MAX_COMPARED = 3


def _list_compared_maps(traced: TracedNetwork, maps: list[fx.Node]) -> list[fx.Node]:
    """Return the first few maps that are compared with something: pooling by a threshold may follow, as code."""
    compared = []
    for node in traced.graph.nodes:
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        if node.op in ("call_function", "call_method") and name in _COMPARISONS:
            compared += [each for each in node.all_input_nodes if each in maps]
    return [*dict.fromkeys(compared)][:_MAX_COMPARED]


def _find_attention_input(traced: TracedNetwork, measurement: Measurement, node: fx.Node) -> fx.Node:
    """Return the tokens that the last attention's first projection takes; the node itself if there are none."""
    attention = [n for n in traced.graph.nodes if attention_kind(n, traced.network) is not None]
    if not attention:
        return node
    walker: fx.Node = attention[-1]
    projected = False
    while walker.all_input_nodes:
        module = traced.module(walker)
        projected |= isinstance(module, (nn.Linear, nn.MultiheadAttention)) or walker.target is nn.functional.linear
        walker = walker.all_input_nodes[0]
        if projected and measurement.layout(walker) is not None:
            return walker
    return node
