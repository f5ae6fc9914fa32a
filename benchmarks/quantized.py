#!/usr/bin/env python3
"""DPU-Net and the U-Net in 8 bits: ONNX Runtime's quantizer (QDQ, one scale a tensor and one a channel), mitral beside ONNX Runtime, one thread.

    python3 benchmarks/quantized.py [--rounds 3]      MITRAL names the program

Initial weights and noise: what is timed does not depend on them. Each figure is the median of the rounds' medians; rounds alternate between the
runtimes. Needs what requirements-test.txt names.
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
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

MITRAL = os.environ.get("MITRAL", "build/mitral")
SHAPE = (1, 1, 224, 224)


class Reader(CalibrationDataReader):
    def __init__(self):
        random = np.random.default_rng(3)
        self.batches = iter([{"image": random.standard_normal(SHAPE, dtype=np.float32)} for _ in range(4)])

    def get_next(self):
        return next(self.batches, None)


def models(folder):
    for network in ("dpu-net", "unet"):
        path = folder / f"{network}.onnx"
        subprocess.run([MITRAL, "create", network, "--batch", "1", "-o", path], check=True, capture_output=True)
        yield f"{network}, float32", path
        prepared = folder / f"{network}.prepared.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        for per_channel in (False, True):
            out = folder / f"{network}.{per_channel}.onnx"
            quantize_static(str(prepared), str(out), Reader(), quant_format=QuantFormat.QDQ, per_channel=per_channel,
                            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
            yield f"{network}, 8 bits, a scale a {'channel' if per_channel else 'tensor'}", out


def time_mitral(path):
    done = subprocess.run([MITRAL, "bench", path, "--threads", "1"], check=True, capture_output=True, text=True)
    return float(re.search(r"median of \d+ runs ([0-9.]+) ms", done.stdout + done.stderr).group(1))


def time_onnxruntime(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {"image": np.random.default_rng(7).standard_normal(SHAPE, dtype=np.float32)}
    times = []
    for _ in range(15):
        start = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:]) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print("| model | mitral, ms | ONNX Runtime, ms |\n|---|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        for title, path in models(pathlib.Path(name)):
            rounds = [(time_mitral(path), time_onnxruntime(path)) for _ in range(options.rounds)]
            print(f"| {title} | {statistics.median(a for a, _ in rounds):.1f} | {statistics.median(b for _, b in rounds):.1f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
