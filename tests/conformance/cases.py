"""Cases in the form of ONNX's backend suite, written from arrays; and how far mitral's outputs are from the stored ones."""

import os
import pathlib
import subprocess
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

MITRAL = os.environ.get("MITRAL", "build/mitral")


def write_case(folder, model, inputs, outputs):
    """The model (a path or a ModelProto), its inputs by name, its outputs in order (None: not compared)."""
    folder = pathlib.Path(folder)
    data = folder / "test_data_set_0"
    data.mkdir(parents=True, exist_ok=True)
    proto = onnx.load(model) if not isinstance(model, onnx.ModelProto) else model
    onnx.save(proto, folder / "model.onnx")
    constants = {tensor.name for tensor in proto.graph.initializer}
    position = 0
    for value in proto.graph.input:
        if value.name in constants:
            continue
        (data / f"input_{position}.pb").write_bytes(numpy_helper.from_array(np.asarray(inputs[value.name]), value.name).SerializeToString())
        position += 1
    for i, output in enumerate(outputs):
        if output is not None:
            (data / f"output_{i}.pb").write_bytes(numpy_helper.from_array(np.asarray(output)).SerializeToString())


def worst(got, want):
    """The largest |got - want| / (1 + |want|); infinite when types, shapes, strings or NaNs differ."""
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape or got.dtype != want.dtype:
        return float("inf")
    if want.dtype.kind in "OUS":
        return 0.0 if (got.astype(str) == want.astype(str)).all() else float("inf")
    a, b = got.astype(np.float64), want.astype(np.float64)
    with np.errstate(invalid="ignore"):
        far = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(a - b) / (1 + np.abs(b)))
    return float("inf") if np.isnan(far).any() else float(far.max(initial=0))


def distance(folder, *options):
    """(worst over the stored outputs, None), or (None, mitral's message) when it does not run."""
    folder = pathlib.Path(folder)
    with tempfile.TemporaryDirectory() as out:
        done = subprocess.run([MITRAL, "run", folder / "model.onnx", "--case", folder, "-o", out, *options], capture_output=True, text=True,
                              check=False, timeout=600)
        if done.returncode != 0:
            return None, done.stderr.strip() or f"exit {done.returncode}"
        found = 0.0
        for stored in sorted((folder / "test_data_set_0").glob("output_*.pb")):
            got, want = (numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))
                         for path in (pathlib.Path(out) / "test_data_set_0" / stored.name, stored))
            found = max(found, worst(got, want))
        return found, None
