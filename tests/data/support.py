"""What the Python tests of data/ share."""

import os
import pathlib
import subprocess
import sys

import numpy as np

MITRAL = os.environ.get("MITRAL", "build/mitral")
TOOLS = pathlib.Path(os.environ.get("MITRAL_DATA_TOOLS", "build/tests/data"))


def call(*arguments, code=0):
    """Runs a program; returns standard output, or standard error where a failure is expected."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, check=False)
    if done.returncode != code:
        raise AssertionError(f"{' '.join(map(str, arguments))}: exit {done.returncode}, expected {code}\n{done.stderr}")
    return done.stdout if code == 0 else done.stderr


def surface(mask):
    """Voxels with a face neighbour outside; outside of the array counts as outside."""
    padded = np.pad(mask, 1)
    inner = padded.copy()
    for axis in range(3):
        inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return mask & ~inner[1:-1, 1:-1, 1:-1]


def surface_distances(a, b, spacing):
    """From each surface voxel of a to the nearest of b, by trying all."""
    points_a, points_b = np.argwhere(surface(a)) * spacing, np.argwhere(surface(b)) * spacing
    return np.concatenate([np.sqrt(((part[:, None, :] - points_b[None]) ** 2).sum(-1).min(1))
                           for part in np.array_split(points_a, max(1, len(points_a) // 256))])


def metrics(prediction, reference, spacing):
    """Dice, Hausdorff and HD95 of two masks as medpy's dc, hd and hd95 define them; by medpy itself where it is installed."""
    try:
        from medpy.metric.binary import dc, hd, hd95
        return dc(prediction, reference), hd(prediction, reference, spacing), hd95(prediction, reference, spacing)
    except ImportError:
        pass
    both = np.concatenate([surface_distances(prediction, reference, spacing), surface_distances(reference, prediction, spacing)])
    dice = 2 * (prediction & reference).sum() / (prediction.sum() + reference.sum())
    return dice, both.max(), np.percentile(both, 95)


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
