"""examples/custom_operator.c, linked against the shared library, and loaded as a library by the commands, computes what NumPy does; without
its operators models are refused."""

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


def make_network():
    """A convolution, SoftClip, a convolution: one that can be trained."""
    generator = numpy.random.default_rng(3)
    weights = {"w1": generator.normal(0, 0.3, (4, 1, 3, 3)), "w2": generator.normal(0, 0.3, (4, 4, 1, 1))}
    nodes = [helper.make_node("Conv", ["image", "w1"], ["a"], pads=[1] * 4), helper.make_node("SoftClip", ["a"], ["b"], domain="com.example", limit=0.75),
             helper.make_node("Conv", ["b", "w2"], ["logits"])]
    graph = helper.make_graph(nodes, "network", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 16, 16])],
                              [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4, 16, 16])],
                              [onnx.numpy_helper.from_array(value.astype(numpy.float32), name) for name, value in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)], ir_version=8)


def run(*command):
    return subprocess.run(command, check=False, capture_output=True, text=True)


(program, library, empty), mitral = sys.argv[1:], os.environ["MITRAL"]
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

    numpy.save(f"{folder}/image.npy", image - 1)
    for options in ([], ["--interpret"]):
        done = run(mitral, "run", path, "-i", f"image={folder}/image.npy", "-o", f"{folder}/out", "--custom-operators", library, *options)
        assert done.returncode == 0, done
        assert numpy.load(f"{folder}/out/above.npy").tolist() == expected
    done = run(mitral, "compile", path, "-o", f"{folder}/model.plan", "--custom-operators", library)
    assert done.returncode == 0, done
    done = run(mitral, "run", f"{folder}/model.plan", "-i", f"image={folder}/image.npy", "-o", f"{folder}/again", "--custom-operators", library)
    assert done.returncode == 0 and numpy.load(f"{folder}/again/above.npy").tolist() == expected, done
    for name, facts in ((empty, "expected a function mitral_register_operators, found none"), (f"{folder}/none.so", "expected a shared library that loads"),
                        (path, "expected a shared library that loads")):
        refused = run(mitral, "inspect", path, "--custom-operators", name)
        assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and facts in refused.stderr, refused
    refused = run(mitral, "inspect", path, "--custom-operators", library, "--custom-operators", library)
    assert refused.returncode == 1 and "expected a name that is free in domain 'com.example', found it taken" in refused.stderr, refused

    network = pathlib.Path(folder) / "network.onnx"
    onnx.save(make_network(), network)
    done = run(mitral, "bench", network, "--train", "--batch", "2", "--repeat", "1", "--threads", "1", "--custom-operators", library)
    assert done.returncode == 0, done

    onnx.save(make_model(("brighter", "one")), path)
    refused = run(program, path)
    assert refused.returncode == 1 and refused.stderr.startswith("custom_operator: ") and refused.stderr.endswith(
        "MeanThreshold 'threshold' (opset 1): expected 1 inputs, found 2\n"), refused
print("9 passed, 0 failed")
