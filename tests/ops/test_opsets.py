"""Each operator in each version of the standard: models of one node at every opset from 7 to the newest, compiled and interpreted, against
ONNX Runtime and ONNX's reference evaluator, each where it has that version. Between two versions of an operator nothing may change, so one
result of the references serves all opsets between. Tolerance 1e-5 of 1 + |value|: float arithmetic in another order."""

import collections
import os
import pathlib
import tempfile

os.environ["ALLOW_RELEASED_ONNX_OPSET_ONLY"] = "0"  # to ONNX Runtime: the newest opsets, too

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import defs, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

import mitral  # noqa: E402
from one_node import main  # noqa: E402
from opset_cases import CASES, Const  # noqa: E402

OLDEST, NEWEST = 7, defs.onnx_opset_version()
TOLERANCE = 1e-5
# Operators whose results are random, sequences or optionals: in the backend suite and in tests of their own.
ELSEWHERE = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Optional", "OptionalGetElement",
             "OptionalHasElement"}
# (operator, first opset of a version) that neither reference has; it adds types alone, so that the results of the version before serve.
BORROWED = {("GlobalLpPool", 22), ("MaxRoiPool", 22)}
# Where a reference departs from the standard: its name, the operators, their opsets, attributes that make it so, and what it does.
MISTAKEN = [
    ("evaluator", ["Softmax", "LogSoftmax", "Hardmax"], range(7, 13), {}, "version 13 for all"),
    ("evaluator", ["BatchNormalization"], range(9, 14), {}, "blends statistics of the batch in"),
    ("evaluator", ["RoiAlign"], range(10, 16), {}, "version 16 for all"),
    ("evaluator", ["RNN", "GRU", "LSTM"], range(7, NEWEST + 1), {"direction": "reverse"}, "begins in the padding of shorter sequences"),
    ("evaluator", ["MaxPool"], range(7, NEWEST + 1), {"auto_pad": "SAME_LOWER"}, "rounds the size down"),
    ("evaluator", ["LpPool"], range(18, NEWEST + 1), {"ceil_mode": 1}, "other windows at the end"),
    ("evaluator", ["LpNormalization"], range(7, NEWEST + 1), {"p": 1}, "sums values, not their sizes"),
    ("evaluator", ["LRN"], range(7, NEWEST + 1), {}, "goes over as many channels as there are images"),
    ("ONNX Runtime", ["Dropout"], range(10, 12), {}, "a mask of false where nothing is dropped"),
    ("ONNX Runtime", ["Resize"], range(11, NEWEST + 1), {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
     "aligns to the size before it is rounded"),
    ("ONNX Runtime", ["Resize"], range(19, NEWEST + 1), {"mode": "nearest", "coordinate_transformation_mode": "half_pixel_symmetric"},
     "takes the size before it is rounded"),
]


SINCE = collections.defaultdict(set)  # by operator: the opsets that its versions begin at
for schema in defs.get_all_schemas_with_history():
    if schema.domain == "":
        SINCE[schema.name].add(schema.since_version)


def versions(op):
    """First opsets of the versions that matter from OLDEST on."""
    found = sorted(SINCE[op])
    return [version for version, after in zip(found, [*found[1:], NEWEST + 1]) if after > OLDEST]


def model_of(case, opset):
    names, inputs, constants = [], [], []
    for i, array in enumerate(case.inputs):
        names.append("" if array is None else f"x{i}")
        if isinstance(array, Const):
            constants.append(numpy_helper.from_array(array.array, f"x{i}"))
        elif array is not None:
            inputs.append(helper.make_tensor_value_info(f"x{i}", helper.np_dtype_to_tensor_dtype(array.dtype), array.shape))
    outputs = [f"y{i}" for i in range(case.outputs)]
    node = helper.make_node(case.op, names, outputs, **case.attributes)
    graph = helper.make_graph([node], "one", inputs, [onnx.ValueInfoProto(name=name) for name in outputs], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 21 else 10)


def feeds_of(case):
    return {f"x{i}": array for i, array in enumerate(case.inputs) if isinstance(array, np.ndarray)}


def by_onnxruntime(model, feeds):
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level, settings.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"]).run(None, feeds)


def by_evaluator(model, feeds):
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model).run(None, feeds)


REFERENCES = {"ONNX Runtime": by_onnxruntime, "evaluator": by_evaluator}


def by_mitral(path, feeds, interpret):
    return mitral.compile(path, threads=1, interpret=interpret).session(threads=1).run(feeds)


def difference(got, want):
    """None, or how the outputs differ."""
    for i, (a, b) in enumerate(zip(got, want)):
        if isinstance(b, list):  # a sequence
            told = f"y{i} has {len(a)} items, expected {len(b)}" if len(a) != len(b) else difference(a, b)
            if told:
                return told
            continue
        b = np.asarray(b)
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"y{i} is {a.dtype}{list(a.shape)}, expected {b.dtype}{list(b.shape)}"
        a, b = a.astype(np.float64), b.astype(np.float64)
        with np.errstate(invalid="ignore"):
            far = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(a - b) / (1 + np.abs(b)))
        if not (far <= TOLERANCE).all():
            return f"y{i} is off by {np.nanmax(far):.2g}"
    return None


def results(case, opset):
    """By name of a reference: its outputs."""
    model, feeds, found = model_of(case, opset), feeds_of(case), {}
    for name, function in REFERENCES.items():
        try:
            found[name] = function(model, feeds)
        except Exception:  # whatever keeps it from running this version
            continue
    return found


def expected_of(case, first):
    """What the references give for the version that begins at opset `first`, or for one before it that differs in types alone."""
    if (case.op, first) not in BORROWED:
        return results(case, first)
    assert not results(case, first), f"{case.op} {first}: listed as of neither reference, but one has it"
    return results(case, first - 1)


def mistakes(name, case, opset):
    """Indices of what MISTAKEN says about this."""
    return {i for i, (reference, operators, opsets, attributes, _) in enumerate(MISTAKEN)
            if reference == name and case.op in operators and opset in opsets and attributes.items() <= case.attributes.items()}


def check(case, first, last, path, seen):
    """Problems of one version of a case, at opsets first to last; `seen` gets what MISTAKEN rightly lists."""
    expected = expected_of(case, first)
    problems = [] if any(not mistakes(name, case, first) for name in expected) else [f"{case} at opset {first}: no reference for it"]
    for opset in range(first, last + 1):
        onnx.save(model_of(case, opset), path)
        for interpret in (False, True):
            where = f"{case} at opset {opset}{', interpreted' if interpret else ''}"
            try:
                got = by_mitral(path, feeds_of(case), interpret)
            except mitral.Error as error:
                problems.append(f"{where}: {error}")
                continue
            for name, want in expected.items():
                told, known = difference(got, want), mistakes(name, case, opset)
                if told and known:
                    seen |= known
                elif told:
                    problems.append(f"{where}: {told} by {name}")
    return problems


def test_every_version():
    problems, seen = [], set()
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            starts = versions(case.op)
            for start, after in zip(starts, [*starts[1:], NEWEST + 1]):
                first, last = max(start, case.first, OLDEST), min(after - 1, case.last)
                if first <= last:
                    problems += check(case, first, last, pathlib.Path(folder) / "model.onnx", seen)
    problems += [f"{entry}: not so" for i, entry in enumerate(MISTAKEN) if i not in seen]
    assert not problems, "\n  ".join([f"{len(problems)} problems", *problems])


def test_every_operator_is_there():
    several = {op for op in SINCE if len(versions(op)) > 1}
    assert several - ELSEWHERE == {case.op for case in CASES}, (several - ELSEWHERE) ^ {case.op for case in CASES}


if __name__ == "__main__":
    main(globals())
