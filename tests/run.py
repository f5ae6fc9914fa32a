"""All tests: the meson suites of the ordinary build, the C suites under sanitizers, and ONNX's backend suite.

Prints what failed, and last one line with the counts.
"""

import json
import pathlib
import subprocess
import sys

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


def main():
    passed = failed = skipped = 0
    for folder, options in BUILDS:
        print(f"== {folder}", flush=True)
        counts = run_meson(folder, options)
        passed, failed, skipped = passed + counts[0], failed + counts[1], skipped + counts[2]
    if passed == 0:
        failed += 1
        print("expected tests to run, found none")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
