#!/usr/bin/env python3
"""Training steps of mitral beside PyTorch's (eager, channels-last and torch.compile): same weights, same batch, same loss, same threads.

    training.py [--quick] [--threads N] [--batch N] [--rounds N] [--only TEXT] [--precision f32|bf16|all] [--name NAME]

The losses of one step on one batch are compared first. Then the engines take turns, each in a process of its own of which one runs at a
time; a turn is a few steps after two for warming up, a figure the median over all turns. Peak memory is that of the process. torch.compile
(inductor's C++, which needs g++) compiles before the first turn, outside of the timing, and takes one turn, in the middle; where it does not
compile in time the table says why. Memory is compared with eager and channels-last, in whose processes no compiler ran. The student
of the distillation learns from the U-Net by the full MAVKD loss, the teacher's forward is part of the step. Where the CPU has AMX all are
timed in bfloat16, too: mitral's --precision bf16, PyTorch's autocast of both networks, losses in float32. Writes
benchmarks/results/NAME_training.json and NAME_training.md [latest]. Images and labels are random: a step's time does not depend on them.
"""

import argparse
import json
import os
import pathlib
import select
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "models"), str(ROOT / "tests/training")]
RESULTS = ROOT / "benchmarks/results"
MITRAL = os.environ.get("MITRAL", str(ROOT / "build/mitral"))
TOOLS = pathlib.Path(os.environ.setdefault("MITRAL_TRAINING_TOOLS", str(pathlib.Path(MITRAL).parent / "tests/training")))
CASES = {"DPU-Net": ("dpu-net", None), "DPU-Net, MAVKD from the U-Net": ("dpu-net", "unet"), "U-Net": ("unet", None)}
GOALS = {"DPU-Net": 4, "DPU-Net, MAVKD from the U-Net": 3, "U-Net": 1.5}
COMPILED = "torch.compile"
PLAIN_PEERS = ("eager", "channels-last")
PEERS = (*PLAIN_PEERS, COMPILED)
COMPILE_SECONDS = 420
STAGES = ["enc4", "dec3", "dec2", "dec1", "dec0"]
SIZE = 224
LOSS_TOLERANCE = {"f32": 1e-4, "bf16": 4e-3}  # bfloat16 rounds to 2^-8
SETTINGS = {"lr": 0.01, "momentum": 0.9, "weight-decay": 1e-4, "schedule": "constant"}


def make_batch(folder, batch):
    """Noisy rectangles, as images and labels on disk."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, (1, batch, 14, 14)).repeat(16, 2).repeat(16, 3)
    images = labels[:, :, None] - 1.5 + generator.normal(0, 0.5, (1, batch, 1, SIZE, SIZE))
    np.save(folder / "images.npy", images.astype(np.float32))
    np.save(folder / "labels.npy", labels.astype(np.uint8))


# ---- PyTorch ---------------------------------------------------------------------------------------------------------------


def tap(module):
    """The outputs of the stages in the last forward."""
    found = {}
    for name in STAGES:
        getattr(module, name).register_forward_hook(lambda _m, _i, output, key=name: found.__setitem__(key, output))
    return found


def torch_step(case, folder, peer, precision):
    """A function that makes one step and returns its loss."""
    import torch
    from support import divergence, guide, segmentation_loss, unit_distance
    from torch.nn import functional

    import networks

    def network(kind):
        module = networks.initialise((networks.DPUNet if kind == "dpu-net" else networks.UNet)())
        return module.to(memory_format=torch.channels_last) if peer == "channels-last" else module

    student, teacher = network(CASES[case][0]).train(), network(CASES[case][1]).eval() if CASES[case][1] else None
    images, labels = torch.from_numpy(np.load(folder / "images.npy")[0]), torch.from_numpy(np.load(folder / "labels.npy")[0])
    if peer == "channels-last":
        images = images.to(memory_format=torch.channels_last)
    adapters = [tuple(torch.nn.Parameter(torch.from_numpy(np.load(folder / f"adapter{i}.{part}.npy"))) for part in ("weight", "bias"))
                for i in range(len(STAGES))] if teacher else []
    parameters = [*student.parameters(), *sum(adapters, ())]
    decayed = [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": 1e-4}, {"params": [p for p in parameters if p.ndim <= 1]}]
    optimizer = torch.optim.SGD(decayed, lr=0.01, momentum=0.9)
    ours, theirs = (tap(student), tap(teacher)) if teacher else (None, None)

    def forward():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            if teacher:
                with torch.no_grad():
                    teacher_logits = teacher(images).float()
            logits = student(images).float()
        loss = segmentation_loss(logits, labels)
        if teacher:
            loss = loss + 0.1 * divergence(logits, teacher_logits, 4.0)
            for name, (weight, bias) in zip(STAGES, adapters, strict=True):
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    adapted = functional.conv2d(ours[name], weight, bias)
                adapted, map_ = adapted.float(), theirs[name].float()
                loss = loss + (unit_distance(adapted.mean((2, 3)), map_.mean((2, 3)))
                               + divergence(adapted, map_, 4.0, True, guide(map_, 1.0))) / len(STAGES)
        return loss

    if peer == COMPILED:
        forward = torch.compile(forward)

    def step():
        loss = forward()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def worker(case, folder, threads, peer, precision):
    import resource

    import torch

    torch.set_num_threads(threads)
    step = torch_step(case, folder, peer, precision)
    try:
        print(json.dumps({"loss": step()}), flush=True)
    except Exception as error:  # of many kinds, by what inductor misses
        print(json.dumps({"failed": str(error).strip().splitlines()[0]}), flush=True)
        return
    for line in sys.stdin:
        times = []
        for _ in range(int(line) + 2):
            start = time.perf_counter()
            step()
            times.append(1e3 * (time.perf_counter() - start))
        print(json.dumps({"times": times[2:], "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)


class Torch:
    def __init__(self, name, case, folder, threads, precision):
        cores = sorted(os.sched_getaffinity(0))[:threads]
        self.name = name
        self.process = subprocess.Popen([sys.executable, __file__, "--worker", case, str(folder), str(threads), name, precision],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ, OMP_NUM_THREADS=str(threads)),
                                        preexec_fn=lambda: os.sched_setaffinity(0, cores))
        limit = COMPILE_SECONDS if name == COMPILED else None
        first = self.process.stdout.readline() if select.select([self.process.stdout], [], [], limit)[0] else None
        answer = json.loads(first) if first else {"failed": "it ended" if first == "" else f"nothing after {limit} s"}
        self.loss, self.failed = answer.get("loss"), answer.get("failed")
        if self.failed:
            self.process.kill()
            self.process.wait()
            if name != COMPILED:
                raise SystemExit(f"{case}: PyTorch {name}: {self.failed}")

    def turn(self, steps):
        print(steps, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- mitral ----------------------------------------------------------------------------------------------------------------


class Mitral:
    """A turn is a process of `mitral bench --train`."""

    def __init__(self, case, folder, threads, batch, precision, memory="low"):
        student, teacher = CASES[case]
        self.name = "mitral" if memory == "low" else f"mitral --memory {memory}"
        self.cores, self.teacher_ms, self.arena_mb = sorted(os.sched_getaffinity(0))[:threads], 0, 0
        self.command = [MITRAL, "bench", folder / f"{student}.onnx", "--train", "--batch", str(batch), "--threads", str(threads), "--json",
                        "--memory", memory, "--precision", precision]
        self.command += ["--teacher", folder / f"{teacher}.onnx", "--method", "mavkd"] if teacher else []
        options = dict(SETTINGS, student=folder / f"{student}.onnx", batch=batch, threads=threads, folder=folder, memory=memory,
                       precision=precision)
        options |= {"teacher": folder / f"{teacher}.onnx", "method": "mavkd"} if teacher else {}
        text = subprocess.run([TOOLS / "train_batches", folder / "images.npy", folder / "labels.npy", folder / "out.onnx",
                               *[f"{key}={value}" for key, value in options.items()]], check=True, capture_output=True, text=True).stdout
        self.loss = json.loads(text.splitlines()[0])["loss"]

    def turn(self, steps):
        result = subprocess.run([*self.command, "--repeat", str(steps)], check=True, capture_output=True, text=True,
                                preexec_fn=lambda: os.sched_setaffinity(0, self.cores))
        found = json.loads(result.stdout)
        self.teacher_ms, self.arena_mb = found["teacher_ms"], found["arena_mb"]
        return {"times": [found["step_ms"]], "rss": found["peak_rss_mb"]}

    def close(self):
        pass


# ---- the whole -------------------------------------------------------------------------------------------------------------


def measure_case(case, folder, threads, batch, rounds, steps, precision):
    mitral = Mitral(case, folder, threads, batch, precision)  # first: it writes the adapters that PyTorch begins with
    engines = [mitral, Mitral(case, folder, threads, batch, precision, "normal"), *[Torch(name, case, folder, threads, precision) for name in PEERS]]
    row = {"case": case, "threads": threads, "batch": batch, "precision": precision, "goal": GOALS[case] if precision == "f32" else None,
           "load_average": os.getloadavg()[0], "engines": {},
           "failed": {e.name: e.failed for e in engines[2:] if e.failed}}
    engines = [e for e in engines if e.name not in row["failed"]]
    times, peaks = {e.name: [] for e in engines}, {}
    for engine in engines[1:]:
        difference = abs(engine.loss / mitral.loss - 1)
        if not difference <= LOSS_TOLERANCE[precision]:
            raise SystemExit(f"{case}: losses differ: mitral {mitral.loss}, PyTorch {engine.name} {engine.loss}")
    for turn in range(rounds):
        for engine in engines:
            if engine.name == COMPILED and turn != rounds // 2:
                continue
            found = engine.turn(steps)
            times[engine.name] += found["times"]
            peaks[engine.name] = found["rss"]
    for engine in engines:
        row["engines"][engine.name] = {"step_ms": statistics.median(times[engine.name]), "peak_rss_mb": peaks[engine.name], "loss": engine.loss,
                                       "times": times[engine.name]}
        engine.close()
    row["teacher_ms"], row["arena_mb"] = mitral.teacher_ms, mitral.arena_mb
    best = min(row["engines"][name]["step_ms"] for name in PEERS if name in row["engines"])
    lightest = min(row["engines"][name]["peak_rss_mb"] for name in PLAIN_PEERS)
    row["speedup"], row["memory"] = best / row["engines"]["mitral"]["step_ms"], row["engines"]["mitral"]["peak_rss_mb"] / lightest
    row["memory_normal"] = row["engines"]["mitral --memory normal"]["peak_rss_mb"] / lightest
    return row


def table(rows):
    """Milliseconds and megabytes; the goals are those of a step's speed, and half of the memory for the distillation."""
    lines = [f"Training steps at batch {rows[0]['batch']}, {SIZE}² (SGD with momentum; random images), against PyTorch.", "",
             "| step | type | threads | mitral ms | --memory normal ms | eager ms | channels-last ms | torch.compile ms | faster than the best | goal | mitral MB | "
             "--memory normal MB | eager MB | channels-last MB | torch.compile MB | memory | normal |", "|" + "---|" * 17]
    for row in rows:
        engines = row["engines"]
        names = ("mitral", "mitral --memory normal", *PEERS)
        times, peaks = (" | ".join(f"{engines[n][key]:.0f}" if n in engines else "–" for n in names) for key in ("step_ms", "peak_rss_mb"))
        goal = f"{row['goal']:g}×" if row["goal"] else "–"
        lines.append(f"| {row['case']} | {row['precision']} | {row['threads']} | {times} | {row['speedup']:.2f}× | {goal} | {peaks}"
                     + f" | {row['memory']:.2f} | {row['memory_normal']:.2f} |")
    for row in rows:
        for name, why in row["failed"].items():
            lines += ["", f"{row['case']} in {row['precision']}: {name} was not timed: {why}."]
        if row["teacher_ms"] > 1:
            lines += ["", f"Of the distillation step in {row['precision']} ({row['threads']} thread(s)) the teacher's forward takes {row['teacher_ms']:.0f} ms; with cached "
                          f"teacher outputs {row['engines']['mitral']['step_ms'] - row['teacher_ms']:.0f} ms are left."]
    loads = [row["load_average"] for row in rows]
    return "\n".join(lines + ["", f"Load average of the machine when a row began: {min(loads):.1f} to {max(loads):.1f}.", ""])


def measure(quick=False, threads=1, batch=8, rounds=3, only="", precision="all"):
    """A row for each step and type."""
    rows, steps = [], 2 if quick else 3
    trains_in = ["f32"] + ["bf16"] * ("amx_bf16" in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        make_batch(folder, batch)
        for kind in ("dpu-net", "unet"):
            subprocess.run([MITRAL, "create", kind, "-o", folder / f"{kind}.onnx"], check=True)
        for case, kind in ((case, kind) for case in CASES for kind in trains_in):
            if only not in case or precision not in (kind, "all"):
                continue
            rows.append(measure_case(case, folder, threads, batch, 1 if quick else rounds, steps, kind))
            print(f"{case}, {kind}: " + ", ".join(f"{k} {v['step_ms']:.0f} ms, {v['peak_rss_mb']:.0f} MB" for k, v in rows[-1]["engines"].items())
                  + f"; {rows[-1]['speedup']:.2f} times as fast as the best", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of two steps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="only steps whose name holds this")
    parser.add_argument("--precision", default="all", choices=["f32", "bf16", "all"], help="all that the CPU trains in, or one [all]")
    parser.add_argument("--name", default="latest", help="of the results' files [latest]")
    options = vars(parser.parse_args())
    name = options.pop("name")
    rows = measure(**options)
    if not rows:
        raise SystemExit(f"--only: expected a part of one of {', '.join(CASES)}, and a type that this CPU trains in")
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}_training.json").write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / f"{name}_training.md").write_text(table(rows))
    print("\n" + table(rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], pathlib.Path(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:7])
    else:
        main()
