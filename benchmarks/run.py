#!/usr/bin/env python3
"""mitral beside its peers: same dtype, same threads, outputs checked first, everything interleaved in one run.

    run.py [--only TEXT] [--rounds N] [--quick]

Writes benchmarks/results/<name>.json, table.md and chart.png. A round gives each engine a turn of a few runs; medians are over
all rounds. Each engine is a process of its own, pinned to as many cores as it has threads. The load average is recorded.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

import numpy as np
import onnx

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK, RESULTS = ROOT / "benchmarks/work", ROOT / "benchmarks/results"
ENVIRONMENT = dict(os.environ, PYTHONPATH=f"{ROOT}/python:{ROOT}/models:{ROOT}/benchmarks",
                   MITRAL_LIBRARY=os.environ.get("MITRAL_LIBRARY", str(ROOT / "build/libmitral.so")))
MITRAL = os.environ.get("MITRAL", str(ROOT / "build/mitral"))
PEERS = {"f32": ["onnxruntime", "openvino"], "bf16": ["openvino"]}


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
    try:
        import published

        for name, path in published.export_all(WORK):
            found.append((name, path, "published"))
    except ImportError:
        pass
    found += [(name, path, "general") for name, path in light_models()]
    return found


def make_inputs(path, file):
    """Standard-normal inputs from a fixed seed; unknown dimensions are 1."""
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


def measure(name, path, threads, precision, rounds):
    """One row: every engine on one network with one thread count."""
    row = {"network": name, "threads": threads, "precision": precision, "load_average": os.getloadavg()[0], "engines": {}}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        file = folder / "inputs.npz"
        make_inputs(path, file)
        plan = folder / f"{name}.plan"
        shapes = [f"--shape={k}={'x'.join(map(str, v.shape))}" for k, v in np.load(file).items()]
        subprocess.run([MITRAL, "compile", path, "-o", plan, "--threads", str(threads), "--precision", precision, *shapes], check=True)
        engines = []
        peers = PEERS[precision] + (["torch"] if name in ("dpu-net", "unet") and precision == "f32" else [])
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
        for engine in engines:
            ordered = sorted(engine.times)
            row["engines"][engine.name] = {
                "median_ms": statistics.median(ordered), "p90_ms": ordered[int(0.9 * (len(ordered) - 1))], "runs": len(ordered),
                "load_ms": engine.start["load_ms"], "first_ms": engine.start["first_ms"], "rss_mb": engine.start["rss_mb"],
                "rss_added_mb": engine.start["rss_added_mb"], "difference": engine.difference}
            engine.close()
    return row


def ratio(row):
    """Best peer over mitral: above 1, mitral is faster."""
    times = {k: v["median_ms"] for k, v in row["engines"].items() if "median_ms" in v}
    peers = [v for k, v in times.items() if k != "mitral"]
    return min(peers) / times["mitral"] if peers and "mitral" in times else None


def cell(row, engine, key="median_ms", form="{:.2f}"):
    value = row["engines"].get(engine, {}).get(key)
    return form.format(value) if value is not None else "–"


def table(rows, machine):
    engines = [e for e in ("mitral", "openvino", "onnxruntime", "torch") if any(e in r["engines"] for r in rows)]
    lines = [f"{machine['cpu']}, {machine['cores']} cores; " + ", ".join(f"{k} {v}" for k, v in machine["versions"].items()), "",
             "Median milliseconds of one run at batch 1 (smaller is better); ratio: best peer / mitral.", "",
             "| network | precision | threads | " + " | ".join(engines) + " | ratio | difference |", "|---|---|---|" + "---|" * (len(engines) + 2)]
    for row in rows:
        best = ratio(row)
        lines.append(f"| {row['network']} | {row['precision']} | {row['threads']} | " + " | ".join(cell(row, e) for e in engines)
                     + f" | {f'{best:.2f}' if best else '–'} | {cell(row, 'mitral', 'difference', '{:.1e}')} |")
    lines += ["", "Open to first output (ms) and memory that this adds to the process (MB):", "",
              "| network | precision | threads | " + " | ".join(f"{e} ms" for e in engines) + " | " + " | ".join(f"{e} MB" for e in engines) + " |",
              "|---|---|---|" + "---|" * (2 * len(engines))]
    for row in rows:
        starts = []
        for e in engines:
            found = row["engines"].get(e, {})
            starts.append(f"{found['load_ms'] + found['first_ms']:.1f}" if "load_ms" in found else "–")
        lines.append(f"| {row['network']} | {row['precision']} | {row['threads']} | " + " | ".join(starts) + " | "
                     + " | ".join(cell(row, e, "rss_added_mb", "{:.0f}") for e in engines) + " |")
    return "\n".join(lines) + "\n"


def chart(rows, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    chosen = [r for r in rows if ratio(r)]
    engines = [e for e in ("mitral", "openvino", "onnxruntime", "torch") if any(e in r["engines"] for r in chosen)]
    colours = {"mitral": "#d1495b", "openvino": "#30638e", "onnxruntime": "#66a182", "torch": "#edae49"}
    figure, axes = pyplot.subplots(figsize=(10, 0.9 + 0.5 * len(chosen)))
    height = 0.8 / len(engines)
    for i, engine in enumerate(engines):
        values = [r["engines"].get(engine, {}).get("median_ms", 0) / r["engines"]["mitral"]["median_ms"] for r in chosen]
        axes.barh([y + (i - len(engines) / 2 + 0.5) * height for y in range(len(chosen))], values, height, label=engine, color=colours[engine])
    axes.set_yticks(range(len(chosen)), [f"{r['network']} {r['precision']} ×{r['threads']}" for r in chosen])
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.6)
    axes.set_xlabel("time of one run, mitral = 1 (smaller is better)")
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def machine():
    import onnxruntime
    import openvino
    import torch

    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith("model name")), platform.processor())
    version = subprocess.run([MITRAL, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)),
            "versions": {"mitral": version, "OpenVINO": openvino.__version__.split("-")[0], "ONNX Runtime": onnxruntime.__version__,
                         "PyTorch": torch.__version__.split("+")[0]}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only networks whose name holds this")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="own networks, three rounds")
    options = parser.parse_args()
    rounds = 3 if options.quick else options.rounds
    RESULTS.mkdir(parents=True, exist_ok=True)
    cores = len(os.sched_getaffinity(0))
    bf16 = "avx512_bf16" in open("/proc/cpuinfo", encoding="utf-8").read()
    rows = []
    for name, path, group in prepare_models():
        if options.only not in name or (options.quick and group != "own"):
            continue
        for precision in ["f32"] + (["bf16"] if group == "own" and bf16 else []):
            for threads in ([1, 2] if group == "own" and cores >= 2 else [1]):
                row = measure(name, path, threads, precision, rounds)
                rows.append(row)
                best = ratio(row)
                print(f"{name} {precision} {threads} thread(s): " + ", ".join(f"{e} {v.get('median_ms', float('nan')):.2f} ms" for e, v in row["engines"].items())
                      + (f"; best peer / mitral {best:.2f}" if best else ""), flush=True)
                for engine, values in row["engines"].items():
                    if "error" in values:
                        print(f"  {engine}: {values['error']}")
    info = machine()
    (RESULTS / "latest.json").write_text(json.dumps({"machine": info, "rows": rows}, indent=1))
    text = table(rows, info)
    (RESULTS / "table.md").write_text(text)
    chart(rows, RESULTS / "chart.png")
    print("\n" + text)


if __name__ == "__main__":
    main()
