"""What the Python tests share: running the command, loading its outputs."""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

MITRAL = os.environ.get("MITRAL", "build/mitral")


def run(*arguments, code=0):
    """Runs `mitral ARGUMENTS`; returns standard output. Fails with its message when the exit code is not `code`."""
    done = subprocess.run([MITRAL, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != code:
        raise AssertionError(f"mitral {' '.join(map(str, arguments))}: exit {done.returncode}, expected {code}\n{done.stderr}")
    return done.stdout if code == 0 else done.stderr


def infer(model, inputs, *options):
    """Outputs of `mitral run` by file name without ending."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        arguments = []
        for i, (name, array) in enumerate(inputs.items()):
            np.save(folder / f"in{i}.npy", array)
            arguments += ["-i", f"{name}={folder}/in{i}.npy"]
        run("run", model, *arguments, "-o", folder / "out", *options)
        return {path.stem: np.load(path) for path in (folder / "out").glob("*.npy")}


def worst(got, want):
    """Largest |d| / (1 + |want|)."""
    return float(np.max(np.abs(got.astype(np.float64) - want) / (1 + np.abs(want)))) if want.size else 0.0


def main(namespace):
    """Runs every test_ function of a module; prints and counts failures."""
    failed = 0
    tests = [(name, function) for name, function in namespace.items() if name.startswith("test_")]
    for name, function in tests:
        try:
            function()
            print(f"ok {name}", flush=True)
        except Exception as error:  # a test may fail in any way; all are run
            failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
