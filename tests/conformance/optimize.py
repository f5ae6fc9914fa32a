#!/usr/bin/env python3
"""`mitral optimize` over ONNX's backend suite: every case's model is optimized, checked by onnx.checker and run by ONNX Runtime.

    optimize.py CASES [--mitral build/mitral] [--json OUT] [--report]

ONNX Runtime runs the model and what mitral made of it on the case's own inputs, without optimizations of its own, and its outputs are
compared with the case's tolerances: "equal". Models that ONNX Runtime cannot run to begin with are checked only: "checked". Of random
outputs type and shape are compared. Exit 1 when a model is refused by the checker or by ONNX Runtime, or gives something else.
--report writes the section of docs/conformance.md.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import compare
import numpy as np
import onnx

RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Dropout"}


def outputs_of(path, case):
    """Of every data set, by ONNX Runtime."""
    import onnxruntime

    model = onnx.load(case / "model.onnx", load_external_data=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in model.graph.output]
    wanted = {value.name for value in session.get_inputs()}
    by_bytes = any(compare.is_beyond_numpy(value.type) for value in [*model.graph.input, *model.graph.output])
    results = []
    for data in sorted(case.glob("test_data_set_*")):
        stored = [(value, file) for value, file in compare.stored_inputs(model, data) if value.name in wanted]
        if by_bytes:
            found = session.run_with_ort_values(names, {v.name: compare.to_ort_value(file, v.type) for v, file in stored})
            results.append([compare.from_ort_value(value, v.type) for value, v in zip(found, model.graph.output)])
        else:
            results.append(session.run(names, {v.name: compare.read(file, v.type) for v, file in stored}))
    return results


def is_random(model):
    return any(node.op_type in RANDOM for node in model.graph.node)


def declared(model):
    return [[value.name for value in values] for values in (model.graph.input, model.graph.output)]


def check(case, name, mitral):
    original = onnx.load(case / "model.onnx")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        done = subprocess.run([mitral, "optimize", case / "model.onnx", "-o", path], capture_output=True, text=True, check=False, timeout=600)
        if done.returncode != 0:
            return "fail", f"mitral: {done.stderr.strip() or f'exit {done.returncode}'}"
        optimized = onnx.load(path)
        try:
            onnx.checker.check_model(optimized)
        except onnx.checker.ValidationError as error:
            try:
                onnx.checker.check_model(original)
            except onnx.checker.ValidationError:
                return "refused", "the checker refuses the case's own model"
            return "fail", f"onnx.checker: {str(error).splitlines()[0]}"
        if declared(original)[1] != declared(optimized)[1]:
            return "fail", f"expected outputs {declared(original)[1]}, found {declared(optimized)[1]}"
        try:
            want = outputs_of(case / "model.onnx", case)
        except Exception as error:  # whatever it cannot run
            return "checked", f"ONNX Runtime: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}"[:200]
        try:
            got = outputs_of(path, case)
        except Exception as error:
            return "fail", f"ONNX Runtime runs the original only: {str(error).strip().splitlines()[0]}"[:300]
        rtol, atol = compare.tolerances(case)
        for one, other in zip(want, got):
            for i, (expected, found) in enumerate(zip(one, other)):
                if is_random(original):
                    same = np.asarray(expected).shape == np.asarray(found).shape and np.asarray(expected).dtype == np.asarray(found).dtype
                    problem = None if same else "type or shape differs"
                else:
                    problem = compare.difference(found, expected, rtol, atol)
                if problem:
                    return "fail", f"output {i}: {problem}"
        return "equal", f"{len(original.graph.node)} to {len(optimized.graph.node)} nodes"


def guarded(case, name, mitral):
    try:
        return (name, *check(case, name, mitral))
    except Exception as error:
        return name, "fail", f"{type(error).__name__}: {error}"[:300]


def score(cases, mitral):
    """In processes that are started anew when ONNX Runtime crashes in one; what it crashes on counts as what it cannot run."""
    import concurrent.futures

    results, todo = [], list(cases)
    while todo:
        with concurrent.futures.ProcessPoolExecutor(1) as pool:
            try:
                for position, (case, name) in enumerate(todo):
                    results.append(pool.submit(guarded, case, name, mitral).result(timeout=600))
                return results
            except concurrent.futures.process.BrokenProcessPool:
                results.append((todo[position][1], "crash", "ONNX Runtime's process crashed"))
                todo = todo[position + 1:]
    return results


def section(results):
    import report

    counts = collections.Counter(status for _, status, _ in results)
    lines = [f"- {name}: {reason}" for name, status, reason in results if status not in ("equal", "checked")]
    return f"""## Optimized and written again

`mitral optimize` on the model of every case; `onnx.checker` reads what it writes, and ONNX Runtime runs both on the case's inputs, without
optimizations of its own. Repeat with `tests/conformance/optimize.py CASES --report` (`write_cases.py` writes the cases).

| cases | accepted by the checker and equal in ONNX Runtime | accepted, where ONNX Runtime cannot run the case's own model | other |
|---:|---:|---:|---:|
| {len(results)} | {counts["equal"]} | {counts["checked"]} | {len(results) - counts["equal"] - counts["checked"]} |

- {report.versions(["onnx", "onnxruntime"])}; equal within each case's own tolerances, random outputs in type and shape.
{chr(10).join(lines)}"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=pathlib.Path)
    parser.add_argument("--mitral", default=os.environ.get("MITRAL", "build/mitral"))
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    cases = compare.cases_in(options.cases)
    if not cases:
        sys.exit(f"optimize.py: expected cases in {options.cases}, found none; write them with write_cases.py")
    results = score(cases, options.mitral)
    if options.json:
        options.json.write_text("".join(json.dumps({"case": n, "status": s, "reason": r}) + "\n" for n, s, r in results))
    for name, status, reason in results:
        if status not in ("equal", "checked"):
            print(f"{status}: {name}: {reason}")
    counts = collections.Counter(status for _, status, _ in results)
    print(f"{counts['equal']} equal, {counts['checked']} checked only, {len(results) - counts['equal'] - counts['checked']} others of {len(results)}")
    if options.report:
        import report

        report.write_part("optimize", section(results))
    sys.exit(1 if counts["fail"] else 0)


if __name__ == "__main__":
    main()
