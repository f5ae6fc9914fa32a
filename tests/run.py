"""All tests: the meson suites of the ordinary build, the C suites under sanitizers, and ONNX's backend suite.

Prints what failed, and last one line with the counts.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILDS = [("build", []), ("build-sanitize", ["--no-suite", "python"])]


def run_meson(folder, options):
    """Runs a build's tests; returns how many passed, failed and were skipped."""
    subprocess.run([ROOT / ".venv/bin/meson", "test", "-C", ROOT / folder, "--no-rebuild", "--print-errorlogs", "--timeout-multiplier",
                    "3", *options], check=False)
    counts = {"OK": 0, "SKIP": 0}
    failed = 0
    for line in (ROOT / folder / "meson-logs/testlog.json").read_text(encoding="utf-8").splitlines():
        result = json.loads(line)["result"]
        if result in counts:
            counts[result] += 1
        else:
            failed += 1
    return counts["OK"], failed, counts["SKIP"]


def run_suite():
    """ONNX's backend suite by the ordinary build; returns how many of its two paths are as expected and how many are not."""
    folder = ROOT / "tests/conformance"
    with tempfile.TemporaryDirectory() as cases:
        # The generators of some cases divide by zero on purpose; NumPy would warn of it.
        written = subprocess.run([sys.executable, "-W", "ignore", folder / "write_cases.py", cases], stdout=subprocess.DEVNULL, check=False)
        if written.returncode != 0:
            print("write_cases.py failed")
            return 0, 1
        environment = os.environ | {"MITRAL": str(ROOT / "build/mitral")}
        codes = [subprocess.run([sys.executable, folder / "compare.py", cases, "--expected", folder / "expected.txt", *path],
                                env=environment, check=False).returncode for path in ([], ["--interpret"])]
    return codes.count(0), len(codes) - codes.count(0)


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    passed = failed = skipped = 0
    for folder, options in BUILDS:
        print(f"== {folder}", flush=True)
        counts = run_meson(folder, options)
        passed, failed, skipped = passed + counts[0], failed + counts[1], skipped + counts[2]
    print("== ONNX's backend suite: compiled plans, then the interpreter", flush=True)
    counts = run_suite()
    passed, failed = passed + counts[0], failed + counts[1]
    if passed == 0:
        failed += 1
        print("expected tests to run, found none")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
