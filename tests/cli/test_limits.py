"""Every limit of the command line holds exactly: what is at it runs, what is one above is refused in one line that names the limit, what was
found and the option that raises it."""

import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MITRAL = os.environ.get("MITRAL", "build/mitral")
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def save(folder, name, nodes, inputs, outputs, constants=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, [numpy_helper.from_array(array, key) for key, array in dict(constants).items()])
    path = folder / f"{name}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def run(model, arrays, *options):
    folder = model.parent
    command = [MITRAL, "run", str(model), "-o", str(folder / "out"), "--threads", "1", *options]
    for key, array in arrays.items():
        np.save(folder / f"{key}.npy", array)
        command += ["-i", f"{key}={folder / f'{key}.npy'}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def check(model, arrays, option, passes, refused, *texts):
    """`option` at `passes` runs, at `refused` it does not, and the line holds `texts`."""
    done = run(model, arrays, f"{option}={passes}")
    assert done.returncode == 0, (model.name, option, passes, done.stderr)
    done = run(model, arrays, f"{option}={refused}")
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 1 and lines[0].startswith("mitral run: "), (model.name, option, refused, done)
    for text in ("expected", "found", option, option[2:].replace("-", "_"), *texts):
        assert text in lines[0], (text, lines[0])
    assert run(model, arrays).returncode == 0, "the default is above all of this"


def tensors(folder):
    model = save(folder, "expand", [helper.make_node("Expand", ["x", "shape"], ["y"])], [value("x", FLOAT, [1]), value("shape", INT64, [2])],
                 [value("y", FLOAT, None)])
    arrays = {"x": np.float32([1]), "shape": np.int64([100, 50])}
    check(model, arrays, "--max-tensor-bytes", 100 * 50 * 4, 100 * 50 * 4 - 1, "19999", "float32[100,50]")
    model = save(folder, "tile", [helper.make_node("Tile", ["x", "twice"], ["y"])], [value("x", FLOAT, ["n"])], [value("y", FLOAT, ["m"])],
                 {"twice": np.int64([256])})
    check(model, {"x": np.ones(1024, np.float32)}, "--max-tensor-bytes", "1M", 2 ** 20 - 1, "float32[262144]")


def runs(folder):
    # Two values of 64 kB live at a time, in the arena: the sum of what is alive is the limit, not that of all that is computed.
    nodes = [helper.make_node("Softmax", [f"v{i}"], [f"v{i + 1}"], axis=-1) for i in range(6)]
    model = save(folder, "chain", nodes, [value("v0", FLOAT, [128, 128])], [value("v6", FLOAT, [128, 128])])
    check(model, {"v0": np.ones((128, 128), np.float32)}, "--max-run-bytes", 3 * 65536, 65535, "65535")
    # On the heap: shapes that depend on data.
    nodes = [helper.make_node("NonZero", ["x"], ["places"]), helper.make_node("Cast", ["places"], ["y"], to=FLOAT)]
    model = save(folder, "nonzero", nodes, [value("x", FLOAT, [1000])], [value("y", FLOAT, [1, "n"])])
    check(model, {"x": np.ones(1000, np.float32)}, "--max-run-bytes", 8000 + 4000 + 1024, 8000, "8000")


def loop(folder, name, trips, grows=False):
    body = helper.make_graph(
        [helper.make_node("Concat", ["s", "s"], ["t"], axis=0) if grows else helper.make_node("Add", ["s", "s"], ["t"]),
         helper.make_node("Identity", ["c"], ["d"])],
        "body", [value("i", INT64, []), value("c", BOOL, []), value("s", FLOAT, None)], [value("d", BOOL, []), value("t", FLOAT, None)])
    return save(folder, name, [helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)], [value("x", FLOAT, ["n"])],
                [value("y", FLOAT, None)], {"trips": np.int64(trips)})


def trips(folder):
    check(loop(folder, "loop", 50), {"x": np.float32([1])}, "--max-loop-trips", 50, 49, "at most 49 trips", "one more")
    body = helper.make_graph([helper.make_node("Add", ["s", "e"], ["t"])], "body", [value("s", FLOAT, [2]), value("e", FLOAT, [2])],
                             [value("t", FLOAT, [2])])
    model = save(folder, "scan", [helper.make_node("Scan", ["x", "list"], ["y"], body=body, num_scan_inputs=1)],
                 [value("x", FLOAT, [2]), value("list", FLOAT, ["n", 2])], [value("y", FLOAT, [2])])
    check(model, {"x": np.zeros(2, np.float32), "list": np.ones((30, 2), np.float32)}, "--max-loop-trips", 30, 29, "found 30")
    # A loop whose value doubles each trip ends at the limits of a run, whatever it would become: 2^40 elements in the end.
    done = run(loop(folder, "growing", 40, grows=True), {"x": np.float32([1])}, "--max-run-bytes=1M")
    assert done.returncode == 1 and "--max-run-bytes" in done.stderr and done.stderr.count("\n") == 1, done


def nested(depth):
    """A branch in a branch …; the innermost gives x."""
    node = helper.make_node("Identity", ["x"], ["y0"])
    for i in range(depth):
        body = helper.make_graph([node], f"branch{i}", [], [value(f"y{i}", FLOAT, None)])
        node = helper.make_node("If", ["c"], [f"y{i + 1}"], then_branch=body, else_branch=body)
    return node


def depth(folder):
    model = save(folder, "nested", [nested(4)], [value("x", FLOAT, ["n"]), value("c", BOOL, [])], [value("y4", FLOAT, None)])
    arrays = {"x": np.float32([1]), "c": np.bool_(True)}
    check(model, arrays, "--max-subgraph-depth", 4, 3, "at most 3 deep", "depth 4")
    plan = folder / "nested.plan"
    subprocess.run([MITRAL, "compile", str(model), "-o", str(plan)], check=True, capture_output=True, timeout=120)
    check(plan, arrays, "--max-subgraph-depth", 4, 3, "at most 3 deep", "depth 4")


def png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def images(folder):
    model = save(folder, "image", [helper.make_node("ImageDecoder", ["stream"], ["y"], pixel_format="RGB")],
                 [value("stream", TensorProto.UINT8, ["n"])], [value("y", TensorProto.UINT8, ["h", "w", 3])])
    arrays = {"stream": np.frombuffer(png(30, 20), np.uint8)}
    check(model, arrays, "--max-image-pixels", 600, 599, "at most 599 pixels", "30x20")
    check(model, arrays, "--max-tensor-bytes", 1800, 1799, "at most 1799 bytes")


def usage(folder):
    for option, text in (("--max-tensor-bytes", "0"), ("--max-tensor-bytes", "12X"), ("--max-tensor-bytes", "9000000T"),
                         ("--max-run-bytes", "-1"), ("--max-loop-trips", "1K"), ("--max-subgraph-depth", "1001"), ("--max-image-pixels", "")):
        done = run(folder / "expand.onnx", {}, f"{option}={text}")
        assert done.returncode == 64 and done.stderr.count("\n") == 1 and option in done.stderr and f"'{text}'" in done.stderr, done


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for part in (tensors, runs, trips, depth, images, usage):
            part(folder)
            print(part.__name__)


if __name__ == "__main__":
    sys.exit(main())
