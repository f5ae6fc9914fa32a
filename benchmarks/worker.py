"""One engine with one model in one process. Reads commands on standard input, answers each with one JSON line.

    worker.py ENGINE MODEL THREADS PRECISION INPUTS.npz

`run N` runs N times and tells the milliseconds of each; `outputs FILE` saves the outputs of one run; `quit` ends. The first line
tells how long loading and the first run took, and the memory peak after them. Imports are not counted.
"""

import json
import os
import resource
import sys
import time

import numpy as np


def mitral_engine(path, threads, precision, inputs):
    import mitral

    mitral._lib()
    yield None
    if path.endswith(".plan"):
        session = mitral.load(path).session(threads=threads)
    else:
        shapes = {name: array.shape for name, array in inputs.items()}
        session = mitral.compile(path, shapes=shapes, precision=precision, threads=threads).session(threads=threads)
    yield lambda copy=False: session.run(inputs, copy=copy)


def onnxruntime_engine(path, threads, precision, inputs):
    import onnxruntime

    yield None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    yield lambda copy=False: session.run(None, inputs)


def openvino_engine(path, threads, precision, inputs):
    import openvino

    core = openvino.Core()
    yield None
    model = core.read_model(path)
    model.reshape({name: list(array.shape) for name, array in inputs.items()})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads,
                                                 "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False})
    request = compiled.create_infer_request()

    def run(copy=False):
        result = request.infer(inputs, share_inputs=True, share_outputs=not copy)
        return [np.array(result[i]) for i in range(len(compiled.outputs))] if copy else None

    yield run


def torch_engine(path, threads, precision, inputs):
    import torch

    import networks

    torch.set_num_threads(threads)
    yield None
    name = os.path.basename(path).split(".")[0]
    module = networks.initialise({"dpu-net": networks.DPUNet, "unet": networks.UNet}[name]()).eval()
    x = torch.from_numpy(inputs["image"])

    def run(copy=False):
        with torch.inference_mode():
            y = module(x)
        return [y.numpy()] if copy else None

    yield run


ENGINES = {"mitral": mitral_engine, "onnxruntime": onnxruntime_engine, "openvino": openvino_engine, "torch": torch_engine}


def answer(**fields):
    print(json.dumps(fields), flush=True)


def main():
    engine, path, threads, precision, file = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
    inputs = dict(np.load(file))
    steps = ENGINES[engine](path, threads, precision, inputs)
    next(steps)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    run = next(steps)
    loaded = time.perf_counter()
    run()
    first = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer(load_ms=1e3 * (loaded - start), first_ms=1e3 * (first - loaded), rss_mb=peak / 1024, rss_added_mb=(peak - before) / 1024)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "quit":
            return
        if command == "outputs":
            np.savez(argument, *run(copy=True))
            answer(done=True)
        else:
            times = []
            for _ in range(int(argument)):
                start = time.perf_counter()
                run()
                times.append(1e3 * (time.perf_counter() - start))
            answer(times=times)


if __name__ == "__main__":
    main()
