"""Sizes as ONNX declares them."""

import onnx


def named_sizes(declared: onnx.ValueInfoProto) -> list[str | int]:
    """With the names of those that are free."""
    return [one.dim_param or one.dim_value for one in declared.type.tensor_type.shape.dim]


def sizes(declared: onnx.ValueInfoProto) -> list[int]:
    """With -1 for those that are free, as TensorRT has it."""
    return [-1 if isinstance(one, str) else one for one in named_sizes(declared)]
