#!/usr/bin/env python3
"""mitral beside its peers: same dtype, same threads, outputs checked first, everything interleaved in one run.

    run.py [--only TEXT] [--rounds N] [--quick] [--no-training] [--name NAME]

Writes benchmarks/results/NAME.json, NAME.md and NAME.png [latest]. A round gives each engine a turn of a few runs; medians are
over all rounds. Each engine is a process of its own, pinned to as many cores as it has threads. The load average is recorded.
Cold starts are whole processes through each engine's C interface (cold_start.c). benchmarks/compare tells two results apart.
"""

import argparse
import importlib
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx

import report

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK, RESULTS = ROOT / "benchmarks/work", ROOT / "benchmarks/results"
ENVIRONMENT = dict(os.environ, PYTHONPATH=os.pathsep.join([f"{ROOT}/python", f"{ROOT}/models", f"{ROOT}/benchmarks", *filter(None, [os.environ.get("PYTHONPATH")])]),
                   MITRAL_LIBRARY=os.environ.get("MITRAL_LIBRARY", str(ROOT / "build/libmitral.so")))
MITRAL = os.environ.get("MITRAL", str(ROOT / "build/mitral"))
PEERS = {"f32": ["onnxruntime", "openvino"], "bf16": ["openvino"]}
OWN_PEERS = ["torch", "ncnn"] # of our own networks in f32: those that are not given ONNX files


class Engine:
    def __init__(self, name, model, threads, precision, inputs):
        self.name = name
        cores = sorted(os.sched_getaffinity(0))[:threads]
        self.process = subprocess.Popen([sys.executable, ROOT / "benchmarks/worker.py", name, model, str(threads), precision, inputs],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env=dict(ENVIRONMENT, OMP_NUM_THREADS=str(threads)),
                                        preexec_fn=lambda: os.sched_setaffinity(0, cores))
        self.start = self.answer()
        self.times = []

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.stderr.read().strip().splitlines()[-1][:300] or "the process ended")
        return json.loads(line)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def light_models():
    folder = pathlib.Path(onnx.__file__).parent / "backend/test/data/light"
    return [(path.stem.removeprefix("light_"), path) for path in sorted(folder.glob("light_*.onnx"))]


def prepare_models():
    """(name, path, group) of every network; made once."""
    WORK.mkdir(parents=True, exist_ok=True)
    found = []
    for name in ("dpu-net", "unet"):
        path = WORK / f"{name}.onnx"
        subprocess.run([MITRAL, "create", name, "-o", path], check=True)
        found.append((name, path, "own"))
    for group, module in (("published", optional("published")), ("real", optional("real_models"))):
        found += [(name, path, group) for name, path in module.export_all(WORK)] if module else []
    found += [(name, path, "general") for name, path in light_models()]
    return found


def optional(name):
    """A module beside this one; None where it is not there, or what it needs is not."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def make_inputs(path, file):
    """The inputs beside the model (MODEL.npz), else standard-normal ones from a fixed seed; unknown dimensions are 1."""
    if path.with_suffix(".npz").exists():
        shutil.copyfile(path.with_suffix(".npz"), file)
        return
    generator = np.random.default_rng(1)
    graph = onnx.load(path, load_external_data=False).graph
    constants = {i.name for i in graph.initializer}
    arrays = {}
    for value in graph.input:
        if value.name in constants:
            continue
        shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
        arrays[value.name] = generator.standard_normal(shape).astype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    np.savez(file, **arrays)


def outputs_of(engine, folder):
    file = folder / f"{engine.name}.npz"
    engine.ask(f"outputs {file}")
    loaded = np.load(file)
    return [loaded[key] for key in loaded.files]


def largest_difference(a, b):
    """Of all outputs, relative to each output's range."""
    worst = 0.0
    for x, y in zip(a, b):
        span = float(y.max() - y.min()) or 1.0
        worst = max(worst, float(np.abs(x.astype(np.float64) - y).max()) / span)
    return worst


def steps_of(plan, threads, folder):
    """The lines of `mitral bench --profile`'s table by step."""
    told = subprocess.run([MITRAL, "bench", plan, "--threads", str(threads), "--profile", folder / "trace.json"], capture_output=True, text=True,
                          check=True).stdout.splitlines()
    first = next(i for i, line in enumerate(told) if line.startswith("peaks measured"))
    return [line.rstrip() for line in told[first:]]


def measure(name, path, threads, precision, rounds):
    """One row: every engine on one network with one thread count."""
    row = {"network": name, "threads": threads, "precision": precision, "load_average": os.getloadavg()[0], "engines": {}}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        file = folder / "inputs.npz"
        make_inputs(path, file)
        plan = folder / "model.plan"
        shapes = [f"--shape={k}={'x'.join(map(str, v.shape))}" for k, v in np.load(file).items()]
        subprocess.run([MITRAL, "compile", path, "-o", plan, "--threads", str(threads), "--precision", precision, *shapes], check=True)
        engines = []
        peers = PEERS[precision] + (OWN_PEERS if name in ("dpu-net", "unet") and precision == "f32" else [])
        for engine in ["mitral", *peers]:
            try:
                engines.append(Engine(engine, str(plan if engine == "mitral" else path), threads, precision, str(file)))
            except RuntimeError as error:
                row["engines"][engine] = {"error": str(error)}
        outputs = {engine.name: outputs_of(engine, folder) for engine in engines}
        reference = outputs.get("onnxruntime") or outputs.get("openvino")
        for engine in engines:
            engine.difference = largest_difference(outputs[engine.name], reference) if reference else None
            first = engine.ask("run 3")["times"][-1]
            engine.count = max(1, min(50, int(300 / max(first, 0.1)))) # a turn lasts about 0.3 s
        for _ in range(rounds):
            for engine in engines:
                engine.times += engine.ask(f"run {engine.count}")["times"]
        if name in ("dpu-net", "unet"):
            row["steps"] = steps_of(plan, threads, folder)
        for engine in engines:
            ordered = sorted(engine.times)
            row["engines"][engine.name] = {
                "median_ms": statistics.median(ordered), "p90_ms": ordered[int(0.9 * (len(ordered) - 1))], "runs": len(ordered),
                "load_ms": engine.start["load_ms"], "first_ms": engine.start["first_ms"], "rss_mb": engine.start["rss_mb"],
                "rss_added_mb": engine.start["rss_added_mb"], "difference": engine.difference}
            engine.close()
    return row


def peer_library(package, pattern):
    module = optional(package)
    found = sorted(pathlib.Path(module.__file__).parent.glob(pattern)) if module else []
    return found[0] if found else None


def cold_starts(folder, runs):
    """Rows of whole processes, from their start to the first output of DPU-Net, page cache warm; engines take turns."""
    program, model, plan = folder / "cold_start", WORK / "dpu-net.onnx", folder / "dpu-net.plan"
    subprocess.run(["cc", "-std=gnu11", "-O2", f"-I{ROOT}/include", ROOT / "benchmarks/cold_start.c", "-o", program, "-ldl"], check=True)
    rows = []
    for threads in (1, 2):
        subprocess.run([MITRAL, "compile", model, "-o", plan, "--threads", str(threads), "--shape=image=1x1x224x224"], check=True)
        engines = {"mitral": (ENVIRONMENT["MITRAL_LIBRARY"], plan),
                   "onnxruntime": (peer_library("onnxruntime", "capi/libonnxruntime.so*"), model),
                   "openvino": (peer_library("openvino", "libs/libopenvino_c.so*"), model)}
        taken = {engine: [] for engine in engines}
        for _ in range(runs):
            for engine, (library, file) in engines.items():
                done = subprocess.run([program, "1", engine, str(library), file, str(threads), "1x1x224x224"], capture_output=True, text=True)
                if done.returncode == 0:
                    taken[engine].append([float(field) for field in done.stdout.split()])
                elif not taken[engine]:
                    print(f"  cold start of {engine}: {done.stderr.strip()[:200]}")
        rows.append({"network": "dpu-net", "threads": threads, "load_average": os.getloadavg()[0], "engines": {
            engine: {"median_ms": statistics.median(t[0] for t in times), "least_ms": min(t[0] for t in times),
                     "rss_mb": statistics.median(t[1] for t in times), "runs": len(times)} for engine, times in taken.items() if times}})
    return rows


def machine():
    import onnxruntime
    import openvino
    import torch

    ncnn = optional("ncnn")
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith("model name")), platform.processor())
    version = subprocess.run([MITRAL, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)),
            "versions": {"mitral": version, "OpenVINO": openvino.__version__.split("-")[0], "ONNX Runtime": onnxruntime.__version__,
                         "PyTorch": torch.__version__.split("+")[0], **({"ncnn": ncnn.__version__} if ncnn else {})},
            "date": time.strftime("%Y-%m-%d"), "load_average_before": os.getloadavg()}


def measure_all(options, rounds):
    cores = len(os.sched_getaffinity(0))
    bf16 = "avx512_bf16" in open("/proc/cpuinfo", encoding="utf-8").read()
    rows = []
    for name, path, group in prepare_models():
        if options.only not in name or (options.quick and group != "own"):
            continue
        for precision in ["f32"] + (["bf16"] if group == "own" and bf16 else []):
            for threads in ([1, 2] if group in ("own", "published") and cores >= 2 else [1]):
                row = measure(name, path, threads, precision, rounds)
                row["group"] = group
                rows.append(row)
                best = report.ratio(row)
                print(f"{name} {precision} {threads} thread(s): " + ", ".join(f"{e} {v.get('median_ms', float('nan')):.2f} ms" for e, v in row["engines"].items())
                      + (f"; best peer / mitral {best:.2f}" if best else ""), flush=True)
                for engine, values in row["engines"].items():
                    if "error" in values:
                        print(f"  {engine}: {values['error']}")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only networks whose name holds this")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="own networks, three rounds")
    parser.add_argument("--name", default="latest", help="of the results' files [latest]")
    parser.add_argument("--no-training", action="store_true", help="leave the training steps out")
    options = parser.parse_args()
    rounds = 3 if options.quick else options.rounds
    RESULTS.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine(), "rows": measure_all(options, rounds)}
    if options.only in "dpu-net":
        with tempfile.TemporaryDirectory() as folder:
            results["cold"] = cold_starts(pathlib.Path(folder), 3 if options.quick else 10)
    training = None if options.only or options.quick or options.no_training else optional("training")
    if training:
        results["training"] = training.measure(options.quick)
    results["machine"]["load_average_after"] = os.getloadavg()
    (RESULTS / f"{options.name}.json").write_text(json.dumps(results, indent=1) + "\n")
    text = report.text(results) + ("\n" + training.table(results["training"]) if "training" in results else "")
    (RESULTS / f"{options.name}.md").write_text(text)
    report.chart(results, RESULTS / f"{options.name}.png")
    print("\n" + text)


if __name__ == "__main__":
    main()
