"""The ``.caffemodel`` format: the protobuf messages of a file, read as layers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsol.errors import InputError
from wsol.io.paths import check_file

_MAX_LAYERS = 10_000

# Fields of each message as "name:number:type", from Caffe's caffe.proto; "*" marks repeated fields, "=" gives the
# default. Types differ from caffe.proto where the file has the same bytes: enumerations are int32, packed floats bytes
# (so that no weight becomes a Python object), strings bytes; what may be given once, or once per side, is repeated.
_MESSAGES = {
    "Shape": "dim:1:int64*",
    "Blob": "shape:7:Shape data:5:bytes* double_data:8:bytes* "
    "num:1:int32 channels:2:int32 height:3:int32 width:4:int32",
    "Transform": "scale:1:float=1 mean_value:5:float*",
    "Concat": "axis:2:int32=1 concat_dim:1:uint32=1",
    "Convolution": "num_output:1:uint32 bias_term:2:bool=true group:5:uint32=1 axis:16:int32=1 "
    "kernel_size:4:uint32* kernel_h:11:uint32* kernel_w:12:uint32* pad:3:uint32* pad_h:9:uint32* pad_w:10:uint32* "
    "stride:6:uint32* stride_h:13:uint32* stride_w:14:uint32* dilation:18:uint32*",
    "Dropout": "dropout_ratio:1:float=0.5",
    "Flatten": "axis:1:int32=1 end_axis:2:int32=-1",
    "InnerProduct": "num_output:1:uint32 bias_term:2:bool=true axis:5:int32=1 transpose:6:bool=false",
    "LRN": "local_size:1:uint32=5 alpha:2:float=1 beta:3:float=0.75 norm_region:4:int32=0 k:5:float=1",
    "Pooling": "pool:1:int32=0 global_pooling:12:bool=false round_mode:13:int32=0 "
    "kernel_size:2:uint32* kernel_h:5:uint32* kernel_w:6:uint32* pad:4:uint32* pad_h:9:uint32* pad_w:10:uint32* "
    "stride:3:uint32* stride_h:7:uint32* stride_w:8:uint32*",
    "ReLU": "negative_slope:1:float=0",
    "Layer": "name:1:bytes type:2:bytes bottom:3:bytes* top:4:bytes* blobs:7:Blob* transform_param:100:Transform "
    "concat_param:104:Concat convolution_param:106:Convolution dropout_param:108:Dropout flatten_param:135:Flatten "
    "inner_product_param:117:InnerProduct lrn_param:118:LRN pooling_param:121:Pooling relu_param:123:ReLU",
    "V1Layer": "name:4:bytes type:5:int32 bottom:2:bytes* top:3:bytes* blobs:6:Blob* transform_param:36:Transform "
    "concat_param:9:Concat convolution_param:10:Convolution dropout_param:12:Dropout "
    "inner_product_param:17:InnerProduct lrn_param:18:LRN pooling_param:19:Pooling relu_param:30:ReLU",
    "Net": "layers:2:V1Layer* layer:100:Layer*",
}

# The first generation numbers the types, from 0.
_V1_TYPES = """None Accuracy BNLL Concat Convolution Data Dropout EuclideanLoss Flatten HDF5Data HDF5Output Im2col
ImageData InfogainLoss InnerProduct LRN MultinomialLogisticLoss Pooling ReLU Sigmoid Softmax SoftmaxWithLoss Split TanH
WindowData Eltwise Power SigmoidCrossEntropyLoss HingeLoss MemoryData ArgMax Threshold DummyData Slice MVN AbsVal
Silence ContrastiveLoss Exp Deconvolution"""


@dataclass(frozen=True)
class CaffeLayer:
    """A layer of a ``.caffemodel`` file of either generation.

    Attributes:
        path: Path of the file.
        name: Name of the layer.
        kind: Type of the layer, such as ``Convolution``.
        bottoms: Names of the blobs that it reads.
        tops: Names of the blobs that it writes.
        message: Protobuf message of its settings and weights; the fields have the same names in both generations.
    """

    path: Path
    name: str
    kind: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    message: Any

    def error(self, text: str) -> InputError:
        """Return an error about this layer."""
        return InputError(f"{self.path}: layer {self.name!r:.80} of type {self.kind!r:.80} {text}")


def read_layers(path: Path) -> list[CaffeLayer]:
    """Read the layers of a ``.caffemodel`` file, in their order.

    Raises:
        InputError: The file is damaged or not a ``.caffemodel`` file, or protobuf is not installed.
    """
    net_class = build_net_class()
    from google.protobuf.message import DecodeError  # noqa: PLC0415  # an optional package

    try:
        check_file(path)
        net = net_class.FromString(path.read_bytes())
        layers = [_to_layer(path, message) for message in (*net.layers, *net.layer)]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check --weights") from error
    except (DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a .caffemodel file, or only part of one; download it again") from error
    if len(layers) > _MAX_LAYERS:
        raise InputError(f"{path} has {len(layers)} layers; only networks of up to {_MAX_LAYERS} can be read")
    if not any(layer.message.blobs for layer in layers):
        raise InputError(f"{path} is not a .caffemodel file: it has no layers with weights; check --weights")
    return layers


def build_net_class() -> Any:
    """Build the protobuf class that parses a ``.caffemodel`` file.

    Raises:
        InputError: The package protobuf is not installed.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415  # optional
    except ImportError as error:
        raise InputError("a .caffemodel file needs the package protobuf; pip install 'wsol[caffe]'") from error
    field_types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for message, fields in _MESSAGES.items():
        message_type = file.message_type.add(name=message)
        for field in fields.split():
            name, number, kind = field.split(":")
            kind, _, default = kind.partition("=")
            label = field_types.LABEL_REPEATED if kind.endswith("*") else field_types.LABEL_OPTIONAL
            kind = kind.removesuffix("*")
            descriptor = message_type.field.add(name=name, number=int(number), label=label)
            if kind in _MESSAGES:
                descriptor.type_name = f".caffe.{kind}"
            else:
                descriptor.type = getattr(field_types, f"TYPE_{kind.upper()}")
            if default:
                descriptor.default_value = default
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.Net"))


def _to_layer(path: Path, message: Any) -> CaffeLayer:
    bottoms, tops = (tuple(map(bytes.decode, blobs)) for blobs in (message.bottom, message.top))
    if isinstance(message.type, bytes):
        kind = message.type.decode()
    else:
        kind = dict(enumerate(_V1_TYPES.split())).get(message.type, f"number {message.type}")
    return CaffeLayer(path, message.name.decode(), kind, bottoms, tops, message)
