"""What training writes is what others load; students and teachers as others export them."""

import json
import os
import re
import subprocess
import warnings

import numpy as np
import onnx
import onnxruntime
import openvino
import torch

import networks
from support import MITRAL, Folder, call, main

FOLDER = Folder()
warnings.filterwarnings("ignore")  # the exporter remarks on every batch norm in training mode


def test_export_is_what_others_load():
    """Same names, order and metadata; outputs equal in ONNX Runtime, OpenVINO and PyTorch within 1e-4 of the range; no adapters, no training mode."""
    FOLDER.distill("--steps", 5, "--validation", 0.3, "-o", FOLDER / "student_trained.onnx")
    before, after = onnx.load(FOLDER / "student.onnx"), onnx.load(FOLDER / "student_trained.onnx")
    onnx.checker.check_model(after, full_check=True)
    assert [i.name for i in before.graph.initializer] == [i.name for i in after.graph.initializer]
    assert [(n.name, n.op_type, list(n.input), list(n.output)) for n in before.graph.node] == \
           [(n.name, n.op_type, list(n.input), list(n.output)) for n in after.graph.node]
    assert {p.key: p.value for p in before.metadata_props}.items() <= {p.key: p.value for p in after.metadata_props}.items()
    configuration = json.loads((FOLDER / "student_trained.json").read_text())
    assert configuration["steps"] == 5 and configuration["method"] == "mavkd"
    changed = [i.name for i, k in zip(before.graph.initializer, after.graph.initializer, strict=True) if i.raw_data != k.raw_data]
    assert "head.weight" in changed and any(name.endswith("running_var") for name in changed)
    x = np.random.default_rng(0).standard_normal((2, 1, 64, 64)).astype(np.float32)
    np.save(FOLDER / "x.npy", x)
    call(MITRAL, "run", FOLDER / "student_trained.onnx", "-i", f"image={FOLDER / 'x.npy'}", "-o", FOLDER / "out")
    ours = np.load(FOLDER / "out" / "logits.npy")
    peer = onnxruntime.InferenceSession(FOLDER / "student_trained.onnx", providers=["CPUExecutionProvider"]).run(None, {"image": x})[0]
    vino = openvino.compile_model(openvino.Core().read_model(FOLDER / "student_trained.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    vinos = vino(x)[0]
    module = networks.DPUNet((8, 16, 24, 32, 40)).eval()
    state = {i.name: torch.from_numpy(onnx.numpy_helper.to_array(i).copy()) for i in after.graph.initializer}
    missing, unexpected = module.load_state_dict({k: v for k, v in state.items() if k in module.state_dict()}, strict=False)
    assert all(k.endswith("num_batches_tracked") for k in missing) and not unexpected
    with torch.no_grad():
        torchs = module(torch.from_numpy(x)).numpy()
    span = float(peer.max() - peer.min())
    for name, theirs in (("ONNX Runtime", peer), ("OpenVINO", vinos), ("PyTorch", torchs)):
        assert np.abs(ours - theirs).max() <= 1e-4 * span, f"{name}: {np.abs(ours - theirs).max() / span:.2g} of the range"


def test_export_from_pytorch_in_training_mode():
    """Unfolded exports go back into a state_dict by name; the trained file is for inference."""
    module = networks.initialise(networks.DPUNet((8, 16, 24, 32, 40)), 5).train()
    path = FOLDER / "exported.onnx"
    torch.onnx.export(module, torch.zeros(2, 1, 64, 64), path, training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False, dynamo=False,
                      input_names=["image"], output_names=["logits"], dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}})
    out = FOLDER / "exported_trained.onnx"
    call(MITRAL, "train", "--model", path, "--data", FOLDER / "data", "--batch", 2, "--steps", 3, "-o", out)
    trained = onnx.load(out)
    onnx.checker.check_model(trained, full_check=True)
    state = {i.name: torch.from_numpy(onnx.numpy_helper.to_array(i).copy()) for i in trained.graph.initializer}
    missing, _ = module.load_state_dict({k: v for k, v in state.items() if k in module.state_dict()}, strict=False)
    assert all(k.endswith("num_batches_tracked") for k in missing), f"not in the export: {missing[:3]}"
    x = np.random.default_rng(1).standard_normal((2, 1, 64, 64)).astype(np.float32)
    peer = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"]).run(None, {"image": x})[0]
    with torch.no_grad():
        want = module.eval()(torch.from_numpy(x)).numpy()
    assert np.abs(peer - want).max() <= 1e-4 * float(want.max() - want.min()), "PyTorch and the export differ"


class Gated(torch.nn.Module):
    """An encoder and a decoder of two sizes whose stages end in `kind()`, times weights of its channels where `squeeze`."""

    def __init__(self, kind, squeeze):
        super().__init__()
        nn = torch.nn
        self.down, self.middle, self.up = nn.Conv2d(1, 4, 3, 1, 1), nn.Conv2d(4, 8, 3, 2, 1), nn.ConvTranspose2d(8, 4, 2, 2)
        self.head, self.squeeze = nn.Conv2d(4, 4, 1), squeeze
        self.first, self.second, self.third = kind(), kind(), kind()
        self.weigh = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1), nn.Sigmoid())
        self.maps = {}

    def forward(self, x):
        x = self.second(self.middle(self.first(self.down(x))))
        self.maps[32] = x * self.weigh(x) if self.squeeze else x
        self.maps[64] = self.third(self.up(self.maps[32]))
        return self.head(self.maps[64])


def test_automatic_taps_are_ends_of_activations():
    """Not the factors that SiLU, Mish, GELU, older files' Hardswish and weights of channels are written with: the taps are what PyTorch's modules give."""
    nn = torch.nn
    for number, (kind, squeeze, opset) in enumerate(((nn.SiLU, False, 17), (nn.Mish, False, 17), (nn.GELU, False, 17), (nn.Hardswish, False, 11),
                                                     (nn.ReLU, True, 17), (nn.SiLU, True, 17), (lambda: nn.GELU("tanh"), False, 17))):
        torch.manual_seed(number)
        module, image, path = Gated(kind, squeeze).eval(), torch.randn(2, 1, 64, 64), FOLDER / "gated.onnx"
        torch.onnx.export(module, image, path, opset_version=opset, dynamo=False, input_names=["image"], output_names=["logits"])
        done = subprocess.run([MITRAL, "distill", "--teacher", path, "--student", path, "--data", FOLDER / "data", "--batch", "2", "--steps", "1",
                               "-o", FOLDER / "gated_out.onnx"], capture_output=True, text=True, check=True)
        taps = re.findall(r"^tap (.*)=(.*): \d+ and \d+ channels, (\d+)x", done.stderr, re.MULTILINE)
        assert [int(size) for _, _, size in taps] == [32, 64], (kind, done.stderr)
        with torch.no_grad():
            module(image)
        model = onnx.load(path)
        for ours, theirs, size in taps:
            assert ours == theirs, taps
            model.graph.output.append(onnx.ValueInfoProto(name=ours))
            found = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run([ours], {"image": image.numpy()})[0]
            want = module.maps[int(size)].numpy()
            assert found.shape == want.shape and np.abs(found - want).max() < 1e-4, (kind, squeeze, ours)


def test_folded_student_is_remarked():
    module = networks.initialise(networks.UNet((8, 16, 24, 32, 40)), 5).eval()
    path = FOLDER / "folded.onnx"
    torch.onnx.export(module, torch.zeros(2, 1, 64, 64), path, dynamo=False, input_names=["image"], output_names=["logits"],
                      dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}})
    done = subprocess.run([MITRAL, "train", "--model", path, "--data", FOLDER / "data", "--batch", "2", "--steps", "1", "-o",
                           FOLDER / "folded_trained.onnx"], capture_output=True, text=True, check=True)
    assert "do_constant_folding=False" in done.stderr, done.stderr
    done = subprocess.run([MITRAL, "train", "--model", FOLDER / "student.onnx", "--data", FOLDER / "data", "--batch", "2", "--steps", "1", "-o",
                           FOLDER / "unfolded_trained.onnx"], capture_output=True, text=True, check=True)
    assert "do_constant_folding" not in done.stderr, done.stderr


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main(globals())
