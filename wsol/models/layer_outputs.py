"""The outputs of layers by name, in networks of modules and in traced ones, where a forward hook can change them."""

from torch import fx, nn

from wsol.errors import InputError


def find_layer(network: nn.Module, name: str, model: str) -> str:
    """Return the dotted name of a layer in a network.

    Args:
        network: The network.
        name: The dotted name of a module, or the end of one alone, ``layer3.0`` for ``backbone.body.layer3.0``.
        model: Name of the network in messages.

    Raises:
        InputError: There is no such layer, or several.
    """
    paths = [path for path, _ in network.named_modules() if path]
    found = [name] if name in paths else [path for path in paths if path.endswith(f".{name}")]
    if len(found) != 1:
        if found:
            raise InputError(f"{model} has several layers {name}: {', '.join(found)}; give the whole name of one")
        raise InputError(f"{model} has no layer {name!r:.80}; {_describe_known(network, name)}")
    return found[0]


def _describe_known(network: nn.Module, name: str) -> str:
    """Return which layers are inside the longest part of a name that is a layer, or the outermost ones."""
    modules = dict(network.named_modules())
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        start = ".".join(parts[:length])
        inside = [
            child for path, module in modules.items() if _ends_with(path, start) for child, _ in module.named_children()
        ]
        if inside:
            return f"inside {start} are {', '.join(f'{start}.{child}' for child in dict.fromkeys(inside))}"
    features = next((module for module in modules.values() if isinstance(module, fx.GraphModule)), network)
    children = ", ".join(child for child, _ in features.named_children())
    return f"it has {children}, and layers inside them are named with a dot"


def _ends_with(path: str, name: str) -> bool:
    return f".{path}".endswith(f".{name}")


def expose_output(network: nn.Module, path: str, model: str) -> nn.Module:
    """Return a module whose output in training mode is that of a layer, so that a forward hook can change it.

    That is the layer itself. Inside a graph, such as the features of ``resnet18-gap``, the layer may be a mere name of
    nodes that call its parts; it is then an identity, without parameters or buffers, that is inserted behind the last
    of these nodes. A graph with a variant for evaluation keeps that as it is.

    Args:
        network: The network, which may be changed in place.
        path: The dotted name of the layer.
        model: Name of the network in messages.

    Raises:
        InputError: The graph does not say what the output of the layer is.
    """
    names = path.split(".")
    parents = [".".join(names[:depth]) for depth in range(len(names), -1, -1)]
    graph_path = next((each for each in parents if isinstance(network.get_submodule(each), fx.GraphModule)), None)
    if graph_path is None:
        layer = network.get_submodule(path)
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # several processes on GPUs replace it, without hooks
            raise InputError(f"{path} of {model} is a batch normalization; name the layer behind or around it")
        return layer
    module = network.get_submodule(graph_path)
    assert isinstance(module, fx.GraphModule)
    graph = getattr(module, "train_graph", module.graph)
    name = path.removeprefix(graph_path).removeprefix(".")
    nodes = _find_nodes(graph, name)
    if not nodes:
        raise InputError(
            f"{model} has a graph that does not say where {path} is called in training; name another layer"
        )
    identity = f"output_of_{name.replace('.', '_')}"
    module.add_module(identity, nn.Identity())
    with graph.inserting_after(nodes[-1]):
        inserted = graph.call_module(identity)
    inserted.meta = dict(nodes[-1].meta)
    nodes[-1].replace_all_uses_with(inserted)
    inserted.args = (nodes[-1],)
    module.recompile()
    return module.get_submodule(identity)


def _find_nodes(graph: fx.Graph, layer: str) -> list[fx.Node]:
    """Return the nodes of a layer, in order: those whose ``meta`` says so, or the calls of a module that is a leaf."""
    if not layer:  # the whole graph, whose own hooks a copy of it would lose
        return [node for node in graph.nodes if node.op != "output"]
    inside = [node for node in graph.nodes if f"{node.meta.get('layer', '')}.".startswith(f"{layer}.")]
    return inside or [node for node in graph.nodes if node.op == "call_module" and node.target == layer]
