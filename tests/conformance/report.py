#!/usr/bin/env python3
"""Writes docs/conformance.md: ONNX's backend suite by category, mitral beside ONNX Runtime and OpenVINO.

    python3 tests/conformance/report.py [--mitral build/mitral] [--without onnxruntime] [-o docs/conformance.md]

Needs what benchmarks/requirements.txt names. Every runtime is scored by compare.py in the same way. What the other scripts find (tables
of exporters, real models, networks) is kept below the suite: each rewrites only the part between its own markers.
"""

import argparse
import collections
import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

import compare
import onnx

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs/conformance.md"
CATEGORIES = {
    "node": "node: ai.onnx",
    "node.ml": "node: ai.onnx.ml",
    "node.training": "node: training operators",
    "simple": "simple",
    "pytorch-converted": "pytorch-converted",
    "pytorch-operator": "pytorch-operator",
    "light": "light: the classic networks of `real`, made-up weights",
}
# Messages of the peers, from the particular to the general.
REASONS = [
    (r"crash", "the process crashes"),
    (r"elements differ|strings differ|values are not", "wrong values"),
    (r"expected .*, found|lengths differ|keys differ", "wrong type or shape"),
    (r"NOT_IMPLEMENTED|NotImplemented|[Uu]nsupported|not supported|is not registered|not a registered|No factory|does not support|"
     r"unconverted_ops|supports only|frontend.cpp|onnx/frontend", "operator, type or form not implemented"),
    (r"Type Error|Type parameter|opset|INVALID_GRAPH|InvalidGraph", "the model is refused"),
    (r"", "another error at load or run"),
]


def category(path, name):
    suite = name.split("/")[0]
    if suite != "node":
        return suite
    domains = {node.domain for node in onnx.load(path / "model.onnx", load_external_data=False).graph.node}
    return "node.ml" if "ai.onnx.ml" in domains else "node.training" if any("training" in d for d in domains) else "node"


def reason_of(message):
    return next(reason for pattern, reason in REASONS if re.search(pattern, message))


def replace_part(text, marker, part):
    """The document with what is between a marker's lines replaced; when it is new the suite comes first, all else last."""
    begin, end = f"<!-- {marker} begins -->", f"<!-- {marker} ends -->"
    block = f"{begin}\n{part.strip()}\n{end}\n"
    if begin in text and end in text:
        return text[:text.index(begin)] + block + text[text.index(end) + len(end):].lstrip("\n")
    parts = [text.strip() + "\n", block] if marker != "suite" else [block, text.strip() + "\n"]
    return "\n".join(part for part in parts if part.strip())


def write_part(marker, part, document=DOCUMENT):
    text = document.read_text(encoding="utf-8") if document.exists() else ""
    document.write_text(replace_part(text, marker, part), encoding="utf-8")


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def versions(packages):
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)


def table(cases, columns):
    kinds = {name: category(path, name) for path, name in cases}
    rows = []
    for key, title in [*CATEGORIES.items(), (None, "**all**")]:
        names = [n for n in kinds if key is None or kinds[n] == key]
        if not names:
            continue
        cells = [str(sum(results[n][0] == "pass" for n in names)) for _, results in columns]
        rows.append(f"| {title} | {len(names)} | {' | '.join(cells)} |")
    head = f"| category | cases | {' | '.join(title for title, _ in columns)} |\n|---|---:|{'---:|' * len(columns)}"
    return "\n".join([head, *rows])


def failures(title, results, whole):
    """The failures of one runtime by reason; each with its message when `whole`, else as a folded list of names."""
    groups = collections.defaultdict(list)
    for name, (status, message) in results.items():
        if status != "pass":
            groups[reason_of(message) if not whole else "unsupported" if status == "unsupported" else "fails"].append((name, message))
    if not groups:
        return f"### {title}\n\nNone."
    lines = [f"### {title}", ""]
    for reason, found in sorted(groups.items(), key=lambda g: -len(g[1])):
        if whole:
            lines += [f"- {name} {reason}: {message}" for name, message in found]
        else:
            names = ", ".join(name.replace("node/test_", "") for name, _ in found)
            lines += [f"<details><summary>{reason}: {len(found)}</summary>\n\n{names}\n\n</details>", ""]
    return "\n".join(lines).rstrip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mitral", default=str(ROOT / "build/mitral"))
    parser.add_argument("--without", action="append", default=[], choices=["onnxruntime", "openvino"])
    parser.add_argument("-o", "--output", type=pathlib.Path, default=DOCUMENT)
    options = parser.parse_args()
    compare.MITRAL = options.mitral
    peers = [peer for peer in ("onnxruntime", "openvino") if peer not in options.without]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-W", "ignore", ROOT / "tests/conformance/write_cases.py", folder], stdout=subprocess.DEVNULL, check=True)
        cases = compare.cases_in(pathlib.Path(folder))
        runs = [("mitral, compiled", {}), ("mitral, interpreter", {"interpret": True}),
                *((("ONNX Runtime" if peer == "onnxruntime" else "OpenVINO"), {"peer": peer}) for peer in peers)]
        columns = []
        for title, how in runs:
            columns.append((title, {name: (status, reason) for name, status, reason in compare.score(cases, **how)}))
            print(title, collections.Counter(status for status, _ in columns[-1][1].values()), flush=True)
        shown = table(cases, columns)
    version = subprocess.run([options.mitral, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    part = f"""# Conformance

ONNX's own backend suite as the `onnx` package ships it, and what passes. Written by `tests/conformance/report.py`; the command that
repeats it is `./bootstrap.sh conformance`.

{shown}

- {version}; {versions(["onnx", "numpy", *peers])}; Python {platform.python_version()}; {processor()}, {os.cpu_count()} cores; one thread a case.
- A case passes as in onnx's own runner: same type and shape, |got - want| <= atol + rtol·|want| with the case's own tolerances, strings
  equal. `tests/conformance/compare.py` compares the outputs that each runtime writes; no runtime is asked whether it is right.
- The six `Bernoulli` cases are random: there type, shape and values (0 or 1) are checked, for every runtime alike.
- OpenVINO runs in f32 (`INFERENCE_PRECISION_HINT`). Both peers run with their default settings otherwise, on the CPU.
- The tests (`./bootstrap.sh test`) run the suite on both of mitral's paths and fail when a case that `tests/conformance/expected.txt` does
  not list stops passing.

## What fails, by reason

{chr(10).join(failures(title, results, title.startswith("mitral")) + chr(10) for title, results in columns)}"""
    write_part("suite", part, options.output)


if __name__ == "__main__":
    main()
