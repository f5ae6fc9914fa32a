"""What cannot run is said at once, in one line: every node with its operator, opset and type, and the nearest thing that works."""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MITRAL = os.environ.get("MITRAL", "build/mitral")
FLOAT, DOUBLE, INT64, STRING = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.STRING


def value(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def compile_model(folder, nodes, inputs, outputs, constants=(), domains=(), opset=17):
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(array, key) for key, array in dict(constants).items()])
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(domain, 1) for domain in domains]
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return subprocess.run([MITRAL, "compile", str(path), "-o", str(folder / "model.plan")], capture_output=True, text=True, check=False, timeout=60)


def refused(done, code, *texts):
    assert done.returncode == code and done.stderr.count("\n") == 1, done
    for text in texts:
        assert text in done.stderr, (text, done.stderr)


def test_several_shapes(folder):
    weights = {"a": np.zeros((3, 2), np.float32), "b": np.zeros((5, 2), np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "a"], ["y"], name="first"), helper.make_node("Relu", ["x"], ["r"]),
             helper.make_node("Gemm", ["r", "b"], ["z"], name="second")]
    done = compile_model(folder, nodes, [value("x", FLOAT, [2, 7])], [value("y", FLOAT, None), value("z", FLOAT, None)], weights)
    refused(done, 1, "2 nodes that cannot run", "MatMul 'first'", "Gemm 'second'")


def test_types_that_break_schemas(folder):
    nodes = [helper.make_node("Relu", ["s"], ["y"], name="first"), helper.make_node("Sigmoid", ["i"], ["z"], name="second")]
    done = compile_model(folder, nodes, [value("s", STRING, [2]), value("i", INT64, [2])], [value("y", STRING, None), value("z", INT64, None)])
    refused(done, 1, "2 nodes that cannot run", "Relu 'first' (opset 14)", "found tensor(string)", "Sigmoid 'second' (opset 13)", "tensor(float)",
            "found tensor(int64)")


def test_types_that_no_kernel_has(folder):
    """Without a schema (another domain) the kernel's word counts; with sizes that are not fixed too."""
    for rows in (2, "n"):
        nodes = [helper.make_node("QuickGelu", ["i"], ["y"], name="first", domain="com.microsoft", alpha=1.0),
                 helper.make_node("BiasGelu", ["i", "j"], ["z"], name="second", domain="com.microsoft")]
        done = compile_model(folder, nodes, [value("i", INT64, [rows, 4]), value("j", INT64, [4])], [value("y", INT64, None), value("z", INT64, None)],
                             domains=["com.microsoft"])
        refused(done, 1, "2 nodes that cannot run", "QuickGelu 'first'", "BiasGelu 'second'", "what works in place of int64: float32, float64")


def test_operators_that_are_not_there(folder):
    nodes = [helper.make_node("Sofmax", ["x"], ["a"], name="first"), helper.make_node("Gelu", ["a"], ["b"], name="second"),
             helper.make_node("Relu", ["b"], ["y"], name="third", domain="com.microsoft.nchwc")]
    done = compile_model(folder, nodes, [value("x", FLOAT, [2, 7])], [value("y", FLOAT, None)], domains=["com.microsoft.nchwc"])
    refused(done, 2, "3 unsupported operators", "Sofmax (domain ai.onnx, opset 17, float32, node 'first'; nearest supported: Softmax of ai.onnx)",
            "Gelu (domain ai.onnx, opset 17", "supported from opset 20", "Relu (domain com.microsoft.nchwc", "nearest supported: Relu of ai.onnx")


def test_subgraphs_that_do_not_fit(folder):
    """What a Loop or an If hands to its subgraphs is known before anything runs."""
    step = helper.make_graph([helper.make_node("Relu", ["v"], ["w"])], "step", [value("v", FLOAT, [2])], [value("w", FLOAT, [2])])
    empty = helper.make_graph([], "empty", [], [])
    nodes = [helper.make_node("Loop", ["m", "", "x"], ["y"], name="first", body=step),
             helper.make_node("If", ["c"], ["z"], name="second", then_branch=empty, else_branch=empty)]
    done = compile_model(folder, nodes, [value("x", FLOAT, [2]), value("c", TensorProto.BOOL, [])], [value("y", FLOAT, None), value("z", FLOAT, None)],
                         {"m": np.int64(2)})
    refused(done, 1, "2 nodes that cannot run", "Loop 'first'", "expected a subgraph of 3 inputs and 2 outputs, found 1 and 1", "If 'second'",
            "expected a subgraph of 0 inputs and 1 outputs, found 0 and 0")


def test_declared_types_that_do_not_follow(folder):
    """Of outputs, of values between and of branches; a declared shape is but a remark, as in ONNX Runtime."""
    relu, shape = helper.make_node("Relu", ["x"], ["y"], name="relu"), [2, 3]
    x, condition = value("x", FLOAT, shape), value("c", TensorProto.BOOL, [])
    done = compile_model(folder, [relu], [x], [value("y", INT64, shape)])
    refused(done, 1, "node 'relu' (Relu): expected its output 'y' to be declared float32, found int64")

    def branch(op, name, dtype, **attributes):
        return helper.make_graph([helper.make_node(op, ["x"], [name], name=f"of_{name}", **attributes)], name, [], [value(name, dtype, shape)])

    def choose(then, other, declared):
        return compile_model(folder, [helper.make_node("If", ["c"], ["y"], name="choice", then_branch=then, else_branch=other)], [x, condition],
                             [value("y", declared, shape)])

    refused(choose(branch("Relu", "t", INT64), branch("Abs", "e", FLOAT), FLOAT), 1, "'of_t' (Relu)", "'t' to be declared float32, found int64")
    refused(choose(branch("Relu", "t", FLOAT), branch("Cast", "e", INT64, to=INT64), FLOAT), 1, "'choice' (If)",
            "expected 'e' of its subgraph 'e' to be float32 like the output 'y', found int64")
    refused(choose(branch("Relu", "t", FLOAT), branch("Abs", "e", FLOAT), INT64), 1, "'choice' (If)", "to be int64 like the output 'y', found float32")
    assert compile_model(folder, [relu], [x], [value("y", FLOAT, [3, 3])]).returncode == 0


def test_values_that_no_type_would_mend(folder):
    """Another type is offered only where the type is at fault."""
    done = compile_model(folder, [helper.make_node("Range", ["a", "b", "c"], ["y"])], [], [value("y", FLOAT, None)],
                         {"a": np.float32(0), "b": np.float32(1), "c": np.float32(0)})
    refused(done, 1, "Range 'Range_y'", "found a step of 0")
    assert "in place of" not in done.stderr, done.stderr


def test_a_pipe(folder):
    """One that nobody writes to is refused, not waited for, by every command that reads a model."""
    path = folder / "pipe.onnx"
    os.mkfifo(path)
    for command in ("compile", "optimize", "run", "bench", "inspect"):
        output = ["-o", folder / "out"] if command in ("compile", "optimize", "run") else []
        done = subprocess.run([MITRAL, command, path, *output], capture_output=True, text=True, check=False, timeout=60)
        refused(done, 1, "expected a regular file")
        assert not (folder / "out").exists(), command


def main():
    tests = [function for name, function in globals().items() if name.startswith("test_")]
    with tempfile.TemporaryDirectory() as name:
        for test in tests:
            test(pathlib.Path(name))
            print(test.__name__)


if __name__ == "__main__":
    sys.exit(main())
