#!/usr/bin/env python3
"""Fifty steps from the same weights on the same batches: is mitral further from PyTorch than PyTorch is from itself?

    MITRAL=build/mitral MITRAL_TRAINING_TOOLS=build/tests/training PYTHONPATH=models:tests/training python3 tests/training/long_trajectory.py [--size 96]

PyTorch runs with one and with two threads, whose sums round differently; their distance is the yardstick, for float32 training is
chaotic. Distance of two runs: mean over the steps of the relative difference of their losses. The goal is at most 3 times the yardstick. Not
part of the suite: it takes minutes.
"""

import argparse
import pathlib
import sys
import tempfile

import numpy as np
import torch

import networks
import test_trajectory
from support import MITRAL, call, train_batches

STEPS, BATCH = 50, 4


def distance(a, b, first=0, last=STEPS):
    a, b = np.asarray(a)[first:last], np.asarray(b)[first:last]
    return float(np.mean(np.abs(a - b) / np.abs(b)))


def pytorch(module, optimizer, images, labels, threads, rate):
    torch.set_num_threads(threads)
    return test_trajectory.train(module, images, labels, optimizer(module), [rate] * STEPS)


def run(kind, widths, optimizer_name, size, folder):
    rate = 0.01 if optimizer_name == "sgd" else 0.001
    path = folder / f"{kind}.onnx"
    call(MITRAL, "create", kind, "-o", path, "--widths", ",".join(map(str, widths)), "--size", size)
    test_trajectory.SIZE, test_trajectory.BATCH = size, BATCH
    images, labels = test_trajectory.make_batches(11, STEPS)
    groups = test_trajectory.groups
    optimizer = {"sgd": lambda m: torch.optim.SGD(groups(m, 1e-4), lr=rate, momentum=0.9),
                 "adamw": lambda m: torch.optim.AdamW(groups(m, 1e-4), lr=rate)}[optimizer_name]
    make = lambda: networks.initialise((networks.DPUNet if kind == "dpu-net" else networks.UNet)(widths), 0)
    one, two = (pytorch(make(), optimizer, images, labels, threads, rate) for threads in (1, 2))
    reports = train_batches(images, labels, folder / "out.onnx", student=path, steps=STEPS, optimizer=optimizer_name, lr=rate, schedule="constant", threads=2)
    ours = [report["loss"] for report in reports]
    first, yardstick = max(abs(a - b) / b for a, b in zip(ours[:10], one[:10], strict=True)), distance(two, one)
    nearest = min(distance(ours, one), distance(ours, two))
    print(f"{kind} {optimizer_name}: first ten losses within {first:.2e}; over {STEPS} steps {nearest:.2e} from PyTorch, PyTorch at one and two threads "
          f"{yardstick:.2e} apart: {nearest / yardstick:.2f} times; last losses {ours[-1]:.5f}, {one[-1]:.5f}, {two[-1]:.5f}", flush=True)
    return first <= 1e-3 and nearest <= 3 * yardstick


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", type=int, default=96)
    size = parser.parse_args().size
    with tempfile.TemporaryDirectory() as folder:
        good = [run(kind, widths, optimizer, size, pathlib.Path(folder))
                for kind, widths in (("dpu-net", networks.DPU_WIDTHS), ("unet", (16, 32, 64, 128, 256))) for optimizer in ("sgd", "adamw")]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
