"""--precision bf16 of both networks: the plan says what it does, its outputs stay near those of f32, and it runs where there is no
bfloat16 arithmetic too."""

import os
import pathlib
import re
import tempfile

import numpy as np

import networks
from support import infer, main, run
from test_exporters import calibrated, export


def check(module):
    x = np.random.default_rng(0).standard_normal((1, 1, 224, 224)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path, plan = pathlib.Path(folder) / "model.onnx", pathlib.Path(folder) / "model.plan"
        export(module, path, False)
        said = run("compile", path, "-o", plan, "--precision", "bf16", "--shape", "image=1x1x224x224")
        percent = float(re.search(r"output 'logits' changes by at most .*, ([0-9.]+) % of its range", said).group(1))
        want = infer(path, {"image": x})["logits"]
        spread = want.max() - want.min()
        for isa in ("", "avx2"):
            # A few roundings to 8 bits of a network that keeps its activations in range: 2 % of the output's range, 2 % of the labels.
            os.environ["MITRAL_ISA"] = isa
            try:
                got = infer(plan, {"image": x})["logits"]
            finally:
                del os.environ["MITRAL_ISA"]
            change = float(np.abs(got - want).max() / spread)
            labels = float((got.argmax(1) != want.argmax(1)).mean())
            print(f"stated {percent} %, ISA '{isa}': {100 * change:.2f} % of the range, {100 * labels:.2f} % of the labels")
            assert change <= 0.02 and labels <= 0.02 and percent <= 2


def test_dpu_net():
    check(calibrated(networks.DPUNet()))


def test_unet():
    check(calibrated(networks.UNet()))


if __name__ == "__main__":
    main(globals())
