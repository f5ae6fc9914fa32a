#!/usr/bin/env python3
"""Scores ONNX's backend suite from the outputs that `mitral run --case` writes, without asking mitral whether they are right.

    compare.py CASES [--interpret] [--peer onnxruntime|openvino] [--json OUT] [--expected FILE] [--jobs N]

A case passes as in onnx's own runner: same type and shape, |got - want| <= atol + rtol*|want|, strings equal. The six Bernoulli
cases are random: there type, shape and share of ones are checked. With --expected (see expected.txt) the run fails (exit 1) when a case that
FILE does not list stops passing, or one that it lists passes. --peer scores another runtime on the same cases in the same way.
"""

import argparse
import collections
import concurrent.futures
import ctypes
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

MITRAL = os.environ.get("MITRAL", "build/mitral")


def read(path, type_proto):
    """A stored value of the type that the model declares."""
    data = path.read_bytes()
    kind = type_proto.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    if kind == "map_type":
        return numpy_helper.to_dict(onnx.MapProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def difference(got, want, rtol, atol):
    """None when equal under the tolerances, else what differs."""
    if want is None or got is None:
        return None if want is None and got is None else "expected a value on both sides"
    if isinstance(want, dict):
        if not isinstance(got, dict) or set(got) != set(want):
            return "keys differ"
        return next(filter(None, (difference(got[k], v, rtol, atol) for k, v in want.items())), None)
    if isinstance(want, list):
        if not isinstance(got, list) or len(got) != len(want):
            return "lengths differ"
        return next(filter(None, (difference(g, w, rtol, atol) for g, w in zip(got, want))), None)
    got, want = np.asarray(got), np.asarray(want)
    if want.dtype.kind in "OUS":
        return None if got.shape == want.shape and (got.astype(str) == want.astype(str)).all() else "strings differ"
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"expected {want.dtype}{list(want.shape)}, found {got.dtype}{list(got.shape)}"
    wide = np.complex128 if want.dtype.kind == "c" else np.float64
    a, b = got.astype(wide), want.astype(wide)
    with np.errstate(invalid="ignore"):
        close = (a == b) | (np.abs(a - b) <= atol + rtol * np.abs(b)) | (np.isnan(a) & np.isnan(b))
    return None if close.all() else f"{int((~close).sum())} of {close.size} elements differ"


def tolerances(case):
    path = case / "data.json"
    values = json.loads(path.read_text()) if path.exists() else {}
    return values.get("rtol", 1e-3), values.get("atol", 1e-7)


def random_case(case):
    return case.name.startswith("test_bernoulli")


def check(case, name, got_of, model):
    """Compares every output of every data set; got_of(data set, index) gives the value."""
    rtol, atol = tolerances(case)
    for data in sorted(case.glob("test_data_set_*")):
        for i, output in enumerate(model.graph.output):
            stored = data / f"output_{i}.pb"
            if not stored.exists():
                continue
            want, got = read(stored, output.type), got_of(data, i)
            if random_case(case):
                share = float(np.asarray(got).astype(np.float64).mean())
                if got.dtype != want.dtype or got.shape != want.shape or not 0 <= share <= 1 or not set(np.unique(got.astype(float))) <= {0, 1}:
                    return "fail", "type, shape or values are not those of the distribution"
                continue
            found = difference(got, want, rtol, atol)
            if found:
                return "fail", f"output {i}: {found}"
    return "pass", ""


def run_mitral(case, name, interpret):
    model = onnx.load(case / "model.onnx", load_external_data=False)
    with tempfile.TemporaryDirectory() as folder:
        command = [MITRAL, "run", case / "model.onnx", "--case", case, "-o", folder, "--threads", "1"]
        done = subprocess.run(command + (["--interpret"] if interpret else []), capture_output=True, text=True, check=False, timeout=600)
        if done.returncode == 2:
            return "unsupported", done.stderr.strip()
        if done.returncode != 0:
            return "fail", done.stderr.strip() or f"exit {done.returncode}"
        return check(case, name, lambda data, i: read(pathlib.Path(folder) / data.name / f"output_{i}.pb", model.graph.output[i].type), model)


def is_beyond_numpy(type_proto):
    """Whether NumPy itself has no such element type, so that ONNX Runtime's Python package can neither take nor give it as an array."""
    kind = type_proto.tensor_type.elem_type
    return kind != onnx.TensorProto.STRING and kind and onnx.helper.tensor_dtype_to_np_dtype(kind).isbuiltin != 1


def stored_inputs(model, data):
    """(declaration, path) of what a data set gives; initializers that older models also list as inputs are not counted."""
    constants = {tensor.name for tensor in model.graph.initializer}
    declared = [value for value in model.graph.input if value.name not in constants]
    return [(value, data / f"input_{i}.pb") for i, value in enumerate(declared) if (data / f"input_{i}.pb").exists()]


def to_ort_value(path, type_proto):
    from onnxruntime import OrtValue

    if not is_beyond_numpy(type_proto):
        return OrtValue.ortvalue_from_numpy(read(path, type_proto))
    tensor = onnx.TensorProto.FromString(path.read_bytes())
    raw = tensor.raw_data or numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data
    value = OrtValue.ortvalue_from_shape_and_type(list(tensor.dims), tensor.data_type)
    ctypes.memmove(value.data_ptr(), raw, len(raw))
    return value


def from_ort_value(value, type_proto):
    if not is_beyond_numpy(type_proto):
        return value.numpy()
    raw = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return numpy_helper.to_array(onnx.TensorProto(dims=value.shape(), data_type=value.element_type(), raw_data=raw))


def run_onnxruntime(case, name, _):
    import onnxruntime

    model = onnx.load(case / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(case / "model.onnx"), options, providers=["CPUExecutionProvider"])
    outputs = {}
    by_bytes = any(is_beyond_numpy(value.type) for value in [*model.graph.input, *model.graph.output])
    for data in sorted(case.glob("test_data_set_*")):
        stored = stored_inputs(model, data)
        if by_bytes:
            found = session.run_with_ort_values(None, {v.name: to_ort_value(path, v.type) for v, path in stored})
            outputs[data.name] = [from_ort_value(value, v.type) for value, v in zip(found, model.graph.output)]
        else:
            outputs[data.name] = session.run(None, {v.name: read(path, v.type) for v, path in stored})
    return check(case, name, lambda data, i: outputs[data.name][i], model)


OPENVINO_TYPES = {"BFLOAT16": "bf16", "FLOAT8E4M3FN": "f8e4m3", "FLOAT8E5M2": "f8e5m2", "FLOAT8E8M0": "f8e8m0", "FLOAT4E2M1": "f4e2m1",
                  "INT4": "i4", "UINT4": "u4", "UINT2": "u2"}


def to_openvino(path, type_proto):
    import openvino

    if not is_beyond_numpy(type_proto):
        return np.array(read(path, type_proto))
    tensor = onnx.TensorProto.FromString(path.read_bytes())
    raw = tensor.raw_data or numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data
    value = openvino.Tensor(getattr(openvino.Type, OPENVINO_TYPES[onnx.TensorProto.DataType.Name(tensor.data_type)]), list(tensor.dims))
    value.data.reshape(-1).view(np.uint8)[:] = np.frombuffer(raw, np.uint8)
    return value


def from_openvino(value, type_proto):
    if not is_beyond_numpy(type_proto):
        return np.array(value.data)
    kind = type_proto.tensor_type.elem_type
    name = onnx.TensorProto.DataType.Name(kind)
    if value.element_type.get_type_name() != OPENVINO_TYPES.get(name):
        return np.array(value.data)
    return numpy_helper.to_array(onnx.TensorProto(dims=list(value.shape), data_type=kind, raw_data=value.data.tobytes()))


def run_openvino(case, name, _):
    import openvino

    core = openvino.Core()
    model = onnx.load(case / "model.onnx")
    compiled = core.compile_model(core.read_model(case / "model.onnx"), "CPU",
                                  {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    outputs = {}
    for data in sorted(case.glob("test_data_set_*")):
        request = compiled.create_infer_request()
        stored = stored_inputs(model, data)
        if len(compiled.inputs) == len(stored):  # by place: what goes straight through is called as the output is
            inputs = dict(enumerate(to_openvino(path, v.type) for v, path in stored))
        else:  # it drops what no operator needs
            kept = set().union(*(value.names for value in compiled.inputs))
            inputs = {v.name: to_openvino(path, v.type) for v, path in stored if v.name in kept}
        request.infer(inputs)  # an output may lie in an input's memory: that has to live until it is copied
        outputs[data.name] = [from_openvino(request.get_output_tensor(i), v.type) for i, v in enumerate(model.graph.output)]
    return check(case, name, lambda data, i: outputs[data.name][i], model)


def guarded(runner, case, name, interpret):
    try:
        return (name, *runner(case, name, interpret))
    except Exception as error:  # a peer fails in its own ways, some with many lines
        lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")] or [""]
        return name, "fail", f"{type(error).__name__}: {lines[0].strip()}"[:300]


def isolated(peer, cases):
    """A peer may crash: each case runs in a process of its own that is started anew after a crash."""
    results = []
    todo = list(cases)
    while todo:
        with concurrent.futures.ProcessPoolExecutor(1) as pool:
            try:
                for position, (case, name) in enumerate(todo):
                    results.append(pool.submit(guarded, {"onnxruntime": run_onnxruntime, "openvino": run_openvino}[peer], case, name,
                                               False).result(timeout=600))
                return results
            except concurrent.futures.process.BrokenProcessPool:
                results.append((todo[position][1], "fail", "the process crashed"))
                todo = todo[position + 1:]
    return results


def cases_in(folder):
    """(path, "suite/name") of every case below a folder."""
    return [(p.parent, f"{p.parent.parent.name}/{p.parent.name}") for p in sorted(folder.glob("*/*/model.onnx"))]


def score(cases, interpret=False, peer=None, jobs=None):
    """(name, "pass", "fail" or "unsupported", reason) of every case."""
    if peer:
        return isolated(peer, cases)
    with concurrent.futures.ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        return list(pool.map(lambda c: guarded(run_mitral, c[0], c[1], interpret), cases))


def expected_failures(path, interpret):
    """The names that the file lists for the path that is run: `compiled`, `interpreted` or `both`, the name, the reason."""
    names = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split("#", 1)[0].split(None, 2)
        if not words:
            continue
        if len(words) < 3 or words[0] not in ("both", "compiled", "interpreted"):
            sys.exit(f"{path}:{number}: expected 'both|compiled|interpreted CASE REASON', found '{line}'")
        if words[0] in ("both", "interpreted" if interpret else "compiled"):
            names.add(words[1])
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=pathlib.Path)
    parser.add_argument("--interpret", action="store_true")
    parser.add_argument("--peer", choices=["onnxruntime", "openvino"])
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--expected", type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    cases = cases_in(options.cases)
    if not cases:
        sys.exit(f"compare.py: expected cases in {options.cases}, found none; write them with write_cases.py")
    results = score(cases, options.interpret, options.peer, options.jobs)
    counts = collections.Counter(status for _, status, _ in results)
    if options.json:
        options.json.write_text("".join(json.dumps({"case": n, "status": s, "reason": r}) + "\n" for n, s, r in results))
    listed = expected_failures(options.expected, options.interpret) if options.expected else None
    wrong = 0
    for name, status, reason in results:
        if listed is None:
            if status != "pass":
                print(f"{status:12}{name}: {reason}")
        elif (status == "pass") == (name in listed):
            wrong += 1
            print(f"{name} is listed as failing, and passes: take it off the list" if status == "pass" else f"{status}: {name}: {reason}")
    for name in sorted((listed or set()) - {name for name, _, _ in results}):
        wrong += 1
        print(f"{name} is listed as failing, and is no case of the suite")
    print(f"{counts['pass']} passed, {counts['fail']} failed, {counts['unsupported']} unsupported of {len(results)}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
