"""--precision bf16 of both networks: the plan says what it does, its outputs stay as near to those of f32 as OpenVINO's bfloat16 does,
and it runs where there is no bfloat16 arithmetic too."""

import os
import pathlib
import re
import tempfile

import numpy as np
import openvino

import networks
from support import infer, main, run
from test_exporters import calibrated, export


def distance(got, want):
    """The largest difference as a part of the range, and the part of the pixels whose label differs."""
    return float(np.abs(got - want).max() / (want.max() - want.min())), float((got.argmax(1) != want.argmax(1)).mean())


def peer_outputs(path, x):
    core = openvino.Core()
    return core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})(x)[0]


def check(module):
    x = np.random.default_rng(0).standard_normal((1, 1, 224, 224)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path, plan = pathlib.Path(folder) / "model.onnx", pathlib.Path(folder) / "model.plan"
        export(module, path, False)
        said = run("compile", path, "-o", plan, "--precision", "bf16", "--shape", "image=1x1x224x224")
        percent = float(re.search(r"output 'logits' changes by at most .*, ([0-9.]+) % of its range", said).group(1))
        want = infer(path, {"image": x})["logits"]
        # How much roundings to 8 bits change depends on the network (depth and gains amplify them): a peer's bfloat16 is the measure.
        # Where the CPU has none, neither rounds.
        peer_change, peer_labels = (max(part, 1e-3) for part in distance(peer_outputs(path, x), want))
        for isa in ("", "avx2"):
            os.environ["MITRAL_ISA"] = isa
            try:
                got = infer(plan, {"image": x})["logits"]
            finally:
                del os.environ["MITRAL_ISA"]
            change, labels = distance(got, want)
            print(f"stated {percent} %, ISA '{isa}': {100 * change:.2f} % of the range, {100 * labels:.2f} % of the labels; "
                  f"OpenVINO {100 * peer_change:.2f} %, {100 * peer_labels:.2f} %")
            assert change <= peer_change and labels <= peer_labels and percent <= 100 * peer_change


def test_dpu_net():
    check(calibrated(networks.DPUNet()))


def test_unet():
    check(calibrated(networks.UNet()))


if __name__ == "__main__":
    main(globals())
