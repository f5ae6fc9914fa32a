"""What PyTorch's two exporters write of the same networks gives the outputs of ONNX Runtime within 1e-4 of 1 + |value|, compiled
and interpreted."""

import pathlib
import tempfile
import warnings

import numpy as np
import onnxruntime
import torch

import networks
from support import infer, main, worst


def calibrated(module, channels=1, size=64):
    """He-random weights let activations grow: batch norms that saw data once keep every layer alive and in range."""
    networks.initialise(module, seed=3).train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None
        for _ in range(2):
            module(torch.randn(4, channels, size, size, generator=generator))
    return module.eval()


def export(module, path, dynamo, size=224):
    x = torch.zeros(1, 1, size, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            torch.onnx.export(module, (x,), path, dynamo=True, input_names=["image"], output_names=["logits"], verbose=False)
        else:
            torch.onnx.export(module, (x,), path, dynamo=False, input_names=["image"], output_names=["logits"], opset_version=17,
                              dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}})


def check(module, dynamo):
    x = np.random.default_rng(0).standard_normal((1, 1, 224, 224)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        export(module, path, dynamo)
        want = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": x})[0]
        for options in ([], ["--interpret"]):
            got = infer(path, {"image": x}, *options)["logits"]
            error = worst(got, want)
            print(f"dynamo={dynamo} {options}: {error:.2e}")
            assert error <= 1e-4, f"dynamo={dynamo} {options}: {error}"


def test_dpu_net_torchscript():
    check(calibrated(networks.DPUNet()), False)


def test_dpu_net_dynamo():
    check(calibrated(networks.DPUNet()), True)


def test_unet_torchscript():
    check(calibrated(networks.UNet()), False)


def test_unet_dynamo():
    check(calibrated(networks.UNet()), True)


if __name__ == "__main__":
    main(globals())
