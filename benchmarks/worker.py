"""One engine with one model in one process. Reads commands on standard input, answers each with one JSON line.

    worker.py ENGINE MODEL THREADS PRECISION INPUTS.npz

`run N` runs N times and tells the milliseconds of each; `outputs FILE` saves the outputs of one run; `quit` ends. The first line
tells how long loading and the first run took, and the memory peak after them. Imports are not counted.
"""

import json
import os
import pathlib
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


def ncnn_model(folder, name):
    """The files that pnnx makes of the PyTorch module, made once."""
    import subprocess

    import pnnx
    import torch

    import networks

    title = name.replace("-", "_")
    if not (folder / f"{title}.ncnn.bin").exists():
        folder.mkdir(parents=True, exist_ok=True)
        module = networks.initialise({"dpu-net": networks.DPUNet, "unet": networks.UNet}[name]()).eval()
        torch.jit.trace(module, torch.zeros(1, 1, 224, 224)).save(folder / f"{title}.pt")
        tool = pathlib.Path(pnnx.__file__).parent / "pnnx"
        subprocess.run([tool, f"{title}.pt", "inputshape=[1,1,224,224]", "fp16=0"], cwd=folder, check=True, capture_output=True)
    return str(folder / f"{title}.ncnn.param"), str(folder / f"{title}.ncnn.bin")


def ncnn_engine(path, threads, precision, inputs):
    import ncnn

    name = os.path.basename(path).split(".")[0]
    files = ncnn_model(pathlib.Path(path).parent / "ncnn", name)
    image = inputs["image"][0]
    yield None
    net = ncnn.Net()
    net.opt.num_threads = threads
    for narrow in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, narrow, False)
    net.load_param(files[0])
    net.load_model(files[1])

    def run(copy=False):
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image))
        _, result = extractor.extract("out0")
        return [np.array(result)[None]] if copy else None

    yield run


ENGINES = {"ncnn": ncnn_engine, "mitral": mitral_engine, "onnxruntime": onnxruntime_engine, "openvino": openvino_engine, "torch": torch_engine}


def peak_memory():
    """Megabytes of this process alone: what getrusage tells may be its parent's."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def answer(**fields):
    print(json.dumps(fields), flush=True)


def main():
    engine, path, threads, precision, file = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
    inputs = dict(np.load(file))
    steps = ENGINES[engine](path, threads, precision, inputs)
    next(steps)
    before = peak_memory()
    start = time.perf_counter()
    run = next(steps)
    loaded = time.perf_counter()
    run()
    first = time.perf_counter()
    peak = peak_memory()
    answer(load_ms=1e3 * (loaded - start), first_ms=1e3 * (first - loaded), rss_mb=peak, rss_added_mb=peak - before)
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
