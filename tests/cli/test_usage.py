"""Every command takes --threads, explains itself with an example, and answers wrong usage with one line and exit code 64. Those that load
models have the options of those."""

import json
import os
import stat
import subprocess
import sys
import tempfile

MITRAL = os.environ.get("MITRAL", "build/mitral")
MODEL_OPTIONS = {"--custom-operators": "x.so", "--max-tensor-bytes": "1G", "--max-run-bytes": "1G", "--max-loop-trips": "1",
                 "--max-subgraph-depth": "1", "--max-image-pixels": "1"}
WITHOUT_MODELS = {"phantom": [], "report": [], "create": ["--max-tensor-bytes"]}  # all others have all of them


def run(*arguments, environment=None):
    return subprocess.run([MITRAL, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})})


def commands():
    lines = run("--help").stdout.splitlines()
    return [line.split()[0] for line in lines if line.startswith("  ")]


def check_line(done, start, *codes):
    assert done.returncode in codes, f"{done.args}: exit {done.returncode}, expected {codes}\n{done.stderr}"
    assert done.stdout == "", f"{done.args}: expected nothing on standard output, found {done.stdout!r}"
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith(start) and "expected" in lines[0] and "found" in lines[0], done.stderr


def check_model_options(name, text):
    for option, value in MODEL_OPTIONS.items():
        has = option in WITHOUT_MODELS.get(name, MODEL_OPTIONS)
        assert (option in text) == has, f"{name} --help: expected {'' if has else 'no '}{option}: {text}"
        if not has:
            check_line(run(name, f"{option}={value}"), f"mitral {name}: expected an option of the command", 64)


def check_spinning():
    """The OpenMP library has read what cli/waiting.c sets; who has set something else is heeded."""
    for given, expected in (({}, "4000"), ({"GOMP_SPINCOUNT": "77"}, "77")):
        environment = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
        shown = subprocess.run([MITRAL, "inspect", "--help"], capture_output=True, text=True, check=True,
                               env={**environment, "OMP_DISPLAY_ENV": "verbose", **given}).stderr
        assert f"GOMP_SPINCOUNT = '{expected}'" in shown, (given, shown)


def check_plans_and_shapes():
    with tempfile.TemporaryDirectory() as name:
        model, plan, out = f"{name}/model.onnx", f"{name}/model.plan", f"{name}/out"
        assert run("create", "dpu-net", "--size", "16", "--widths", "4,4,4,4,4", "-o", model).returncode == 0
        assert run("compile", model, "-o", plan).returncode == 0
        for option in (["--precision", "bf16"], ["--interpret"], ["--tune"]):
            check_line(run("bench", plan, "--repeat", "1", *option), f"mitral bench: {plan}: expected a model for {option[0]}, found a plan", 1)
        figures = json.loads(run("bench", model, "--repeat", "1", "--json").stdout)
        assert figures["threads"] == len(os.sched_getaffinity(0)) and figures["precision"] == "f32", figures
        figures = json.loads(run("bench", plan, "--repeat", "1", "--threads", "1", "--json").stdout)
        assert figures["threads"] == 1 and "precision" not in figures, figures
        check_line(run("segment", plan, model, "-o", f"{out}.nii", "--shape", "image=1x1x16x16"), "mitral segment: ", 1)
        check_line(run("optimize", plan, "-o", out), f"mitral optimize: {plan}: expected an ONNX model, found a compiled plan", 1)
        for file in (model, plan):
            assert run("bench", file, "--repeat", "1", "--shape", "image=2x1x16x16").returncode == 0
            check_line(run("bench", file, "--shape", "picture=1x1x16x16"), "mitral bench: --shape: expected the name of an input (image)", 1)
            check_line(run("bench", file, "--shape", "image=1x16x16"), "mitral bench: --shape: expected 1x1x16x16, the shape of input 'image'", 1)
            check_line(run("bench", file, "-i", "picture=x.npy"), "mitral bench: -i: expected the name of an input (image)", 1)
            check_line(run("bench", file, environment={"MITRAL_ISA": "AVX2"}), "mitral bench: MITRAL_ISA: expected portable, avx2, avx512 or amx, found 'AVX2'", 1)


def check_written_whole():
    """A profile replaces no device and leaves nothing where it can't be put; what is printed and can't be written is an error."""
    with tempfile.TemporaryDirectory() as name:
        model, folder, pipe = f"{name}/model.onnx", f"{name}/folder", f"{name}/pipe"
        assert run("create", "dpu-net", "--size", "16", "--widths", "4,4,4,4,4", "-o", model).returncode == 0
        os.mkdir(folder)
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        assert run("bench", model, "--repeat", "1", "--profile", pipe).returncode == 0
        assert stat.S_ISFIFO(os.stat(pipe).st_mode) and os.read(reader, 1 << 20).startswith(b"{"), "expected a trace that went through the pipe"
        os.close(reader)
        for path, training in ((folder, []), (f"{name}/none/trace.json", []), (f"{name}/none/trace.json", ["--train", "--batch", "1"])):
            done = run("bench", model, "--repeat", "1", *training, f"--profile={path}")
            assert done.stdout == "", "expected the path to be looked at before anything is timed"
            assert done.returncode == 1 and done.stderr.startswith("mitral bench: ") and path in done.stderr and done.stderr.count("\n") == 1, done
        assert sorted(os.listdir(name)) == ["folder", "model.onnx", "pipe"], os.listdir(name)
        for arguments in (["--version"], ["inspect", model], ["bench", model, "--repeat", "1", "--json"]):
            with open("/dev/full", "w", encoding="ascii") as full:
                done = subprocess.run([MITRAL, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
            assert done.returncode == 1 and "expected a standard output that can be written" in done.stderr, done


def check_profiles():
    """The table by step, slowest first, of a run and of a training step, and their traces: the same steps, their times adding up."""
    with tempfile.TemporaryDirectory() as name:
        model, trace = f"{name}/model.onnx", f"{name}/trace.json"
        assert run("create", "dpu-net", "--size", "16", "--widths", "4,4,4,4,4", "-o", model).returncode == 0
        for arguments in (["--profile", trace], ["--train", "--batch", "2", f"--profile={trace}"], ["--train", "--batch", "2", "--profile", trace], ["--train", "--batch", "2", "--profile"]):
            done = run("bench", model, "--repeat", "1", "--threads", "1", *arguments)
            lines = (done.stderr if "--train" in arguments else done.stdout).splitlines()
            first = next(i for i, line in enumerate(lines) if line.startswith("peaks measured here")) + 2
            times = [float(line.split()[0]) for line in lines[first:-1]]
            total = float(lines[-1].split()[0])
            assert done.returncode == 0 and times == sorted(times, reverse=True) and "kernel" in lines[first - 1], done
            assert abs(sum(times) - total) <= 0.05 * (len(times) + 1), (sum(times), total)
            if not os.path.exists(trace):
                continue
            with open(trace, encoding="utf-8") as file:
                events = json.load(file)["traceEvents"]
            os.remove(trace)
            assert abs(sum(event["dur"] for event in events) - total) <= 0.05 + 1e-6 * total, total
            assert len([event for event in events if event["dur"] > 0]) == len(times), (len(events), len(times))


def main():
    names = commands()
    assert len(names) >= 13, names
    for name in names:
        done = run(name, "--help")
        assert done.returncode == 0 and f"mitral {name}" in done.stdout and "Example" in done.stdout and "--threads" in done.stdout, f"{name} --help: {done.stdout}"
        check_model_options(name, done.stdout)
        check_line(run(name, "--no-such-option"), f"mitral {name}: ", 64)
        check_line(run(name), f"mitral {name}: ", 64, 1)  # 1: options that may come from a configuration file too
    check_line(run("compile", "a.onnx", "-o"), "mitral compile: ", 64)
    check_line(run("compile", "a.onnx", "b.onnx", "-o", "c"), "mitral compile: ", 64)
    check_line(run("bench", "a.onnx", "--threads", "none"), "mitral bench: ", 64)
    check_line(run(), "mitral: ", 64)
    check_line(run("no-such-command"), "mitral: ", 64)
    check_spinning()
    check_plans_and_shapes()
    check_written_whole()
    check_profiles()
    print(f"{len(names)} commands")


if __name__ == "__main__":
    sys.exit(main())
