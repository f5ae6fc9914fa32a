#!/usr/bin/env python3
"""Real models from Python packages (benchmarks/real_models.py) against ONNX Runtime, compiled and interpreted.

    ./bootstrap.sh real-models [--write]      --write puts the table into docs/conformance.md

An output agrees when |d| / (1 + |ref|) <= 1e-4, or twice what ONNX Runtime's optimised run differs from its own unoptimised run where
that is larger. One that does not, but is no further than twice what ONNX Runtime moves by when every float constant of the model changes by
one unit in the last place, is at a tie: it is not counted as agreeing. Where only the interpreter differs, in a float16 model, ONNX's own
reference evaluator, which rounds as often, is measured beside it. Exit code 1 when a compiled plan neither agrees nor is at a tie.
Needs what requirements-test.txt names; MITRAL names the program.
"""

import argparse
import pathlib
import sys
import tempfile

import cases
import numpy as np
import onnx
import onnxruntime
import report
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

sys.path.insert(0, str(report.ROOT / "benchmarks"))
import real_models  # noqa: E402


SHAKES = 8


def run_onnxruntime(source, inputs, level=onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"]).run(None, inputs)


def worst(got, want):
    return max(cases.worst(a, b) for a, b in zip(got, want))


def vnni():
    return any(flag in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8") for flag in ("avx512_vnni", "avx_vnni"))


def exact(path):
    """The model as bytes, its signed 8-bit weights of integer products written as unsigned ones with their zero points 128 higher, which
    means the same: of signed ones ONNX Runtime's sums saturate on CPUs without VNNI."""
    proto = onnx.load(path)
    places = {"MatMulInteger": (1, 3), "DynamicQuantizeLSTM": (1, 2, 9, 11)}
    names = {node.input[i] for node in proto.graph.node for i in places.get(node.op_type, ())}
    for tensor in proto.graph.initializer:
        if tensor.name in names and tensor.data_type == onnx.TensorProto.INT8:
            array = numpy_helper.to_array(tensor).astype(np.int16) + 128
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.uint8), tensor.name))
    return proto.SerializeToString()


def shaken(source, inputs, reference):
    """How far ONNX Runtime's outputs move when each float constant goes one unit in the last place up or down."""
    random, proto, furthest = np.random.default_rng(5), onnx.ModelProto.FromString(source), 0.0
    constants = [tensor for tensor in proto.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    values = [numpy_helper.to_array(tensor) for tensor in constants]
    for _ in range(SHAKES):
        for tensor, array in zip(constants, values):
            way = np.where(random.integers(0, 2, array.shape), np.float32(np.inf), np.float32(-np.inf))
            tensor.CopyFrom(numpy_helper.from_array(np.where(array == 0, array, np.nextafter(array, way)), tensor.name))
        furthest = max(furthest, worst(run_onnxruntime(proto.SerializeToString(), inputs), reference))
    return furthest


def rounded(path, inputs, reference):
    """How far ONNX's own reference evaluator is, which rounds each node's result to its type; None where no node's is float16."""
    proto = onnx.load(path)
    if not any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in proto.graph.initializer):
        return None
    return worst(ReferenceEvaluator(proto).run(None, inputs), reference)


def shown(result):
    distance, message = result
    return message if distance is None else f"{distance:.1e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows, failed, refused = [], [0, 0], 0 # compiled, interpreted; a compiled plan that is not at a tie
    for model in real_models.load():
        source = exact(model.path)
        reference = run_onnxruntime(source, model.inputs)
        own = worst(reference, run_onnxruntime(source, model.inputs, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL))
        allowed = max(1e-4, 2 * own)
        with tempfile.TemporaryDirectory() as folder:
            cases.write_case(folder, model.path, model.inputs, reference)
            results = [cases.distance(folder, *path) for path in ([], ["--interpret"])]
        agree = [distance is not None and distance <= allowed for distance, _ in results]
        failed = [count + (not each) for count, each in zip(failed, agree)]
        told = {(True, True): "yes", (True, False): "compiled only", (False, True): "interpreted only", (False, False): "**no**"}[tuple(agree)]
        if agree == [True, False]:
            evaluator = rounded(model.path, model.inputs, reference)
            if evaluator is not None and results[1][0] is not None and results[1][0] <= evaluator:
                told = f"compiled; rounded to float16 after each node, as by the interpreter, ONNX's own evaluator is {evaluator:.1e} away"
        if not agree[0]:
            moved = shaken(source, model.inputs, reference)
            if results[0][0] is not None and results[0][0] <= 2 * moved:
                told = f"no, at a tie: ONNX Runtime itself moves by {moved:.1e}"
            else:
                refused += 1
        nodes = len(onnx.load(model.path, load_external_data=False).graph.node)
        rows.append(f"| {model.name} | {nodes} | {own:.1e} | {shown(results[0])} | {shown(results[1])} | {told} |")
        print(rows[-1], flush=True)
    part = f"""## Real models from Python packages

The largest |d| / (1 + |ref|) over all outputs, against ONNX Runtime with its optimisations. A model agrees within 1e-4, or within twice
what ONNX Runtime's optimised and unoptimised runs differ from each other. Repeat with `./bootstrap.sh real-models --write`.

| model | nodes | ONNX Runtime against itself | mitral, compiled | mitral, interpreter | agrees |
|---|---:|---:|---:|---:|---|
{chr(10).join(rows)}

{len(rows) - failed[0]} of {len(rows)} agree compiled, {len(rows) - failed[1]} interpreted. {report.versions(["onnxruntime"])}; {", ".join(real_models.PINS)}; {report.processor()}{'' if vnni() else ' without VNNI'}.

ONNX Runtime is given signed 8-bit weights of integer products as unsigned ones, with zero points 128 higher: of signed ones its sums saturate
on CPUs without VNNI, and its outputs then differ from its own by up to 2.5. Dynamically quantized LSTMs round their hidden state to 8 bits in
each step; where a value is near the middle of two, the last bit of a float32 decides, and with it all that follows (changing each float
constant by one unit in the last place moves ONNX Runtime's own outputs of rawi_v3 by 4.8e-02 and the embedder's by 1.4e-02). Mitral therefore
computes such LSTMs by ONNX Runtime's own sequence of operations, its sigmoid and tanh included, and gets the same bits.

slovorez is float16 throughout. ONNX Runtime has no float16 arithmetic on a CPU: it puts casts around each node and removes those that meet, so
that it computes in float32 between its nodes at every level of optimisation. So do mitral's compiled plans, on CPUs without such arithmetic.
The interpreter rounds each node's result to float16: it shows each node's value as the standard has it. Next to slovorez in float64, ONNX
Runtime and mitral compiled are at 1.4e-4, the interpreter at 7.5e-4."""
    if options.write:
        report.write_part("real models", part)
    print(f"{len(rows) - failed[0]} of {len(rows)} agree compiled, {len(rows) - failed[1]} interpreted")
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
