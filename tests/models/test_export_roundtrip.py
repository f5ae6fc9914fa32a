"""Import and export of every model of ONNX's backend suite, as it is and optimized: what comes out passes onnx.checker, has the names
that went in, and gives the same outputs in ONNX Runtime.

Both files run in the same runtime, so outputs are compared closely: |d| <= 1e-5 + 1e-5 |ref|, which leaves room for constants that
it folds in another order; for float16 the bound is 2e-3, two units in the last place: with fewer nodes it rounds at other
places. Left out are models that ONNX Runtime itself does not load, and random ones, whose second run differs
from the first.
"""

import ctypes
import glob
import os
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.backend.test.loader import DATA_DIR, load_model_tests

from support import MITRAL, infer, main, run

LIBRARY = ctypes.CDLL(str(pathlib.Path(MITRAL).parent / "libmitral.so.0"))
LIBRARY.mitral_context_message.restype = ctypes.c_char_p


class Mitral:
    """The few calls of the C interface that this needs."""

    def __init__(self):
        self.context = ctypes.c_void_p()
        assert LIBRARY.mitral_context_create(ctypes.byref(self.context), None) == 0

    def fail(self, status):
        raise ImportError(status, LIBRARY.mitral_context_message(self.context).decode(errors="replace"))

    def round_trip(self, data, path, optimize=False):
        """Writes the model of these bytes to a path, optimized or as it is; ImportError with the status when it is refused."""
        model = ctypes.c_void_p()
        status = LIBRARY.mitral_model_parse(ctypes.byref(model), self.context, data, ctypes.c_size_t(len(data)), None)
        if status:
            self.fail(status)
        if optimize:
            status = LIBRARY.mitral_model_optimize(self.context, model, 1)
        status = status or LIBRARY.mitral_model_save(self.context, model, str(path).encode())
        LIBRARY.mitral_model_destroy(ctypes.byref(model))
        if status:
            self.fail(status)


def cases():
    """(name, bytes, inputs) of the suite's models; inputs as ONNX Runtime takes them."""
    for case in load_model_tests(kind="node"):
        names = [value.name for value in case.model.graph.input]
        yield case.name, case.model.SerializeToString(), dict(zip(names, case.data_sets[0][0]))
    for suite in ("simple", "pytorch-converted", "pytorch-operator"):
        for folder in sorted(glob.glob(os.path.join(DATA_DIR, suite, "*"))):
            data = pathlib.Path(folder, "model.onnx").read_bytes()
            graph = onnx.load_from_string(data).graph
            initializers = {tensor.name for tensor in graph.initializer}
            inputs = {}
            for i, value in enumerate(v for v in graph.input if v.name not in initializers):
                read = pathlib.Path(folder, "test_data_set_0", f"input_{i}.pb").read_bytes()
                if value.type.HasField("sequence_type"):
                    inputs[value.name] = numpy_helper.to_list(onnx.SequenceProto.FromString(read))
                else:
                    inputs[value.name] = numpy_helper.to_array(onnx.TensorProto.FromString(read))
            yield os.path.basename(folder), data, inputs


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def equal(got, want):
    if isinstance(want, (list, tuple)):
        return len(got) == len(want) and all(equal(g, w) for g, w in zip(got, want))
    if isinstance(want, dict):
        return got.keys() == want.keys() and all(equal(got[k], want[k]) for k in want)
    if want is None or got is None:
        return got is want
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape or got.dtype != want.dtype:
        return False
    if want.dtype.kind in "fc":
        tolerance = 2e-3 if want.dtype == np.float16 else 1e-5
        return np.allclose(got, want, rtol=tolerance, atol=tolerance, equal_nan=True)
    return bool(np.all(got == want))


def interface(model):
    """Names of inputs (without initializers that are listed as such) and outputs, metadata."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    return ([v.name for v in model.graph.input if v.name not in initializers], [v.name for v in model.graph.output],
            [(p.key, p.value) for p in model.metadata_props], model.producer_name)


def passes_checker(model):
    try:
        onnx.checker.check_model(model)
        return True
    except onnx.checker.ValidationError:
        return False


def examine(mitral, data, inputs, path, optimize):
    """What is wrong with the exported model; None: nothing; a word in brackets: not compared."""
    try:
        mitral.round_trip(data, path, optimize)
    except ImportError as error:
        return "[unsupported]" if error.args[0] == 2 else f"{error.args[1]}"
    before, after = onnx.load_from_string(data), onnx.load(path)
    if interface(before) != interface(after):
        return f"names or metadata changed: {interface(before)} to {interface(after)}"
    if passes_checker(before):
        onnx.checker.check_model(after)
    try:
        reference = session(data)
        want = reference.run(None, inputs)
        again = reference.run(None, inputs)
    except Exception:  # whatever ONNX Runtime says of the original is not about us
        return "[onnxruntime]"
    if not equal(again, want):
        return "[random]"
    got = session(path.read_bytes()).run(None, inputs)
    return None if equal(got, want) else "outputs differ"


def check_suite(optimize):
    mitral = Mitral()
    counts, failures = {}, []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "exported.onnx"
        for name, data, inputs in cases():
            try:
                found = examine(mitral, data, inputs, path, optimize)
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
            kind = found if found and found.startswith("[") else "failed" if found else "equal"
            counts[kind] = counts.get(kind, 0) + 1
            if kind == "failed":
                failures.append(f"{name}: {found}".split("\n")[0][:300])
    print(counts)
    assert not failures, "\n".join(failures[:40])
    assert counts.get("equal", 0) > 1500 and counts.get("[unsupported]", 0) < 100, counts


def test_backend_suite():
    check_suite(optimize=False)


def test_backend_suite_optimized():
    check_suite(optimize=True)


def test_same_bytes_twice():
    mitral = Mitral()
    with tempfile.TemporaryDirectory() as folder:
        first, second = pathlib.Path(folder) / "a.onnx", pathlib.Path(folder) / "b.onnx"
        for name, data, _ in cases():
            if not name.startswith("test_gru") and not name.startswith("test_loop"):
                continue
            mitral.round_trip(data, first)
            mitral.round_trip(data, second)
            assert first.read_bytes() == second.read_bytes(), name
            mitral.round_trip(first.read_bytes(), second)
            assert first.read_bytes() == second.read_bytes(), f"{name}: a second round trip changed the model"


def written(model, inputs, *options):
    """What `mitral optimize` makes of a model: the file, checked, its size, and what ONNX Runtime with all of its optimizations gives for both."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = pathlib.Path(folder) / "before.onnx", pathlib.Path(folder) / "after.onnx"
        onnx.save(model, before)
        run("optimize", before, "-o", after, *options)
        onnx.checker.check_model(after, full_check=True)
        results = []
        for path in (before, after):
            choices = onnxruntime.SessionOptions()
            choices.log_severity_level = 4
            results.append(onnxruntime.InferenceSession(str(path), choices, providers=["CPUExecutionProvider"]).run(None, inputs))
        return onnx.load(after), after.stat().st_size / before.stat().st_size, results


def quantized(constants, name, value, scale, zero, axis):
    """DequantizeLinear of a constant."""
    for suffix, array in (("q", value), ("s", np.asarray(scale, np.float32)), ("z", np.broadcast_to(np.asarray(zero, value.dtype), np.shape(scale)))):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), f"{name}_{suffix}"))
    return helper.make_node("DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], [name], axis=axis)


def test_quantized_models_stay_quantized():
    """Convolution, MatMul and Gemm between QDQ pairs, one scale a tensor and one a channel, with and without zero points of the weights."""
    random = np.random.default_rng(3)
    for channels, zero in ((False, 0), (True, 0), (False, 3)):
        constants, nodes = [], []

        def pair(x, name):
            nodes.append(helper.make_node("QuantizeLinear", [x, "scale", "zero"], [f"{name}_8"]))
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}_8", "scale", "zero"], [name]))
            return name

        def scales(count):
            return random.uniform(0.01, 0.02, count) if channels else 0.015

        constants += [numpy_helper.from_array(np.float32(0.05), "scale"), numpy_helper.from_array(np.uint8(120), "zero"),
                      numpy_helper.from_array(np.int64([0, -1]), "flat")]
        nodes += [quantized(constants, "w", random.integers(-64, 64, (16, 8, 3, 3)).astype(np.int8), scales(16), zero, 0),
                  quantized(constants, "m", random.integers(-64, 64, (16 * 36, 10)).astype(np.int8), scales(10), zero, 1),
                  quantized(constants, "g", random.integers(-64, 64, (7, 10)).astype(np.int8), scales(7), zero, 0)]
        nodes.append(helper.make_node("Conv", [pair("x", "a"), "w"], ["c"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", ["c"], ["r"]))
        nodes.append(helper.make_node("Reshape", [pair("r", "b"), "flat"], ["f"]))
        nodes.append(helper.make_node("MatMul", [pair("f", "d"), "m"], ["p"]))
        nodes.append(helper.make_node("Gemm", [pair("p", "e"), "g"], ["q"], transB=1))
        pair("q", "y")
        graph = helper.make_graph(nodes, "quantized", [helper.make_tensor_value_info("x", 1, [2, 8, 6, 6])],
                                  [helper.make_tensor_value_info("y", 1, [2, 7])], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        after, ratio, (want, got) = written(model, {"x": random.standard_normal((2, 8, 6, 6), dtype=np.float32)})
        kinds = [sum(node.op_type == kind for node in after.graph.node) for kind in ("QuantizeLinear", "DequantizeLinear")]
        assert kinds == [5, 8], (channels, zero, kinds)
        assert ratio < 1.1, (channels, zero, ratio)
        assert equal(got, want), (channels, zero, np.abs(got[0] - want[0]).max())


def test_half_sized_weights_stay_half_sized():
    weights = np.random.default_rng(4).standard_normal((64, 32)).astype(np.float16)
    nodes = [helper.make_node("Cast", ["w"], ["wide"], to=1), helper.make_node("MatMul", ["x", "wide"], ["y"])]
    graph = helper.make_graph(nodes, "half", [helper.make_tensor_value_info("x", 1, [3, 64])], [helper.make_tensor_value_info("y", 1, [3, 32])],
                              [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    _, ratio, (want, got) = written(model, {"x": np.ones((3, 64), np.float32)})
    assert ratio < 1.1 and equal(got, want), ratio


def test_states_that_nobody_declared():
    """The states of a Loop's body may have no type in the file, and be sequences: PyTorch's newer exporter writes that."""
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 21]>
        loop (int64 n, float[2,3] x) => (float[a,3] y) {
            none = SequenceEmpty<dtype=1>()
            go = Constant<value = bool {1}>()
            all = Loop(n, go, none) <body = step (int64 i, bool before, list) => (after, longer) {
                after = Identity(before)
                number = Cast<to=1>(i)
                sum = Add(x, number)
                longer = SequenceInsert(list, sum)
            }>
            y = ConcatFromSequence<axis=0>(all)
        }""")
    x = np.random.default_rng(5).standard_normal((2, 3), dtype=np.float32)
    inputs = {"n": np.asarray(3), "x": x}
    _, _, (want, got) = written(model, inputs)
    assert equal(got, want)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, f"{folder}/m.onnx")
        for options in ((), ("--interpret",)):
            assert equal([infer(f"{folder}/m.onnx", inputs, *options)["y"]], want), options


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    main(globals())
