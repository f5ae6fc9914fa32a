"""A Tanh, Sigmoid or Softmax that is quantized, at once, after it was moved or in products, gives ONNX Runtime's bits: 8-bit results are equal,
and scales and zero points with them. What is not quantized stays closer to the exact values than ONNX Runtime's is."""

import pathlib
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from one_node import main
from support import infer

SIZE = 300_000  # among so many values some lie next to the middle of two steps: with other last bits about 20 are rounded to the other side


def network(op, moves, quantizer):
    """x → op → moves → quantizer, and the float values that it reads."""
    nodes, value = [helper.make_node(op, ["x"], ["v"])], "v"
    if moves:
        nodes += [helper.make_node("Reshape", ["v", "shape"], ["a"]), helper.make_node("Transpose", ["a"], ["b"]),
                  helper.make_node("Concat", ["b", "b"], ["c"], axis=0), helper.make_node("Slice", ["c", "low", "high"], ["d"])]
        value = "d"
    inputs = [value] if quantizer == "DynamicQuantizeLinear" else [value, "scale", "zero"]
    outputs = ["q", "s", "z"][:3 if quantizer == "DynamicQuantizeLinear" else 1]
    nodes.append(helper.make_node(quantizer, inputs, outputs))
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in [
        ("shape", np.array([3, -1])), ("low", np.array([10])), ("high", np.array([10**6])),
        ("scale", np.float32(2 / 255)), ("zero", np.array(128, np.uint8))]
        if any(name in node.input for node in nodes)]
    graph = helper.make_graph(nodes, "quantized", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [SIZE])],
                              [onnx.ValueInfoProto(name=name) for name in outputs], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_quantized():
    x = {"x": np.random.default_rng(3).normal(0, 1.5, SIZE).astype(np.float32)}
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        for op in ("Tanh", "Sigmoid"):
            for moves in (False, True):
                for quantizer in ("DynamicQuantizeLinear", "QuantizeLinear"):
                    model = network(op, moves, quantizer)
                    onnx.save(model, path)
                    names = [output.name for output in model.graph.output]
                    want = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(names, x)
                    for options in ([], ["--interpret"]):
                        got = infer(path, x, *options)
                        for name, expected in zip(names, want):
                            different = int((got[name] != expected).sum())
                            if different:
                                problems.append(f"{op}, moves {moves}, {quantizer} {options}: {different} elements of {name} differ")
    assert not problems, "\n  ".join(problems)


def test_softmax():
    """Of attention: weights, and states added up by them."""
    generator, problems = np.random.default_rng(4), []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        for length in (5, 24, 61, 100):
            x = {"x": generator.normal(0, 2, (600, length)).astype(np.float32)}
            nodes = [helper.make_node("Softmax", ["x"], ["w"], axis=-1), helper.make_node("QuantizeLinear", ["w", "scale", "zero"], ["q"]),
                     helper.make_node("MatMul", ["w", "states"], ["y"]), helper.make_node("DynamicQuantizeLinear", ["y"], ["p", "s", "z"])]
            constants = [onnx.numpy_helper.from_array(array, name) for name, array in [
                ("scale", np.float32(1e-3)), ("zero", np.array(0, np.uint8)), ("states", generator.uniform(-1, 1, (length, 256)).astype(np.float32))]]
            graph = helper.make_graph(nodes, "attention", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [600, length])],
                                      [onnx.ValueInfoProto(name=name) for name in "wqpsz"], constants)
            onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
            want = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, x)
            for options in ([], ["--interpret"]):
                got = infer(path, x, *options)
                for name, expected in zip("wqpsz", want):
                    different = int((got[name] != expected).sum())
                    if different:
                        problems.append(f"rows of {length} {options}: {different} elements of {name} differ")
    assert not problems, "\n  ".join(problems)


def test_not_quantized():
    x = np.linspace(-9, 9, SIZE, dtype=np.float32)
    wide = x.astype(np.float64)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        for op, exact in (("Tanh", np.tanh(wide)), ("Sigmoid", 1 / (1 + np.exp(-wide)))):
            graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "plain", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [SIZE])],
                                      [onnx.ValueInfoProto(name="y")])
            onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
            for options in ([], ["--interpret"]):
                distance = np.abs(infer(path, {"x": x}, *options)["y"] - exact).max()
                assert distance < 1.2e-7, f"{op} {options}: off by {distance:.3g}"


if __name__ == "__main__":
    main(globals())
