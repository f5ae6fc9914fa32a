#!/usr/bin/env python3
"""Real models from Python packages (benchmarks/real_models.py) against ONNX Runtime, compiled and interpreted.

    ./bootstrap.sh real-models [--inputs N] [--only PART] [--write]      --write puts the table into docs/conformance.md

Each model runs on N inputs, drawn by seed (benchmarks/real_models.py); seed 0 is what the model was made for.
An output agrees when |d| / (1 + |ref|) <= 1e-4, or twice what ONNX Runtime's optimised run differs from its own unoptimised run where
that is larger. One that does not, but is no further than twice what ONNX Runtime moves by when every float constant of the model changes by
one unit in the last place, is at a tie: it is not counted as agreeing. Where only the interpreter differs, in a float16 model, ONNX's own
reference evaluator, which rounds as often, is measured beside it. Exit code 1 when a compiled plan neither agrees nor is at a tie.
Needs what requirements-test.txt names; MITRAL names the program.
"""

import argparse
import dataclasses
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
    options.intra_op_num_threads = 1  # in more, LSTMs quantize the part of a batch that each takes by itself
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


@dataclasses.dataclass
class Outcome:
    """Of one model and one input: distances compiled and interpreted (None: it did not run), and ONNX Runtime's from itself."""
    distances: list
    own: float
    note: str
    refused: bool

    def agrees(self, path):
        return self.distances[path] is not None and self.distances[path] <= max(1e-4, 2 * self.own)


def examine(model):
    source = exact(model.path)
    reference = run_onnxruntime(source, model.inputs)
    own = worst(reference, run_onnxruntime(source, model.inputs, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL))
    with tempfile.TemporaryDirectory() as folder:
        cases.write_case(folder, model.path, model.inputs, reference)
        results = [cases.distance(folder, *path) for path in ([], ["--interpret"])]
    outcome = Outcome([distance for distance, _ in results], own, "", False)
    messages = [message for _, message in results if message]
    if messages:
        outcome.note = messages[0]
    elif outcome.agrees(0) and not outcome.agrees(1):
        evaluator = rounded(model.path, model.inputs, reference)
        if evaluator is not None and outcome.distances[1] <= evaluator:
            outcome.note = f"interpreter: rounded to float16 after each node, as by ONNX's own evaluator, which is {evaluator:.1e} away"
    elif not outcome.agrees(0):
        moved = shaken(source, model.inputs, reference)
        if outcome.distances[0] <= 2 * moved:
            outcome.note = f"at a tie: ONNX Runtime itself moves by {moved:.1e}"
    outcome.refused = not outcome.agrees(0) and not outcome.note.startswith("at a tie")
    return outcome


def row_of(model, outcomes):
    cells = [f"{max(outcome.own for outcome in outcomes):.1e}"]
    for path in range(2):
        found = [outcome.distances[path] for outcome in outcomes]
        cells.append("does not run" if None in found else f"{max(found):.1e}")
    for path in range(2):
        agreeing = sum(outcome.agrees(path) for outcome in outcomes)
        cells.append(f"{agreeing} of {len(outcomes)}" if agreeing == len(outcomes) else f"**{agreeing}** of {len(outcomes)}")
    nodes = len(onnx.load(model.path, load_external_data=False).graph.node)
    return f"| {model.name} | {nodes} | {' | '.join(cells)} | {next((outcome.note for outcome in outcomes if outcome.note), '')} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--inputs", type=int, default=5, metavar="N", help="seeds 0 to N - 1; 5 unless told")
    parser.add_argument("--only", default="", metavar="PART", help="models whose name has this part")
    options = parser.parse_args()
    rows, everywhere, refused, count = [], [0, 0], 0, 0
    agreeing = [0, 0]  # inputs, compiled and interpreted
    for inputs in zip(*(real_models.load(seed) for seed in range(options.inputs))):
        if options.only not in inputs[0].name:
            continue
        outcomes = [examine(model) for model in inputs]
        count += len(outcomes)
        refused += sum(outcome.refused for outcome in outcomes)
        for path in range(2):
            agree = [outcome.agrees(path) for outcome in outcomes]
            agreeing[path] += sum(agree)
            everywhere[path] += all(agree)
        rows.append(row_of(inputs[0], outcomes))
        print(rows[-1], flush=True)
    told = (f"{everywhere[0]} of {len(rows)} models agree on all their inputs compiled, {everywhere[1]} interpreted; "
            f"{agreeing[0]} and {agreeing[1]} of {count} inputs.")
    part = f"""## Real models from Python packages

The largest |d| / (1 + |ref|) over all outputs, against ONNX Runtime with its optimisations. A model agrees within 1e-4, or within twice
what ONNX Runtime's optimised and unoptimised runs differ from each other. The worst of {options.inputs} inputs of each: one of the kind it was made for,
then by turns such and noise, by seed, in other sizes and batches where the model leaves them open. Repeat with
`./bootstrap.sh real-models --write`.

| model | nodes | ONNX Runtime against itself | compiled | interpreted | compiled agrees | interpreted agrees | |
|---|---:|---:|---:|---:|---:|---:|---|
{chr(10).join(rows)}

{told} {report.versions(["onnxruntime"])}; {", ".join(real_models.PINS)}; {report.processor()}{'' if vnni() else ' without VNNI'}.

ONNX Runtime is given signed 8-bit weights of integer products as unsigned ones, with zero points 128 higher: of signed ones its sums saturate
on CPUs without VNNI, and its outputs then differ from its own by up to 2.5. Dynamically quantized LSTMs round their hidden state to 8 bits in
each step; where a value is near the middle of two, the last bit of a float32 decides, and with it all that follows (changing each float
constant by one unit in the last place moves ONNX Runtime's own outputs of rawi_v3 by 4.8e-02 and the embedder's by 1.4e-02). mitral therefore
computes such LSTMs, and each Tanh, Sigmoid and Softmax whose values or products are quantized, by ONNX Runtime's own sequence of operations,
and gets the same bits. ONNX Runtime runs in one thread: in more it quantizes the part of a batch that each takes by itself, and its outputs depend on their number.

slovorez is float16 throughout. ONNX Runtime has no float16 arithmetic on a CPU: it puts casts around each node and removes those that meet, so
that it computes in float32 between its nodes at every level of optimisation. So do mitral's compiled plans.
The interpreter rounds each node's result to float16: it shows each node's value as the standard has it. Next to slovorez in float64, ONNX
Runtime and mitral compiled are at 1.4e-4, the interpreter at 7.5e-4."""
    if options.write:
        report.write_part("real models", part)
    print(told)
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
