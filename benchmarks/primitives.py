#!/usr/bin/env python3
"""Steps that mitral computes by own loops beside oneDNN's primitives for the same (primitives.c), in one thread.

    benchmarks/primitives.py [--rounds N]      prints a table in Markdown: the least of N medians of each, in µs

Needs gcc, oneDNN's headers in .venv, and what requirements-test.txt names; MITRAL names the program. Rounds alternate.
"""

import argparse
import os
import pathlib
import re
import subprocess
import tempfile

import numpy as np
import onnx
from onnx import helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parent.parent
MITRAL = os.environ.get("MITRAL", str(ROOT / "build/mitral"))
generator = np.random.default_rng(0)


def real(*shape):
    return (generator.standard_normal(shape) * 0.1).astype(np.float32)


def model(op, inputs, constants=(), outputs=("y",), **attributes):
    """Of one node; `inputs` are shapes, `constants` arrays that follow them, None where one is left out."""
    names = [f"x{i}" for i in range(len(inputs))]
    infos = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in zip(names, inputs)]
    stored = [numpy_helper.from_array(array, f"c{i}") for i, array in enumerate(constants) if array is not None]
    names += [f"c{i}" if array is not None else "" for i, array in enumerate(constants)]
    node = helper.make_node(op, names, list(outputs), **attributes)
    graph = helper.make_graph([node], "one", infos, [onnx.ValueInfoProto(name=name) for name in outputs], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def recurrent(op, time, batch, size, hidden):
    gates, outputs, more = (4, ("y", "h", "c"), {}) if op == "LSTM" else (3, ("y", "h"), {"linear_before_reset": 1})
    weights = [real(1, gates * hidden, size), real(1, gates * hidden, hidden), real(1, 2 * gates * hidden)]
    return f"{op.lower()} {time} {batch} {size} {hidden}", model(op, [[time, batch, size]], weights, outputs, hidden_size=hidden, **more)


def text(*shapes):
    return " / ".join(" ".join(map(str, shape)) for shape in shapes)


def cases():
    """(what primitives.c is asked for, the model)."""
    for sizes in ((20, 1, 128, 128), (40, 8, 256, 256), (50, 1, 64, 64), (1, 1, 512, 512)):
        yield recurrent("LSTM", *sizes)
    for sizes in ((20, 1, 128, 128), (40, 8, 256, 256), (50, 1, 64, 64)):
        yield recurrent("GRU", *sizes)
    for op, name, shape, axes in (("ReduceMean", "reduce_mean", [1, 64, 56, 56], [2, 3]), ("ReduceMean", "reduce_mean", [512, 768], [1]),
                                  ("ReduceMax", "reduce_max", [512, 1024], [1]), ("ReduceSum", "reduce_sum", [1, 64, 112, 112], [1])):
        kept = [1 if i in axes else size for i, size in enumerate(shape)]
        yield f"{name} {text(shape, kept)}", model(op, [shape], [np.array(axes, np.int64)])
    large = [1, 64, 56, 56]
    for op in ("Sigmoid", "Tanh", "Exp", "Gelu", "Relu"):
        yield f"{op.lower()} {text(large)}", model(op, [large])
    for op, first, second in (("Add", large, large), ("Mul", large, [1, 64, 1, 1]), ("Add", [128, 768], [1, 768])):
        yield f"{op.lower()} {text(first, second)}", model(op, [first, second])
    for shape in (large, [1, 16, 224, 224]):
        yield f"prelu {text(shape, [1, shape[1], 1, 1])}", model("PRelu", [shape], [real(shape[1], 1, 1)])
    for shape in ([1, 64, 56, 56], [1, 16, 112, 112]):
        twice = [*shape[:2], 2 * shape[2], 2 * shape[3]]
        yield f"resize {text(shape, twice)}", model("Resize", [shape], [None, np.array([1, 1, 2, 2], np.float32)], mode="linear")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    prefix = (ROOT / ".venv").resolve()
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/primitives"
        subprocess.run(["gcc", "-O2", str(ROOT / "benchmarks/primitives.c"), f"-I{prefix}/include", f"-L{prefix}/lib", "-ldnnl",
                        f"-Wl,-rpath,{prefix}/lib", "-o", program], check=True)
        print("| step | oneDNN, µs | mitral, µs | oneDNN's implementation |\n|---|---:|---:|---|")
        for name, proto in cases():
            onnx.save(proto, f"{folder}/model.onnx")
            subprocess.run([MITRAL, "compile", f"{folder}/model.onnx", "-o", f"{folder}/model.plan"], check=True, stdout=subprocess.DEVNULL)
            peer, own = [], []
            for _ in range(rounds):
                median, _, implementation = subprocess.run([program, *name.split()], env=environment, check=True, capture_output=True, text=True).stdout.split()
                peer.append(float(median))
                shown = subprocess.run([MITRAL, "bench", f"{folder}/model.plan", "--threads", "1", "--repeat", "200"], check=True, capture_output=True, text=True).stdout
                own.append(1000 * float(re.search(r"median of \d+ runs ([\d.]+) ms", shown)[1]))
            print(f"| {name} | {min(peer):.0f} | {min(own):.0f} | {implementation} |", flush=True)


if __name__ == "__main__":
    main()
