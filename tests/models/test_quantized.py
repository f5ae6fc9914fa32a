"""Models that ONNX Runtime's quantizer writes: QDQ and QOperator form, one scale a tensor and one a channel, static and dynamic.

What is compiled computes in 8 bits; the interpreter follows the standard node by node. An element whose value lies at a tie may round either
way (a linear resize of quantized maps is full of ties), and the layers behind carry that on: two forms of one model in ONNX Runtime are as far
from each other. So the kernels are held to 1 quantum an element in tests/unit/test_onednn_quantized.c, and here whole models are held to the
quantization itself: the mean distance from the float32 model is no more than a fifth above ONNX Runtime's, and what is compiled and the
interpreter are within the largest quantum of each other in the mean."""

import pathlib
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import support


class Reader(CalibrationDataReader):
    def __init__(self, name, shape):
        random = np.random.default_rng(3)
        self.batches = iter([{name: random.standard_normal(shape, dtype=np.float32)} for _ in range(3)])

    def get_next(self):
        return next(self.batches, None)


def reference(path, feeds, level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0].astype(np.float64)


def count_operators(path, *options):
    """Kernels of the compiled plan that compute in 8 bits, as `inspect` shows them."""
    with tempfile.TemporaryDirectory() as folder:
        plan = pathlib.Path(folder) / "m.plan"
        support.run("compile", path, "-o", plan, *options)
        return support.run("inspect", plan).count("onednn.q")


def check(path, whole, name, shape, quantum):
    """`whole`: the float32 model that `path` was made from."""
    feeds = {name: np.random.default_rng(7).standard_normal(shape, dtype=np.float32)}
    levels = onnxruntime.GraphOptimizationLevel
    wanted = reference(whole, feeds, levels.ORT_ENABLE_ALL)
    theirs = max(np.abs(reference(path, feeds, level) - wanted).mean() for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_ALL))
    got = {}
    for options in ((), ("--interpret",), ("--threads", "2")):
        (got[options],) = support.infer(path, feeds, *options).values()
        mean = np.abs(got[options] - wanted).mean()
        assert mean <= 1.2 * theirs + 0.01 * quantum, (path.name, options, mean, theirs, quantum)
    assert np.abs(got[()] - got["--interpret",]).mean() <= quantum, (path.name, np.abs(got[()] - got["--interpret",]).mean(), quantum)
    assert np.array_equal(got[()], got["--threads", "2"]), path.name


def networks(folder):
    for network, widths in (("unet", "8,16,16,32,32"), ("dpu-net", "16,16,16,16,16")):
        path = folder / f"{network}.onnx"
        support.run("create", network, "--size", "48", "--batch", "1", "--widths", widths, "-o", path)
        quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
        yield network, path


def last_quantum(path):
    """The largest scale of the quantized tensors, which the output's is of."""
    model = onnx.load(path)
    constants = {item.name: item for item in model.graph.initializer}
    scales = [numpy_helper.to_array(constants[node.input[1]]).max() for node in model.graph.node
              if node.op_type == "QuantizeLinear" and node.input[1] in constants]
    return float(max(scales)) if scales else 1.0


def test_static_networks():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for network, path in networks(folder):
            for form in (QuantFormat.QDQ, QuantFormat.QOperator):
                for per_channel in (False, True):
                    for activation in (QuantType.QUInt8, QuantType.QInt8):
                        if form == QuantFormat.QOperator and activation == QuantType.QInt8:
                            continue  # ONNX Runtime has no QLinear operators for all of these in int8
                        out = folder / f"{network}.{form.name}.{per_channel}.{activation.name}.onnx"
                        quantize_static(str(path), str(out), Reader("image", (1, 1, 48, 48)), quant_format=form, per_channel=per_channel,
                                        activation_type=activation, weight_type=QuantType.QInt8)
                        check(out, path, "image", (1, 1, 48, 48), last_quantum(out))
                        wanted = sum(node.op_type in ("Conv", "QLinearConv") for node in onnx.load(out).graph.node)
                        found = count_operators(out)
                        assert found >= wanted, (out.name, found, wanted)


def perceptron(folder):
    random = np.random.default_rng(0)
    sizes, nodes, constants, last = (40, 64, 64, 10), [], [], "x"
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        constants += [numpy_helper.from_array(random.standard_normal((a, b), dtype=np.float32) / np.sqrt(np.float32(a)), f"w{i}"),
                      numpy_helper.from_array(random.standard_normal(b, dtype=np.float32), f"b{i}")]
        if i == 1:
            nodes += [helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [f"s{i}"])]
        else:
            nodes += [helper.make_node("MatMul", [last, f"w{i}"], [f"m{i}"]), helper.make_node("Add", [f"m{i}", f"b{i}"], [f"s{i}"])]
        last = f"s{i}"
        if i < 2:
            nodes += [helper.make_node("Relu" if i == 0 else "Sigmoid", [last], [f"r{i}"])]
            last = f"r{i}"
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 40])],
                              [helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, ["n", 10])], constants)
    path = folder / "perceptron.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_products():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        path = perceptron(folder)
        for form in (QuantFormat.QDQ, QuantFormat.QOperator):
            for per_channel in (False, True):
                out = folder / f"{form.name}.{per_channel}.onnx"
                quantize_static(str(path), str(out), Reader("x", (16, 40)), quant_format=form, per_channel=per_channel,
                                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
                check(out, path, "x", (30, 40), last_quantum(out))
                assert form == QuantFormat.QOperator or count_operators(out) >= 3, out.name
        for weights in (QuantType.QInt8, QuantType.QUInt8):
            out = folder / f"dynamic.{weights.name}.onnx"
            quantize_dynamic(str(path), str(out), weight_type=weights)
            check(out, path, "x", (30, 40), 0.05)


if __name__ == "__main__":
    support.main(globals())
