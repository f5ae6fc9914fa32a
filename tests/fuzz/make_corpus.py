#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets: corpus/import (small models that cover the importer, and damaged copies) and, when the
`mitral` command is given, corpus/plan (plans of some of them, and damaged copies).

usage: make_corpus.py [MITRAL]

The files are part of the repository, so that tests need neither this script nor onnx; files that fuzzing found are kept
beside them under other names (found-*).
"""

import pathlib
import random
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent / "corpus"
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def info(name, kind=FLOAT, shape=(2, 3)):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs, outputs, initializers=(), opset=17, ir=8, functions=(), domains=(), sparse=()):
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(initializers))
    graph.sparse_initializer.extend(sparse)
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(domain, 1) for domain in domains]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir, functions=list(functions))


def raw(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def tensors():
    """One model whose initializers have every element type, in typed fields or in raw data."""
    made = []
    for kind in range(1, 27):
        name = f"t{kind}"
        if kind == TensorProto.STRING:
            made.append(helper.make_tensor(name, kind, [2], [b"ab", b""]))
        elif kind in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
            made.append(helper.make_tensor(name, kind, [2], [1 + 2j, 3 - 4j]))
        else:
            made.append(helper.make_tensor(name, kind, [3], [1, 0, 1]))
            bits = {21: 4, 22: 4, 23: 4, 25: 2, 26: 2}.get(kind)
            size = (3 * bits + 7) // 8 if bits else 3 * helper.tensor_dtype_to_np_dtype(kind).itemsize
            made.append(helper.make_tensor(name + "r", kind, [3], bytes(range(1, size + 1)), raw=True))
    made.append(helper.make_tensor("empty", FLOAT, [0, 4], []))
    made.append(helper.make_tensor("scalar", FLOAT, [], [2.0]))
    return model([helper.make_node("Mul", ["x", "scalar"], ["y"])], [info("x")], [info("y")], made, opset=25, ir=13)


def sparse():
    values = helper.make_tensor("w", FLOAT, [2], [1.0, 2.0])
    flat = helper.make_sparse_tensor(values, helper.make_tensor("i", INT64, [2], [1, 5]), [2, 3])
    rows = helper.make_sparse_tensor(helper.make_tensor("v", FLOAT, [2], [3.0, 4.0]), helper.make_tensor("j", INT64, [2, 2], [0, 1, 1, 2]), [2, 3])
    constant = helper.make_node("Constant", [], ["c"], sparse_value=rows)
    return model([constant, helper.make_node("Add", ["x", "w"], ["s"]), helper.make_node("Add", ["s", "c"], ["y"])], [info("x")],
                 [info("y")], sparse=[flat])


def constants():
    nodes = [helper.make_node("Constant", [], ["a"], value_float=1.5), helper.make_node("Constant", [], ["b"], value_floats=[1.0, 2.0, 3.0]),
             helper.make_node("Constant", [], ["c"], value_int=7), helper.make_node("Constant", [], ["d"], value_ints=[1, 0]),
             helper.make_node("Constant", [], ["e"], value_string="text"), helper.make_node("Constant", [], ["f"], value_strings=["p", "q"]),
             helper.make_node("Constant", [], ["g"], value=raw("", np.ones((2, 3), np.float32))),
             helper.make_node("Add", ["x", "a"], ["h"]), helper.make_node("Add", ["h", "b"], ["i"]), helper.make_node("Add", ["i", "g"], ["j"]),
             helper.make_node("Transpose", ["j"], ["y"], perm=[1, 0])]
    return model(nodes, [info("x")], [info("y", shape=(3, 2))])


def branches():
    """If in If: the inner one takes values of both graphs around it."""
    inner_then = helper.make_graph([helper.make_node("Add", ["x", "m"], ["p"])], "it", [], [info("p")])
    inner_else = helper.make_graph([helper.make_node("Identity", ["w"], ["q"])], "ie", [], [info("q")])
    then = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["m"]),
                              helper.make_node("If", ["d"], ["n"], then_branch=inner_then, else_branch=inner_else)], "t", [], [info("n")])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["o"])], "e", [], [info("o")], [raw("unused", np.float32(1))])
    return model([helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)],
                 [info("x"), info("c", BOOL, ()), info("d", BOOL, ())], [info("y")], [raw("w", np.ones((2, 3), np.float32))])


def loop():
    body = helper.make_graph([helper.make_node("Add", ["state", "step"], ["next"]), helper.make_node("Identity", ["go"], ["on"]),
                              helper.make_node("Identity", ["next"], ["scan"])], "body",
                             [info("i", INT64, ()), info("go", BOOL, ()), info("state")], [info("on", BOOL, ()), info("next"), info("scan")])
    return model([helper.make_node("Loop", ["n", "", "x"], ["last", "all"], body=body)], [info("x"), info("step"), info("n", INT64, ())],
                 [info("last"), info("all", shape=(None, 2, 3))])


def scan():
    body = helper.make_graph([helper.make_node("Add", ["sum", "row"], ["out"]), helper.make_node("Identity", ["out"], ["copy"])], "body",
                             [info("sum", shape=(3,)), info("row", shape=(3,))], [info("out", shape=(3,)), info("copy", shape=(3,))])
    return model([helper.make_node("Scan", ["zero", "x"], ["total", "sums"], body=body, num_scan_inputs=1)], [info("zero", shape=(3,)), info("x")],
                 [info("total", shape=(3,)), info("sums")])


def functions():
    """A function that calls another, with an attribute handed on, a default, and an input that may be left out."""
    inner = helper.make_function("own", "Scaled", ["a"], ["b"],
                                 [scale_constant(),
                                  helper.make_node("Mul", ["a", "k"], ["b"])], [helper.make_opsetid("", 17)], ["factor"])
    call = helper.make_node("Scaled", ["p"], ["q"], domain="own")
    call.attribute.append(reference("factor", "gain", onnx.AttributeProto.FLOAT))
    outer = helper.make_function("own", "Twice", ["p", "extra"], ["r", "p"],
                                 [call, helper.make_node("Clip", ["q", "extra"], ["r"])],
                                 [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)], [],
                                 [helper.make_attribute("gain", 2.0)])
    return model([helper.make_node("Twice", ["x"], ["y", "z"], domain="own", name="first"),
                  helper.make_node("Twice", ["y"], ["w"], domain="own", name="second", gain=3.0)],
                 [info("x")], [info("y"), info("z"), info("w")], functions=[inner, outer], domains=["own"])


def reference(name, target, kind):
    attribute = onnx.AttributeProto()
    attribute.name, attribute.ref_attr_name, attribute.type = name, target, kind
    return attribute


def scale_constant():
    node = helper.make_node("Constant", [], ["k"])
    node.attribute.append(reference("value_float", "factor", onnx.AttributeProto.FLOAT))
    return node


def kinds():
    """Sequences and optionals."""
    sequence = helper.make_tensor_sequence_value_info("s", FLOAT, ["N", 3])
    optional = helper.make_value_info("o", helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [2, 3])))
    return model([helper.make_node("SequenceInsert", ["s", "x"], ["t"]), helper.make_node("SequenceLength", ["t"], ["n"]),
                  helper.make_node("OptionalGetElement", ["o"], ["y"]),
                  helper.make_node("Optional", [], ["z"], type=helper.make_tensor_type_proto(FLOAT, [2])),
                  helper.make_node("OptionalHasElement", ["z"], ["h"])],
                 [sequence, optional, info("x", shape=("N", 3))], [info("n", INT64, ()), info("y"), info("h", BOOL, ())], opset=18)


def convolution():
    weight = np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3) / 50
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
             helper.make_node("BatchNormalization", ["c", "b", "b", "b", "v"], ["n"]), helper.make_node("Relu", ["n"], ["r"]),
             helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]), helper.make_node("Shape", ["p"], ["s"]),
             helper.make_node("Gather", ["s", "zero"], ["batch"]), helper.make_node("Concat", ["batch", "rest"], ["to"], axis=0),
             helper.make_node("Reshape", ["p", "to"], ["f"]), helper.make_node("Softmax", ["f"], ["y"])]
    return model(nodes, [info("x", shape=("batch", 3, 4, 4))], [info("y", shape=("batch", 8))],
                 [raw("w", weight), raw("b", np.float32([0.5, 1])), raw("v", np.float32([1, 2])), raw("zero", np.int64([0])),
                  raw("rest", np.int64([-1]))])


def external():
    tensor = onnx.TensorProto(name="w", data_type=FLOAT, dims=[2, 3], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "24")):
        tensor.external_data.add(key=key, value=value)
    return model([helper.make_node("Add", ["x", "w"], ["y"])], [info("x")], [info("y")], [tensor])


def simple(op, opset, ir, **attributes):
    return model([helper.make_node(op, ["x"], ["y"], name="n", **attributes)], [info("x")], [info("y")], opset=opset, ir=ir)


def body_of_standard():
    """Operators that have a function body."""
    nodes = [helper.make_node("Mish", ["x"], ["a"]), helper.make_node("ReduceLogSumExp", ["a"], ["b"]),
             helper.make_node("DynamicQuantizeLinear", ["a"], ["q", "s", "z"]), helper.make_node("MeanVarianceNormalization", ["m"], ["n"])]
    return model(nodes, [info("x"), info("m", shape=(1, 2, 2, 2))], [info("b", shape=(1, 1)), info("q", TensorProto.UINT8), info("n", shape=(1, 2, 2, 2))],
                 opset=18)


def models():
    made = {
        "relu": simple("Relu", 14, 7), "relu7": simple("Relu", 7, 3), "unknown_operator": simple("Reluu", 14, 7),
        "attributes": simple("LeakyRelu", 16, 8, alpha=0.25), "wrong_attribute": simple("Relu", 14, 7, slope=1.0),
        "tensors": tensors(), "sparse": sparse(), "constants": constants(), "branches": branches(), "loop": loop(), "scan": scan(),
        "functions": functions(), "kinds": kinds(), "convolution": convolution(), "external": external(), "bodies": body_of_standard(),
        "initializer_inputs": model([helper.make_node("Add", ["x", "w"], ["y"])], [info("x"), info("w")], [info("y")],
                                    [raw("w", np.ones((2, 3), np.float32))], opset=7, ir=3),
        "cycle": model([helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])], [info("x")], [info("b")]),
        "unsorted": model([helper.make_node("Neg", ["a"], ["y"]), helper.make_node("Abs", ["x"], ["a"])], [info("x")], [info("y")]),
        "quantized": model([helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])],
                           [info("x")], [info("y")], [raw("s", np.float32(0.1)), raw("z", np.uint8(128))]),
    }
    recursive = helper.make_function("own", "Self", ["a"], ["b"], [helper.make_node("Self", ["a"], ["b"], domain="own")],
                                     [helper.make_opsetid("own", 1)])
    made["recursion"] = model([helper.make_node("Self", ["x"], ["y"], domain="own")], [info("x")], [info("y")], functions=[recursive],
                              domains=["own"])
    return made


def damage(generator, data):
    """A few bytes changed, dropped or doubled."""
    out = bytearray(data)
    for _ in range(generator.randint(1, 3)):
        at = generator.randrange(len(out))
        kind = generator.randrange(4)
        if kind == 0:
            out[at] ^= 1 << generator.randrange(8)
        elif kind == 1:
            out[at] = generator.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            del out[at:at + generator.randint(1, 8)]
        else:
            out[at:at] = out[at:at + generator.randint(1, 16)]
    return bytes(out)


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(1)
    for name, data in sorted(files.items()):
        (folder / name).write_bytes(data)
        (folder / f"{name}.damaged").write_bytes(damage(generator, data))


def main():
    made = {f"{name}.onnx": proto.SerializeToString(deterministic=True) for name, proto in models().items()}
    write(HERE / "import", made)
    if len(sys.argv) > 1:
        plans = {}
        with tempfile.TemporaryDirectory() as folder:
            for name in ("relu", "branches", "loop", "constants", "convolution", "kinds"):
                target = pathlib.Path(folder) / f"{name}.plan"
                subprocess.run([sys.argv[1], "compile", HERE / "import" / f"{name}.onnx", "-o", target], check=True)
                plans[target.name] = target.read_bytes()
        write(HERE / "plan", plans)


if __name__ == "__main__":
    main()
