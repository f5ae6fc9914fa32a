#!/usr/bin/env python3
"""Models of every exporter against the framework they come from, each framework in an environment of its own.

    ./bootstrap.sh exporters [--write] [FRAMEWORK…]      --write puts the table into docs/conformance.md

FRAMEWORK: pytorch, monai, sklearn, tensorflow, jax, paddle (all of them unless named). A framework's environment is made once from
requirements-FRAMEWORK.txt beside the build, as .venv-FRAMEWORK; TensorFlow and PyTorch take gigabytes. An output agrees when
|d| / (1 + |ref|) <= 1e-4, compiled and interpreted. Exit code 1 when one does not. Needs onnx and numpy; MITRAL names the program.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "conformance"))
import cases  # noqa: E402
import report  # noqa: E402

FRAMEWORKS = ["pytorch", "monai", "sklearn", "tensorflow", "jax", "paddle"]
TOLERANCE = 1e-4


def environment(framework):
    """The framework's interpreter; its environment is made again when its requirements changed."""
    folder, requirements = ROOT / f".venv-{framework}", (HERE / f"requirements-{framework}.txt").read_text(encoding="utf-8")
    stamp = folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != requirements:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", HERE / f"requirements-{framework}.txt"],
                       check=True)
        stamp.write_text(requirements, encoding="utf-8")
    return folder / "bin/python3"


def pins(framework):
    lines = (HERE / f"requirements-{framework}.txt").read_text(encoding="utf-8").split("\n")
    return ", ".join(line.replace("==", " ") for line in lines if "==" in line)


def write_cases(python, framework, folder):
    # A model is small: threads of its framework would only wait for one another.
    variables = os.environ | {"PYTHONPATH": str(HERE.parent / "conformance"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([python, "-B", HERE / f"{framework}_cases.py", folder], env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{framework}_cases.py: exit {done.returncode}\n{done.stderr[-2000:]}")


def check(folder):
    """(name, worst compiled, worst interpreted, message) of every case."""
    for case in sorted(path.parent for path in folder.glob("*/model.onnx")):
        (compiled, first), (interpreted, second) = (cases.distance(case, *path) for path in ([], ["--interpret"]))
        yield case.name, compiled, interpreted, first or second


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frameworks", nargs="*", metavar="FRAMEWORK")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--here", action="store_true", help="use this interpreter and install nothing")
    options = parser.parse_args()
    unknown = set(options.frameworks) - set(FRAMEWORKS)
    if unknown:
        parser.error(f"expected frameworks of {', '.join(FRAMEWORKS)}, found {', '.join(sorted(unknown))}")
    rows, failed = [], 0
    for framework in options.frameworks or FRAMEWORKS:
        with tempfile.TemporaryDirectory() as folder:
            write_cases(sys.executable if options.here else environment(framework), framework, folder)
            results = list(check(pathlib.Path(folder)))
        if not results:
            sys.exit(f"{framework}_cases.py: expected cases, found none")
        agree = [r for r in results if r[1] is not None and r[2] is not None and max(r[1], r[2]) <= TOLERANCE]
        for name, compiled, interpreted, message in results:
            if (name, compiled, interpreted, message) not in agree:
                print(f"{framework}/{name}: {message or f'compiled {compiled:.1e}, interpreted {interpreted:.1e}'}")
        largest = [max((r[i] for r in agree), default=0) for i in (1, 2)]
        names = ", ".join(r[0] for r in results) if len(results) <= 12 else f"{len(results)} models"
        rows.append(f"| {pins(framework)} | {names} | {len(agree)} of {len(results)} | {largest[0]:.1e} | {largest[1]:.1e} |")
        print(rows[-1], flush=True)
        failed += len(results) - len(agree)
    if options.write:
        report.write_part("exporters", f"""## Exporters

Models by every exporter, against the outputs of the framework itself: the largest |d| / (1 + |ref|) of those that agree within 1e-4. Repeat
with `./bootstrap.sh exporters`, which makes an environment for each framework; scikit-learn's are also checked by the ordinary tests.

| versions | models | agree | compiled | interpreter |
|---|---|---:|---:|---:|
{chr(10).join(rows)}""")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
