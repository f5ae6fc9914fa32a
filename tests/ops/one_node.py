"""Single operators against ONNX Runtime: builds a model of one node, runs both, compares every output."""

import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "models"))
from support import infer, main  # noqa: E402  (the folder of tests/models has what runs the command)

__all__ = ["Operator", "compare_all", "main"]


class Operator:
    """One node: inputs are arrays, None for one that is left out, or ("const", array) for an initializer. `expected` (a
    list of outputs) takes the place of what ONNX Runtime computes."""

    def __init__(self, op, inputs, outputs=1, domain="", onnx_opset=17, tolerance=1e-5, ulps=None, expected=None,
                 **attributes):
        self.op, self.inputs, self.outputs = op, inputs, outputs
        self.expected = expected
        self.domain, self.onnx_opset, self.attributes = domain, onnx_opset, attributes
        self.tolerance, self.ulps = tolerance, ulps

    def __str__(self):
        shapes = [None if i is None else list((i[1] if isinstance(i, tuple) else i).shape) for i in self.inputs]
        return f"{self.op} {shapes} {self.attributes} (opset {self.onnx_opset})"

    def output_names(self):
        """Names of the outputs; `outputs` may be a number or a list of which ones are asked for."""
        wanted = range(self.outputs) if isinstance(self.outputs, int) else self.outputs
        return [f"y{i}" if i in wanted else "" for i in range(max(wanted) + 1)]

    def model(self):
        names, inputs, initializers = [], [], []
        for i, value in enumerate(self.inputs):
            names.append("" if value is None else f"x{i}")
            if isinstance(value, tuple):
                initializers.append(numpy_helper.from_array(value[1], f"x{i}"))
            elif value is not None:
                inputs.append(helper.make_tensor_value_info(f"x{i}", helper.np_dtype_to_tensor_dtype(value.dtype),
                                                            value.shape))
        node = helper.make_node(self.op, names, self.output_names(), domain=self.domain, **self.attributes)
        outputs = [onnx.ValueInfoProto(name=name) for name in self.output_names() if name]
        graph = helper.make_graph([node], "one", inputs, outputs, initializers)
        opsets = [helper.make_opsetid("", self.onnx_opset)]
        opsets += [helper.make_opsetid(self.domain, 1)] if self.domain else []
        return helper.make_model(graph, opset_imports=opsets, ir_version=8 if self.onnx_opset < 21 else 10)

    def feeds(self):
        return {f"x{i}": value for i, value in enumerate(self.inputs)
                if value is not None and not isinstance(value, tuple)}

    def peer(self, path, names):
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4
        settings.intra_op_num_threads = 1
        # Without VNNI its products of uint8 with int8 saturate at 16 bits unless weights are made uint8, which level all alone does.
        settings.add_session_config_entry("session.x64quantprecision", "1")
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"]).run(names, self.feeds())

    def compare(self, options):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.onnx"
            onnx.save(self.model(), path)
            names = [name for name in self.output_names() if name]
            want = self.expected or self.peer(path, names)
            got = infer(path, self.feeds(), *options)
            for name, expected in zip(names, want):
                actual = got[name]
                assert actual.shape == expected.shape, f"{self}: {name}: {actual.shape}, expected {expected.shape}"
                assert actual.dtype == expected.dtype, f"{self}: {name}: {actual.dtype}, expected {expected.dtype}"
                if self.ulps is not None:
                    distance = np.abs(actual.astype(np.int64) - expected.astype(np.int64)).max(initial=0)
                    assert distance <= self.ulps, f"{self}: {name}: off by {distance}, at most {self.ulps} expected"
                    continue
                wrong = np.isnan(actual) != np.isnan(expected)
                wide = expected.astype(np.float64)
                distance = np.nan_to_num(np.abs(actual.astype(np.float64) - wide) / (1 + np.abs(wide)))
                assert not wrong.any() and distance.max(initial=0) <= self.tolerance, \
                    f"{self} {options}: {name}: off by {distance.max(initial=0):.3g}, at most {self.tolerance:g}"


def compare_all(operators):
    """On the optimised path and on the interpreter's; all differences are reported together."""
    problems = []
    for operator in operators:
        for options in ([], ["--interpret"]):
            try:
                operator.compare(options)
            except AssertionError as error:
                problems.append(str(error))
    assert not problems, "\n  ".join([f"{len(problems)} of {2 * len(operators)} differ", *problems])
