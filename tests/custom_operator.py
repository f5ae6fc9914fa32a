"""examples/custom_operator.c, linked against the shared library, computes what NumPy does; without its operator the model is refused."""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnx
from onnx import TensorProto, helper

FACTOR = 1.25


def make_model(inputs=("brighter",)):
    """Counts the pixels of each image that are above FACTOR times its mean; the images' number is symbolic."""
    nodes = [
        helper.make_node("Add", ["image", "one"], ["brighter"]),
        helper.make_node("MeanThreshold", list(inputs), ["mask"], name="threshold", domain="com.example", factor=FACTOR),
        helper.make_node("Cast", ["mask"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["number", "axes"], ["above"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "threshold",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 16, 16])],
        [helper.make_tensor_value_info("above", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]), helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    return model


def run(*command):
    return subprocess.run(command, check=False, capture_output=True, text=True)


program, mitral = sys.argv[1], os.environ["MITRAL"]
values = numpy.arange(512)
image = (values * values % 23).astype(numpy.float32).reshape(2, 1, 16, 16) + 1
expected = [int((plane > FACTOR * plane.mean(dtype=numpy.float64)).sum()) for plane in image]
assert len(set(expected)) == 2 and 0 < min(expected) and max(expected) < 256, expected
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "model.onnx"
    onnx.save(make_model(), path)
    done = run(program, path)
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == [f"image {i}: {n} pixels above the threshold" for i, n in enumerate(expected)], (done, expected)

    refused = run(mitral, "compile", path, "-o", path.with_suffix(".plan"))
    assert refused.returncode != 0 and "MeanThreshold (domain com.example" in refused.stderr, refused

    onnx.save(make_model(("brighter", "one")), path)
    refused = run(program, path)
    assert refused.returncode == 1 and refused.stderr.startswith("custom_operator: ") and refused.stderr.endswith(
        "MeanThreshold 'threshold' (opset 1): expected 1 inputs, found 2\n"), refused
print("3 passed, 0 failed")
