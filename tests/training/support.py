"""What the Python tests of training share: calling the tools, and the losses written in PyTorch."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

MITRAL = os.environ.get("MITRAL", "build/mitral")
SMALL = ["--widths", "8,16,24,32,40", "--size", "64"]
TOOLS = pathlib.Path(os.environ.get("MITRAL_TRAINING_TOOLS", "build/tests/training"))


def call(*arguments, code=0, timeout=600):
    """Runs a program; returns standard output, or standard error where a failure is expected."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, check=False, timeout=timeout)
    if done.returncode != code:
        raise AssertionError(f"{' '.join(map(str, arguments))}: exit {done.returncode}, expected {code}\n{done.stderr}")
    return done.stdout if code == 0 else done.stderr


class Folder:
    """A phantom with a student and a teacher, made once."""

    def __init__(self):
        self.storage = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.storage.name)
        call(MITRAL, "phantom", self.path / "data", "--patients", 3, "--seed", 1)
        call(MITRAL, "create", "dpu-net", "-o", self.path / "student.onnx", *SMALL)
        call(MITRAL, "create", "unet", "-o", self.path / "teacher.onnx", *SMALL, "--seed", 3)

    def __truediv__(self, name):
        return self.path / name

    def distill(self, *arguments, code=0, command="distill"):
        models = ["--teacher", self / "teacher.onnx", "--student", self / "student.onnx"] if command == "distill" \
            else ["--model", self / "student.onnx"]
        return call(MITRAL, command, *models, "--data", self / "data", "--batch", 2, *arguments, code=code)


def has_amx():
    """Whether `--precision bf16` trains here."""
    cpu = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return "amx_bf16" in cpu and os.environ.get("MITRAL_ISA", "amx") == "amx"


def node_gradients(op, inputs, weights, attributes=None, outputs=1, domain="", fixed=()):
    """Loss Σ output · weights of one node and its gradient with respect to each float64 input that is not `fixed`, by name."""
    names = [name if value is not None else "" for name, value in inputs.items()]
    while names and not names[-1]:
        names.pop()
    made = [f"y{i}" for i in range(outputs)]
    nodes = [helper.make_node(op, names, made, domain=domain, **(attributes or {})),
             helper.make_node("Mul", ["y0", "weights"], ["product"]),
             helper.make_node("ReduceSum", ["product"], ["loss"], keepdims=0)]
    kinds = {"float64": TensorProto.DOUBLE, "int64": TensorProto.INT64, "uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT,
             "int32": TensorProto.INT32, "bool": TensorProto.BOOL}
    graph_inputs = [helper.make_tensor_value_info(n, kinds[str(v.dtype)], v.shape) for n, v in inputs.items()
                    if v is not None and v.dtype == np.float64]
    constants = [numpy_helper.from_array(v, n) for n, v in inputs.items() if v is not None and v.dtype != np.float64]
    constants.append(numpy_helper.from_array(np.asarray(weights, np.float64), "weights"))
    graph = helper.make_graph(nodes, "node", graph_inputs, [helper.make_tensor_value_info("loss", TensorProto.DOUBLE, [])], constants)
    imports = [helper.make_opsetid("", onnx.defs.onnx_opset_version())]
    if domain:
        imports.append(helper.make_opsetid(domain, 1))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        onnx.save(helper.make_model(graph, opset_imports=imports), folder / "model.onnx")
        pairs = []
        for name, value in inputs.items():
            if value is not None and value.dtype == np.float64:
                np.save(folder / f"in_{name}.npy", value)
                pairs.append(f"{'@' if name in fixed else ''}{name}={folder}/in_{name}.npy")
        listed = call(TOOLS / "gradient_dump", folder / "model.onnx", folder, *pairs).split("\n")
        return (float(np.load(folder / "loss.npy")),
                {name: np.load(folder / f"{i}.npy") for i, name in enumerate(listed) if name and name != "weights"})


def close(got, want, tolerance, what):
    """Largest difference over the largest wanted value."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    if want.size:
        worst = np.abs(got - want).max() / max(np.abs(want).max(), 1e-12)
        assert worst <= tolerance, f"{what}: {worst:.3g} relative, expected {tolerance:g}"


def train_batches(images, labels, output, **options):
    """One step a batch; returns the reports."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/images.npy", images)
        np.save(f"{folder}/labels.npy", labels)
        text = call(TOOLS / "train_batches", f"{folder}/images.npy", f"{folder}/labels.npy", output,
                    *[f"{k.replace('_', '-')}={str(v).lower() if isinstance(v, bool) else v}" for k, v in options.items()])
        return [json.loads(line) for line in text.splitlines()]


# ---- the losses, as training/loss.h defines them ----

def soft_dice(probabilities, labels, epsilon=1e-5, background=False):
    classes = probabilities.shape[1]
    truth = functional.one_hot(labels.long(), classes).movedim(-1, 1).to(probabilities.dtype)
    axes = [0, *range(2, probabilities.ndim)]
    both, sizes = (probabilities * truth).sum(axes), probabilities.sum(axes) + truth.sum(axes)
    dice = (2 * both + epsilon) / (sizes + epsilon)
    return 1 - dice[0 if background else 1:].mean()


def segmentation_loss(logits, labels):
    return functional.cross_entropy(logits, labels.long()) + soft_dice(torch.softmax(logits, 1), labels)


def divergence(student, teacher, temperature, positions=False, weights=None):
    """τ² · mean of KL(teacher ‖ student) over pixels (soft-max over channels) or over channels (over positions)."""
    if positions:
        student, teacher = student.flatten(2), teacher.flatten(2)
    axis = 2 if positions else 1
    log_s, log_t = torch.log_softmax(student / temperature, axis), torch.log_softmax(teacher / temperature, axis)
    rows = (log_t.exp() * (log_t - log_s)).sum(axis)
    return temperature ** 2 * (rows if weights is None else rows * weights).mean()


def unit_distance(student, teacher):
    a, b = functional.normalize(student.flatten(1), dim=1), functional.normalize(teacher.flatten(1), dim=1)
    return ((a - b) ** 2).sum(1).mean()


def guide(teacher, temperature):
    pooled = teacher.mean((2, 3))
    return pooled.shape[1] * torch.softmax(pooled / temperature, 1)


def main(namespace):
    """Runs every test_ function of a module; prints and counts failures."""
    failed = 0
    tests = [(name, function) for name, function in namespace.items() if name.startswith("test_")]
    for name, function in tests:
        try:
            function()
            print(f"ok {name}", flush=True)
        except Exception as error:  # a test may fail in any way; all are run
            failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
