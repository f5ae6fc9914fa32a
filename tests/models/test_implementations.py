"""What runs the steps of a plan: no convolution, product, pooling or resampling of DPU-Net, the U-Net or the published dilated-parallel
networks is one of oneDNN's plain `ref` implementations, and no convolution or product falls to the reference kernels. The published
networks' outputs are PyTorch's, and their dilated-parallel blocks are found."""

import json
import os
import pathlib
import re
import sys
import tempfile

import numpy as np
import torch

import networks
from support import infer, main, run
from test_exporters import calibrated, export

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks"))
import published

# As many dilated-parallel blocks as each network has.
BLOCKS = {"espnet": 13, "espnetv2": 17, "ce-net": 1, "cgnet": 24, "dabnet": 9, "deeplab-aspp": 1, "inception-dilated": 14}
HEAVY = re.compile(r"conv|matmul|gemm|pool|resiz|resampl|upsample|deconvolution|dilated", re.IGNORECASE)
PLAIN = {"Conv", "ConvTranspose", "MatMul", "Gemm", "mitral.Convolution", "mitral.ConvolutionTranspose", "mitral.DilatedParallelBlock"}


def steps_of(plan):
    return json.loads(run("inspect", plan, "--json"))["steps"]


def check_steps(path, folder, size):
    for precision, threads, isa in (("f32", 2, "avx2"), ("bf16", 2, ""), ("f32", 1, "")):
        plan = folder / "model.plan"
        os.environ["MITRAL_ISA"] = isa
        try:
            run("compile", path, "-o", plan, "--threads", threads, "--precision", precision, "--shape", f"image={size}")
            steps = steps_of(plan)
        finally:
            del os.environ["MITRAL_ISA"]
        assert any(HEAVY.search(step["kernel"]) for step in steps)
        for step in steps:
            said, implementation = f"{path.name} {precision} {isa} {threads} threads: {step}", step.get("implementation", "")
            assert not (HEAVY.search(step["kernel"]) and "ref" in implementation), said
            assert step["kernel"] not in PLAIN and implementation not in PLAIN, said
    return steps


def check_own(module):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        export(module, folder / "model.onnx", False, 64)
        check_steps(folder / "model.onnx", folder, "1x1x64x64")


def test_dpu_net():
    check_own(calibrated(networks.DPUNet()))


def test_unet():
    check_own(calibrated(networks.UNet()))


class LargeKernelAttention(torch.nn.Module):
    """Guo et al., Visual Attention Network: a dilated depthwise convolution whose padding is wider than oneDNN's depthwise code takes."""

    def __init__(self, channels):
        super().__init__()
        self.near = torch.nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.far = torch.nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.mix = torch.nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x * self.mix(self.far(self.near(x)))


def test_dilated_depthwise():
    module, x = LargeKernelAttention(24).eval(), torch.from_numpy(np.random.default_rng(0).normal(size=(1, 24, 30, 41)).astype(np.float32))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        torch.onnx.export(module, x, folder / "attention.onnx", dynamo=False, input_names=["image"], output_names=["out"])
        steps = check_steps(folder / "attention.onnx", folder, "1x24x30x41")
        assert not any("gemm" in step.get("implementation", "") for step in steps), steps
        with torch.inference_mode():
            want = module(x).numpy()
        for threads in "1", "3":
            got = infer(folder / "attention.onnx", {"image": x.numpy()}, "--threads", threads)["out"]
            assert np.abs(got - want).max() <= 1e-5 * np.ptp(want)


def check_published(name):
    _, channels, _, small = published.NETWORKS[name]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        path = folder / f"{name}.onnx"
        published.export(name, path, small)
        size = f"1x{channels}x{small[0]}x{small[1]}"
        steps = check_steps(path, folder, size)
        blocks = sum(step["kernel"] == "planar.dilated_block" for step in steps)
        module, x = published.build(name, small)
        with torch.inference_mode():
            want = module(x).numpy()
        # Dozens of layers of f32, summed in another order and by Winograd's products: a few roundings each, of the output's range.
        got = infer(path, {"image": x.numpy()}, "--threads", "2")["out"]
        change = float(np.abs(got - want).max() / (want.max() - want.min()))
        print(f"{name}: {blocks} blocks, {change:.1e} of the range")
        assert blocks == BLOCKS[name] and change <= 1e-4


for each in published.NETWORKS:
    globals()[f"test_{each}"] = lambda name=each: check_published(name)

if __name__ == "__main__":
    main(globals())
