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
from onnx import numpy_helper
from onnx.backend.test.loader import DATA_DIR, load_model_tests

from support import MITRAL, main

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


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    main(globals())
