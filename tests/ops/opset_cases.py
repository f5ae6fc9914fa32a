"""Cases of test_opsets.py: for each operator with several versions since opset 7, its forms and the opsets that have them."""

import dataclasses

import numpy as np
from onnx import TensorProto, helper

NEWEST = 10**6
generator = np.random.default_rng(17)


@dataclasses.dataclass
class Const:
    """An input that is an initializer."""
    array: np.ndarray


@dataclasses.dataclass
class Case:
    """One node; inputs are arrays, Const, or None for one that is left out."""
    op: str
    inputs: list
    first: int
    last: int
    attributes: dict
    outputs: int

    def __str__(self):
        shapes = [None if i is None else list((i.array if isinstance(i, Const) else i).shape) for i in self.inputs]
        told = {name: value for name, value in self.attributes.items() if not hasattr(value, "SerializeToString")}
        return f"{self.op} {shapes} {told}"


CASES = []


def add(op, *inputs, first=7, last=NEWEST, outputs=1, **attributes):
    CASES.append(Case(op, list(inputs), first, last, attributes, outputs))


def real(*shape, dtype=np.float32):
    return generator.standard_normal(shape).astype(dtype)


def whole(low, high, *shape, dtype=np.int64):
    return generator.integers(low, high, shape).astype(dtype)


def ints(*values):
    return Const(np.array(values, np.int64))


def flag(value):
    return Const(np.array(value, np.bool_))


def number(value, dtype=np.float32):
    return Const(np.array(value, dtype))


def elementwise():
    x, small, above = real(2, 3, 4), generator.uniform(-0.9, 0.9, (2, 3, 4)).astype(np.float32), generator.uniform(1.1, 3, (2, 3, 4)).astype(np.float32)
    for op in ("Abs", "Ceil", "Cos", "Exp", "Floor", "Identity", "Neg", "Relu", "Sigmoid", "Sin", "Softplus", "Softsign", "Tan", "Tanh", "Elu",
               "HardSigmoid", "LeakyRelu", "Selu", "Reciprocal", "Atan"):
        add(op, x)
    for op, first in (("Erf", 9), ("Sign", 9), ("Sinh", 9), ("Cosh", 9), ("Asinh", 9), ("IsNaN", 9), ("IsInf", 10), ("ThresholdedRelu", 10), ("Round", 11),
                      ("Celu", 12), ("HardSwish", 14), ("Mish", 18)):
        add(op, x, first=first)
    for op in ("Acos", "Asin"):
        add(op, small)
    add("Atanh", small, first=9)
    add("Acosh", above, first=9)
    for op in ("Log", "Sqrt"):
        add(op, above)
    add("Elu", x, alpha=0.5)
    add("HardSigmoid", x, alpha=0.3, beta=0.4)
    add("LeakyRelu", x, alpha=0.2)
    add("ThresholdedRelu", x, first=10, alpha=0.3)
    add("Relu", whole(-5, 5, 7, dtype=np.int32), first=14)
    add("IsInf", np.array([1, np.inf, -np.inf, np.nan], np.float32), first=10, detect_negative=0)
    integers, others = whole(-9, 9, 2, 3), whole(1, 9, 3)
    for op in ("Add", "Sub", "Mul", "Div"):
        add(op, x, real(3, 1) + 4)
        add(op, integers, others)
        add(op, integers.astype(np.int8), others.astype(np.int8), first=14)
    add("Pow", above, real(3, 1))
    add("Pow", above, whole(-2, 3, 4), first=12)
    add("Pow", integers, np.array([2.5], np.float32), first=12)
    for op in ("Max", "Min", "Sum", "Mean"):
        add(op, x, real(2, 3, 4), real(2, 3, 4))
        add(op, x, real(3, 1), real(1), first=8)
    for op in ("Max", "Min"):
        add(op, integers, others, first=12)
    add("Equal", integers, others)
    add("Equal", np.array([True, False]), np.array([[True], [False]]))
    add("Equal", np.float32([1, 2, np.nan]), np.float32([1, 3, np.nan]), first=11)
    for op in ("Greater", "Less"):
        add(op, x, real(3, 1))
        add(op, integers, others, first=9)
    for op in ("GreaterOrEqual", "LessOrEqual"):
        add(op, integers, others, first=12)
        add(op, x, x[:1], first=12)
    add("Mod", integers, others, first=10)
    add("Mod", integers, others, first=10, fmod=1)
    add("Mod", x, above, first=10, fmod=1)
    add("BitShift", whole(0, 9, 5, dtype=np.uint8), whole(0, 4, 5, dtype=np.uint8), first=11, direction="LEFT")
    add("PRelu", x, real(3, 1))
    add("PRelu", x, np.float32(0.3).reshape(1))
    add("Where", x > 0, x, real(3, 1), first=9)
    add("Clip", x, last=10, min=-0.4, max=0.6)
    add("Clip", x, last=10, min=-0.4)
    add("Clip", x, first=11)
    add("Clip", x, number(-0.4), number(0.6), first=11)
    add("Clip", x, None, number(0.6), first=11)
    add("Clip", integers, number(-3, np.int64), number(4, np.int64), first=12)
    add("CastLike", x, whole(0, 3, 1), first=15)
    add("Dropout", x)
    add("Dropout", x, last=11, ratio=0.7)
    add("Dropout", x, first=10, outputs=2)
    add("Dropout", x, number(0.3), first=12, outputs=2)
    add("Dropout", x, number(0), flag(True), first=12, outputs=2)
    for to, source in ((TensorProto.INT32, x * 3), (TensorProto.BOOL, integers), (TensorProto.FLOAT, x > 0), (TensorProto.UINT8, above * 50),
                       (TensorProto.FLOAT16, x), (TensorProto.DOUBLE, integers)):
        add("Cast", source, to=to)


def reductions():
    x, ties = real(2, 3, 4), whole(0, 3, 3, 4, 5).astype(np.float32)
    for op in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
               "ReduceSumSquare"):
        y, moved = (np.abs(x) + 1 if op == "ReduceLogSum" else x), 13 if op == "ReduceSum" else 18
        add(op, y)
        add(op, y, keepdims=0)
        add(op, y, last=moved - 1, axes=[0, 2])
        add(op, y, last=moved - 1, axes=[1], keepdims=0)
        add(op, y, first=11, last=moved - 1, axes=[-1])
        add(op, y, ints(0, -1), first=moved)
        add(op, y, ints(1), first=moved, keepdims=0)
        add(op, y, ints(), first=moved)
        add(op, y, ints(), first=moved, noop_with_empty_axes=1)
        add(op, y, None, first=moved, noop_with_empty_axes=1)
    for op in ("ReduceMax", "ReduceMin"):
        add(op, whole(-9, 9, 3, 4, dtype=np.int8), first=12, last=17, axes=[1])
        add(op, x > 0, ints(1), first=20)
    for op in ("ArgMax", "ArgMin"):
        add(op, ties)
        add(op, ties, axis=1, keepdims=0)
        add(op, ties, first=11, axis=-1)
        add(op, ties, first=12, axis=2, select_last_index=1)
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        add(op, x * 3)
        for axis in (0, 1, 2):
            add(op, x * 3, axis=axis)
        add(op, x * 3, first=11, axis=-2)
    for mode in ({}, {"exclusive": 1}, {"reverse": 1}):
        add("CumSum", x, number(1, np.int64), first=11, **mode)
    add("CumSum", x, number(-1, np.int32), first=11)
    add("TopK", ties, last=9, outputs=2, k=2)
    add("TopK", real(3, 5, 4), last=9, outputs=2, k=3, axis=1)
    add("TopK", real(3, 5, 4), ints(3), first=10, outputs=2, axis=1)
    add("TopK", real(3, 5, 4), ints(2), first=11, outputs=2, axis=-2, largest=0)
    add("TopK", whole(-99, 99, 30), ints(4), first=11, outputs=2)
    add("LpNormalization", x)
    add("LpNormalization", x, axis=1, p=1)
    add("MeanVarianceNormalization", real(2, 3, 4, 5), first=9)
    add("Einsum", real(2, 3), real(3, 4), first=12, equation="ij,jk->ki")
    add("Det", real(3, 2, 2), first=11)


def moves():
    x = real(2, 3, 4)
    add("Concat", x, x, axis=1)
    add("Concat", x, x, first=11, axis=-1)
    for op in ("Flatten", "Transpose", "Shape", "Size"):
        add(op, x)
    add("Flatten", x, axis=0)
    add("Flatten", x, first=9, axis=2)
    add("Flatten", x, first=11, axis=-1)
    add("Transpose", whole(0, 9, 2, 3, 4), perm=[2, 0, 1])
    add("Shape", x, first=15, start=1)
    add("Shape", x, first=15, start=-2, end=-1)
    add("Reshape", x, ints(0, -1))
    add("Reshape", real(0, 3), ints(3, 0), first=14, allowzero=1)
    add("Squeeze", real(1, 3, 1, 2))
    add("Squeeze", real(1, 3, 1, 2), last=12, axes=[2])
    add("Squeeze", real(1, 3, 1, 2), first=11, last=12, axes=[-2])
    add("Squeeze", real(1, 3, 1, 2), ints(0, -2), first=13)
    add("Unsqueeze", x, last=12, axes=[0, 4])
    add("Unsqueeze", x, first=11, last=12, axes=[-1, 0])
    add("Unsqueeze", x, ints(-1, 0), first=13)
    add("Slice", real(5, 6), last=9, starts=[1, -4], ends=[4, 1000])
    add("Slice", real(5, 6), last=9, axes=[1], starts=[0], ends=[-2])
    add("Slice", real(5, 6), ints(1, -4), ints(4, 1000), first=10)
    add("Slice", real(5, 6), ints(4, 0), ints(-1000, 6), ints(0, 1), ints(-2, 2), first=10)
    add("Slice", real(5, 6), ints(1), ints(-1), ints(-1), first=11)
    add("Split", real(6, 4), last=12, outputs=2, axis=0)
    add("Split", real(6, 4), last=12, outputs=2, split=[2, 4])
    add("Split", real(6, 4), first=13, last=17, outputs=3)
    add("Split", real(6, 4), first=11, last=12, outputs=2, axis=-1)
    add("Split", real(6, 4), ints(1, 3), first=13, outputs=2, axis=-1)
    add("Split", real(7, 4), first=18, outputs=3, num_outputs=3)
    add("SplitToSequence", real(4, 3), first=11)
    for mode in ("constant", "reflect", "edge"):
        add("Pad", real(3, 4), last=10, mode=mode, pads=[1, 2, 0, 1])
        add("Pad", real(3, 4), ints(1, 2, 0, 1), first=11, mode=mode)
    add("Pad", real(3, 4), last=10, pads=[1, -1, 0, 2], value=1.5)
    add("Pad", real(3, 4), ints(1, -1, 0, 2), number(1.5), first=11)
    add("Pad", whole(0, 9, 3, 4), ints(1, 0, 0, 2), number(7, np.int64), first=13)
    add("Pad", real(3, 4), ints(2, 1), number(1.5), ints(-1), first=18)
    add("Pad", real(3, 4), ints(2, 3, 1, 2), first=19, mode="wrap")
    add("Tile", x, ints(1, 2, 3))
    add("Expand", real(3, 1), ints(2, 1, 4), first=8)
    add("EyeLike", real(3, 4), first=9, k=1)
    add("Constant", value=helper.make_tensor("c", TensorProto.FLOAT, [2], [1.0, 2.0]))
    add("Constant", first=12, value_ints=[3, 4])
    add("Constant", first=12, value_float=2.5)
    add("ConstantOfShape", ints(2, 3), first=9)
    add("ConstantOfShape", ints(2, 3), first=9, value=helper.make_tensor("c", TensorProto.INT64, [1], [4]))
    add("Range", number(1), number(8), number(2.5), first=11)
    add("Gather", x, whole(0, 3, 2, 2), axis=1)
    add("Gather", x, np.array([-1, 0, -3]), first=11, axis=-2)
    add("GatherElements", x, whole(-3, 3, 2, 2, 4), first=11, axis=1)
    add("GatherND", x, np.array([[0, 1], [-1, -3]]), first=11)
    add("GatherND", x, np.array([[2], [-3]]), first=12, batch_dims=1)
    index, updates = np.array([[2, 0, 1, 1], [0, 2, 0, 0]]).reshape(2, 1, 4), real(2, 1, 4)
    add("Scatter", x, index, updates, first=9, last=10, axis=1)
    add("ScatterElements", x, index, updates, first=11, axis=1)
    add("ScatterElements", x, index - 3, updates, first=11, axis=-2)
    add("ScatterND", x, np.array([[0, 1], [1, 2]]), real(2, 4), first=11)
    for reduction, first in (("add", 16), ("mul", 16), ("max", 18), ("min", 18)):
        add("ScatterElements", x, np.zeros((2, 2, 4), np.int64), real(2, 2, 4), first=first, axis=1, reduction=reduction)
        add("ScatterND", x, np.array([[0, 1], [0, 1]]), real(2, 4), first=first, reduction=reduction)
    add("OneHot", np.array([[0, 2], [1, 7]]), ints(3), np.float32([-1, 1]), first=9)
    add("OneHot", np.array([0, -1, -3, 3]), ints(3), np.float32([0, 1]), first=11, axis=0)
    add("OneHot", np.array([[0, 2], [1, 1]]), ints(3), np.float32([0, 1]), first=11, axis=-2)
    add("Compress", x, np.array([True, False, True]), first=9, axis=1)
    add("Compress", x, np.array([False, True, True]), first=9)
    add("Compress", x, np.array([False, True]), first=11, axis=-1)
    add("NonZero", np.float32([[1, 0], [0, 2]]), first=9)
    add("Unique", np.float32([2, 1, 1, 3]), first=11, outputs=4)
    add("ReverseSequence", real(4, 3, 2), np.array([4, 2, 1]), first=10)
    add("ReverseSequence", real(3, 4, 2), np.array([4, 2, 1]), first=10, batch_axis=0, time_axis=1)
    add("DepthToSpace", real(1, 8, 2, 3), blocksize=2)
    add("DepthToSpace", real(1, 8, 2, 3), first=11, blocksize=2, mode="CRD")
    add("SpaceToDepth", real(1, 2, 4, 6), blocksize=2)


def spatial():
    x, sized = real(1, 2, 7, 8), dict(kernel_shape=[3, 2], strides=[2, 2])
    add("AveragePool", x, pads=[1, 0, 1, 1], **sized)
    add("AveragePool", x, count_include_pad=1, pads=[1, 0, 1, 1], **sized)
    add("AveragePool", x, auto_pad="SAME_UPPER", **sized)
    add("AveragePool", x, first=10, ceil_mode=1, **sized)
    add("AveragePool", x, first=10, ceil_mode=1, pads=[1, 1, 1, 1], **sized)
    add("AveragePool", x, first=19, dilations=[2, 3], **sized)
    add("MaxPool", x, pads=[1, 0, 1, 1], **sized)
    add("MaxPool", x, auto_pad="SAME_LOWER", **sized)
    add("MaxPool", x, first=8, outputs=2, pads=[1, 0, 1, 1], **sized)
    add("MaxPool", x, first=8, outputs=2, storage_order=1, **sized)
    add("MaxPool", x, first=10, ceil_mode=1, dilations=[2, 3], **sized)
    add("MaxPool", whole(-99, 99, 1, 2, 5, 5, dtype=np.int8), first=12, kernel_shape=[2, 2])
    add("LpPool", x, pads=[1, 0, 1, 1], **sized)
    add("LpPool", x, first=11, p=3, **sized)
    add("LpPool", x, first=18, ceil_mode=1, dilations=[2, 2], **sized)
    for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
        add(op, x)
    add("MaxRoiPool", x, np.float32([[0, 1, 1, 6, 5], [0, 0, 0, 7, 6]]), pooled_shape=[2, 2])
    add("MaxUnpool", real(1, 1, 2, 2), np.array([0, 3, 9, 14]).reshape(1, 1, 2, 2), first=9, kernel_shape=[2, 2], strides=[2, 2])
    boxes, batch = np.float32([[0, 1, 6, 5], [1.3, 0.2, 5.5, 6.1]]), np.array([0, 0])
    add("RoiAlign", x, boxes, batch, first=10, output_height=2, output_width=3, sampling_ratio=2)
    add("RoiAlign", x, boxes, batch, first=16, output_height=2, output_width=3, sampling_ratio=2, coordinate_transformation_mode="output_half_pixel")
    weights = real(4, 2, 3, 3)
    add("Conv", x, weights, real(4), pads=[1, 1, 1, 1])
    add("Conv", x, weights, auto_pad="SAME_UPPER", strides=[2, 2])
    add("ConvTranspose", x, real(2, 3, 3, 3), real(3), strides=[2, 2], output_padding=[1, 0])
    add("ConvTranspose", x, real(2, 3, 3, 3), strides=[2, 2], output_shape=[14, 16])
    add("DeformConv", x, weights, real(1, 18, 7, 8), first=19, pads=[1, 1, 1, 1])
    grid = generator.uniform(-1.2, 1.2, (1, 3, 4, 2)).astype(np.float32)
    add("GridSample", x, grid, first=16)
    add("GridSample", x, grid, first=16, last=19, mode="bilinear", padding_mode="border", align_corners=1)
    add("GridSample", x, grid, first=16, last=19, mode="bicubic")
    add("GridSample", x, grid, first=20, mode="cubic", padding_mode="reflection")
    add("LRN", x, size=3)
    add("InstanceNormalization", x, real(2), real(2))
    four = [np.abs(real(2)) + 0.5 for _ in range(4)]
    add("BatchNormalization", x, *four)
    add("BatchNormalization", x, *four, epsilon=0.01, momentum=0.5)
    add("BatchNormalization", x, *[np.abs(real(2, 7, 8)) + 0.5 for _ in range(4)], last=8, spatial=0)
    add("BatchNormalization", real(3, 2, 4), *four, first=14, outputs=3, training_mode=1)
    add("GroupNormalization", real(1, 4, 3), real(2), real(2), first=18, last=20, num_groups=2)
    add("GroupNormalization", real(1, 4, 3), real(4), real(4), first=21, num_groups=2)
    add("Upsample", x, last=8, scales=[1.0, 1.0, 2.0, 3.0])
    add("Upsample", x, last=8, mode="linear", scales=[1.0, 1.0, 2.0, 3.0])
    for mode in ("nearest", "linear"):
        scales = Const(np.float32([1, 1, 2, 1.5]))
        add("Upsample", x, scales, first=9, last=9, mode=mode)
        add("Resize", x, scales, first=10, last=10, mode=mode)
        add("Resize", x, Const(np.float32([1, 1, 0.6, 0.5])), first=10, last=10, mode=mode)
        for coordinates in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
            add("Resize", x, number([]), scales, first=11, mode=mode, coordinate_transformation_mode=coordinates)
            add("Resize", x, number([]), Const(np.float32([1, 1, 0.6, 0.5])), first=11, mode=mode, coordinate_transformation_mode=coordinates)
        add("Resize", x, number([]), number([]), ints(1, 2, 10, 5), first=11, mode=mode)
        add("Resize", x, number([]), Const(np.float32([1, 1, 0.6, 0.5])), first=19, mode=mode, coordinate_transformation_mode="half_pixel_symmetric")
        add("Resize", x, None, None, ints(9, 12), first=18, mode=mode, axes=[2, 3], keep_aspect_ratio_policy="not_larger")
        add("Resize", x, None, None, ints(9, 12), first=18, mode=mode, axes=[2, 3], keep_aspect_ratio_policy="not_smaller")
    add("Resize", x, None, Const(np.float32([0.6, 0.5])), first=18, mode="linear", axes=[2, 3], antialias=1)
    add("Resize", x, number([]), scales, first=11, mode="cubic", cubic_coeff_a=-0.5)
    add("Resize", x, Const(np.float32([0, 0, 0.1, 0.2, 1, 1, 0.8, 1.1])), number([]), ints(1, 2, 5, 6), first=11, mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=2.0)
    add("Resize", x, number([]), Const(np.float32([1, 1, 2, 2.5])), first=11, mode="nearest", nearest_mode="ceil")
    boxes = np.float32([[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 10, 1, 11], [0, 10.1, 1, 11.1]])[None]
    scores = np.float32([0.9, 0.75, 0.6, 0.95]).reshape(1, 1, 4)
    add("NonMaxSuppression", boxes, scores, ints(3), number([0.5]), number([0.4]), first=10)
    add("NonMaxSuppression", boxes, scores, ints(3), number([0.5]), number([0.0]), first=10, center_point_box=1)
    add("NonMaxSuppression", boxes, scores, first=10)


def products():
    add("MatMul", real(2, 3, 4), real(4, 5))
    add("MatMul", whole(-9, 9, 3, 4, dtype=np.int32), whole(-9, 9, 4, 2, dtype=np.int32), first=9)
    add("Gemm", real(3, 4), real(4, 5), real(5), alpha=0.5, beta=2.0)
    add("Gemm", real(4, 3), real(5, 4), real(3, 1), transA=1, transB=1)
    add("Gemm", whole(-9, 9, 3, 4, dtype=np.int32), whole(-9, 9, 4, 2, dtype=np.int32), np.int32([[1, 2]]), first=9)
    add("Gemm", real(3, 4), real(4, 5), first=11)
    for op, gates, outputs in (("RNN", 1, 2), ("GRU", 3, 2), ("LSTM", 4, 3)):
        w, r, b = real(1, gates * 5, 4), real(1, gates * 5, 5), real(1, 2 * gates * 5)
        more = {"linear_before_reset": 1} if op == "GRU" else {}
        add(op, real(6, 2, 4), w, r, b, outputs=outputs, hidden_size=5)
        add(op, real(6, 2, 4), w, r, b, np.int32([6, 3]), outputs=outputs, hidden_size=5, direction="reverse", **more)
        add(op, real(2, 6, 4), w, r, b, None, real(2, 1, 5), first=14, outputs=outputs, hidden_size=5, layout=1)
    for op in ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"):
        scores, labels = real(3, 5, 2), whole(0, 5, 3, 2)
        add(op, scores, labels, np.abs(real(5)), first=12)
        add(op, scores, np.where(labels == 2, -1, labels), first=12, ignore_index=-1, reduction="sum")
    query = real(1, 2, 3, 4)
    add("Attention", query, real(1, 2, 5, 4), real(1, 2, 5, 4), first=23)
    add("Attention", query, real(1, 2, 3, 4), real(1, 2, 3, 4), first=23, is_causal=1)


def quantization():
    x, byte = real(2, 3, 4) * 3, whole(0, 256, 2, 3, 4, dtype=np.uint8)
    add("QuantizeLinear", x, number(0.02), number(100, np.uint8), first=10)
    add("QuantizeLinear", x, np.float32([0.02, 0.03, 0.04]), np.int8([0, 3, -5]), first=13)
    add("QuantizeLinear", x, np.float32([0.02, 0.03]), np.uint8([0, 3]), first=13, axis=0)
    add("QuantizeLinear", x, np.abs(real(2, 3, 2)) + 0.01, first=21, axis=-1, block_size=2)
    add("QuantizeLinear", x, number(0.02), first=21, output_dtype=TensorProto.INT16)
    add("DequantizeLinear", byte, number(0.02), number(100, np.uint8), first=10)
    add("DequantizeLinear", byte, np.float32([0.02, 0.03, 0.04]), np.uint8([0, 3, 5]), first=13)
    add("DequantizeLinear", byte, np.abs(real(2, 3, 2)) + 0.01, np.zeros((2, 3, 2), np.uint8), first=21, axis=-1, block_size=2)
    a, b = whole(0, 256, 3, 4, dtype=np.uint8), whole(0, 256, 4, 2, dtype=np.uint8)
    zero = number(120, np.uint8)
    add("QLinearMatMul", a, number(0.02), zero, b, number(0.03), zero, number(0.1), zero, first=10)
    signal = real(1, 8, 2, 1)
    add("DFT", signal, first=17, last=19, axis=1)
    add("DFT", signal, first=17, last=19, axis=1, onesided=1)
    add("DFT", signal, None, number(1, np.int64), first=20)
    add("DFT", signal, number(6, np.int64), number(-3, np.int64), first=20)


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def control():
    """Sums of rows: state s, row x, s + x to both outputs."""
    nodes = [helper.make_node("Add", ["s", "x"], ["t"]), helper.make_node("Identity", ["t"], ["y"])]
    s, x, t, y = (value(name, TensorProto.FLOAT, [3]) for name in "sxty")
    scan, state, rows = helper.make_graph(nodes, "scan", [s, x], [t, y]), np.zeros(3, np.float32), real(4, 3)
    add("Scan", None, np.zeros((2, 3), np.float32), real(2, 4, 3), first=8, last=8, outputs=2, body=scan, num_scan_inputs=1)
    add("Scan", np.array([2, 4]), np.zeros((2, 3), np.float32), real(2, 4, 3), first=8, last=8, outputs=2, body=scan, num_scan_inputs=1)
    add("Scan", None, np.zeros((2, 3), np.float32), real(2, 4, 3), first=8, last=8, outputs=2, body=scan, num_scan_inputs=1, directions=[1])
    add("Scan", state, rows, first=9, outputs=2, body=scan, num_scan_inputs=1)
    add("Scan", state, rows, first=9, outputs=2, body=scan, num_scan_inputs=1, scan_input_directions=[1], scan_output_directions=[1])
    add("Scan", state, rows.T.copy(), first=9, outputs=2, body=scan, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1])
    add("Scan", state, rows.T.copy(), first=11, outputs=2, body=scan, num_scan_inputs=1, scan_input_axes=[-1], scan_output_axes=[-1])
    loop = helper.make_graph([helper.make_node("Identity", ["go"], ["on"]), *helper.make_graph(
        [helper.make_node("Add", ["s", "s"], ["t"]), helper.make_node("Identity", ["t"], ["y"])], "", [], []).node], "loop",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), s], [value("on", TensorProto.BOOL, []), t, y])
    add("Loop", np.array(4), np.array(True), real(3), outputs=2, body=loop)
    add("Loop", np.array(4), None, real(3), outputs=2, body=loop)
    branches = [helper.make_graph([helper.make_node("Constant", [], ["y"], value=helper.make_tensor("c", TensorProto.FLOAT, [3], [k, k, k]))],
                                  f"branch{k}", [], [y]) for k in (1.0, 2.0)]
    add("If", np.array(False), then_branch=branches[0], else_branch=branches[1])


for fill in (elementwise, reductions, moves, spatial, products, quantization, control):
    fill()
