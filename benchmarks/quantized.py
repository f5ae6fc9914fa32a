#!/usr/bin/env python3
"""DPU-Net, the U-Net and models that people ship in 8 bits, mitral beside ONNX Runtime.

    python3 benchmarks/quantized.py [--threads 1] [--rounds 3] [--only TEXT]      MITRAL names the program

The two networks and PP-OCR's detector (depthwise convolutions) are quantized by ONNX Runtime's quantizer (QDQ, one scale a tensor and one a
channel); the networks have initial weights and read noise: what is timed does not depend on them. The others came quantized (real_models.py).
Each figure is the median of the rounds' medians; rounds alternate between the runtimes. Needs what requirements-test.txt names.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import version_converter
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import real_models

MITRAL = os.environ.get("MITRAL", "build/mitral")
SHAPE = (1, 1, 224, 224)
CHANNEL_OPSET = 13  # the first whose DequantizeLinear knows one scale a channel
DETECTOR = "rapidocr_onnxruntime/ch_PP-OCRv4_det_infer"


class Reader(CalibrationDataReader):
    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        return next(self.batches, None)


def quantized(title, path, batches):
    """The model itself, and its two quantized forms."""
    yield f"{title}, float32", path, batches[0]
    model = onnx.load(path)
    if next(entry.version for entry in model.opset_import if entry.domain == "") < CHANNEL_OPSET:
        path = path.with_suffix(".newer.onnx")
        onnx.save(version_converter.convert_version(model, CHANNEL_OPSET), path)
    prepared = path.with_suffix(".prepared.onnx")
    quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    for per_channel in (False, True):
        out = path.with_suffix(f".{'channel' if per_channel else 'tensor'}.onnx")
        quantize_static(str(prepared), str(out), Reader(batches), quant_format=QuantFormat.QDQ, per_channel=per_channel,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
        yield f"{title}, 8 bits, a scale a {'channel' if per_channel else 'tensor'}", out, batches[0]


def models(folder):
    """(title, path, inputs)."""
    random = np.random.default_rng(3)
    for network in ("dpu-net", "unet"):
        path = folder / f"{network}.onnx"
        subprocess.run([MITRAL, "create", network, "--batch", "1", "-o", path], check=True, capture_output=True)
        yield from quantized(network, path, [{"image": random.standard_normal(SHAPE, dtype=np.float32)} for _ in range(4)])
    for model in real_models.load():
        if model.name == DETECTOR:
            path = folder / "detector.onnx"
            path.write_bytes(model.path.read_bytes())
            yield from quantized("PP-OCRv4 detection", path, [model.inputs])
        elif ".int8" in model.name:
            yield model.name, model.path, model.inputs


def time_mitral(path, inputs, threads):
    with tempfile.TemporaryDirectory() as folder:
        command = [MITRAL, "bench", path, "--threads", str(threads)]
        for name, value in inputs.items():
            np.save(pathlib.Path(folder) / f"{name}.npy", value)
            command.append(f"--input={name}={folder}/{name}.npy")
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(re.search(r"median of \d+ runs ([0-9.]+) ms", done.stdout + done.stderr).group(1))


def time_onnxruntime(path, inputs, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    times = []
    for _ in range(23):
        start = time.perf_counter()
        session.run(None, inputs)
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:]) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="models whose title has this in it")
    options = parser.parse_args()
    print("| model | mitral, ms | ONNX Runtime, ms |\n|---|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        for title, path, inputs in models(pathlib.Path(name)):
            if options.only not in title:
                continue
            rounds = [(time_mitral(path, inputs, options.threads), time_onnxruntime(path, inputs, options.threads)) for _ in range(options.rounds)]
            print(f"| {title} | {statistics.median(a for a, _ in rounds):.2f} | {statistics.median(b for _, b in rounds):.2f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
