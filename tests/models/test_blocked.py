"""Files that ONNX Runtime writes with graph_optimization_level ORT_ENABLE_ALL: operators of com.microsoft.nchwc, weights in its kernels'
order. mitral's outputs for them are ONNX Runtime's for the model as it was."""

import pathlib
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from support import infer, main, run, worst

BLOCKED = "com.microsoft.nchwc"
# Channels of a block where ONNX Runtime runs on this CPU; networks below have so many more channels where blocks are of 16.
BLOCK = 16 if " avx512f " in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8") else 8
MORE = BLOCK // 8
generator = np.random.default_rng(11)


def real(*shape):
    return (generator.standard_normal(shape) * 0.2).astype(np.float32)


def model_of(nodes, shape, outputs, initializers, opset=17, domains=()):
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in initializers.items()]
    graph = helper.make_graph(nodes, "blocked", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs], tensors)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def optimised_by_peer(path):
    """ONNX Runtime's file, and how many of its operators have blocks."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.optimized_model_filepath = str(path.with_suffix(".optimised.onnx"))
    onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return settings.optimized_model_filepath, {node.op_type for node in onnx.load(settings.optimized_model_filepath).graph.node
                                               if node.domain == BLOCKED}


def compare(path, x, optimised, distance=worst, tolerance=1e-4):
    names = [output.name for output in onnx.load(path).graph.output]
    feed = onnx.load(path).graph.input[0].name
    want = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {feed: x})
    for options in ([], ["--interpret"]):
        got = infer(optimised, {feed: x}, *options)
        for name, expected in zip(names, want):
            assert got[name].shape == expected.shape, f"{name} {options}: {got[name].shape}, expected {expected.shape}"
            off = distance(got[name], expected)
            assert off <= tolerance, f"{name} {options}: off by {off:.3g}, at most {tolerance:g} expected"


def check(nodes, shape, x, outputs, initializers, operators, **options):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        onnx.save(model_of(nodes, shape, outputs, initializers, **options), path)
        optimised, found = optimised_by_peer(path)
        assert operators <= found, f"expected {operators} in ONNX Runtime's file, found {found}"
        compare(path, x, optimised)
        exported = path.with_suffix(".exported.onnx")
        run("optimize", optimised, "-o", exported)
        onnx.checker.check_model(onnx.load(exported), full_check=True)
        compare(path, x, exported)


def test_every_operator():
    """20 (or 40) channels do not fill their blocks; the last convolution is not blocked."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["a"], pads=[1] * 4), node("Relu", ["a"], ["ar"]),
        node("Conv", ["ar", "w2", "b2"], ["b"], pads=[1] * 4, group=20 * MORE),
        node("Conv", ["b", "w3"], ["c"]), node("Sigmoid", ["c"], ["cs"]),
        node("MaxPool", ["cs"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["d", "w4", "b4"], ["e"], pads=[2] * 4, dilations=[2, 2]),
        node("Conv", ["e", "w5"], ["g"], pads=[1] * 4, strides=[2, 2]),
        node("Resize", ["g", "", "scales"], ["h"], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        node("AveragePool", ["d"], ["d2"], kernel_shape=[3, 3], pads=[1] * 4),
        node("Add", ["h", "d2"], ["s"]), node("Relu", ["s"], ["sr"]),
        node("Concat", ["sr", "d"], ["cc"], axis=1),
        node("Conv", ["cc", "w7"], ["y7"]), node("Resize", ["y7", "", "scales"], ["large"], mode="linear"),
        node("Conv", ["large", "w6"], ["grouped"], group=4),
        node("GlobalAveragePool", ["cc"], ["mean"]), node("Conv", ["mean", "w8"], ["scores"]), node("GlobalMaxPool", ["sr"], ["largest"]),
    ]
    check(nodes, ["n", 3, 16, 16], real(2, 3, 16, 16), ["large", "grouped", "scores", "largest"], {
        "w1": real(20 * MORE, 3, 3, 3), "b1": real(20 * MORE), "w2": real(20 * MORE, 1, 3, 3), "b2": real(20 * MORE),
        "w3": real(40 * MORE, 20 * MORE, 1, 1), "w4": real(20 * MORE, 40 * MORE, 3, 3), "b4": real(20 * MORE),
        "w5": real(40 * MORE, 20 * MORE, 3, 3), "w6": real(24, 6, 3, 3), "w7": real(24, 80 * MORE, 1, 1), "w8": real(5, 80 * MORE, 1, 1),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }, {"Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "ReorderOutput", "Upsample"})


def test_activations_and_addends():
    """An input with 12 (or 24) channels is filled up to whole blocks; Elu takes the layout back in between."""
    for opset in (11, 13, 17, 22):
        for name, more, attributes in (("Relu", {}, {}), ("Tanh", {}, {}), ("LeakyRelu", {}, {"alpha": 0.3}),
                                       ("HardSigmoid", {}, {"alpha": 0.3, "beta": 0.4}), ("Elu", {}, {}),
                                       ("Clip", {"low": np.float32(-0.1), "high": np.float32(0.3)}, {})):
            nodes = [helper.make_node("Conv", ["x", "w1"], ["c"], pads=[1] * 4), helper.make_node(name, ["c", *more], ["a"], **attributes),
                     helper.make_node("Conv", ["a", "w2", "b2"], ["e"], pads=[1] * 4), helper.make_node("Add", ["a", "e"], ["s"]),
                     helper.make_node("Relu", ["s"], ["y"])]
            check(nodes, [1, 12 * MORE, "h", 9], real(1, 12 * MORE, 7, 9), ["y"],
                  {"w1": real(20 * MORE, 12 * MORE, 3, 3), "w2": real(20 * MORE, 20 * MORE, 3, 3), "b2": real(20 * MORE), **more},
                  {"Conv", "ReorderInput", "ReorderOutput"}, opset=opset)


def of_range(got, want):
    return float(np.abs(got - want).max() / (want.max() - want.min()))


def test_networks():
    """Uncalibrated batch norms let DPU-Net's outputs reach hundreds: ONNX Runtime is 1.3e-4 from itself, 1e-6 of their range."""
    for arguments in (["dpu-net"], ["unet", "--size", "64"]):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.onnx"
            run("create", *arguments, "-o", path)
            optimised, found = optimised_by_peer(path)
            assert "Conv" in found, found
            shape = [d.dim_value or 2 for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
            compare(path, real(*shape), optimised, of_range, 1e-5)


def blocked(weights, block, inner):
    """[O, I, h, w], filled up to whole blocks, in the order of ONNX Runtime's kernels."""
    fill = [(0, -weights.shape[0] % block), (0, -weights.shape[1] % inner), (0, 0), (0, 0)]
    weights = np.pad(weights, fill)
    outputs, inputs, rows, columns = weights.shape
    parts = weights.reshape(outputs // block, block, inputs // inner, inner, rows, columns).transpose(0, 2, 4, 5, 3, 1)
    return np.ascontiguousarray(parts).reshape(weights.shape)


def test_blocks_of_either_size_are_told_apart():
    """No file says how many channels a block has; that some are not full, or an input of fewer, shows it."""
    for block, inputs, hidden in ((16, 3, 20), (16, 12, 32), (8, 3, 20), (8, 3, 24), (16, 3, 5), (8, 3, 5)):
        w1, w2, x = real(hidden, inputs, 3, 3), real(6, hidden, 1, 1), real(1, inputs, 8, 8)
        plain = [helper.make_node("Conv", ["x", "w1"], ["a"]), helper.make_node("Conv", ["a", "w2"], ["y"])]
        nodes = [helper.make_node("Conv", ["x", "w1"], ["a"], domain=BLOCKED), helper.make_node("Conv", ["a", "w2"], ["b"], domain=BLOCKED),
                 helper.make_node("ReorderOutput", ["b"], ["y"], domain=BLOCKED, channels=6)]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.onnx"
            onnx.save(model_of(plain, [1, inputs, 8, 8], ["y"], {"w1": w1, "w2": w2}), path)
            file = path.with_suffix(".blocked.onnx")
            onnx.save(model_of(nodes, [1, inputs, 8, 8], ["y"], {"w1": blocked(w1, block, 1), "w2": blocked(w2, block, block)},
                               domains=[BLOCKED]), file)
            compare(path, x, file)


def test_channels_last():
    w, x = real(10, 4, 3, 3), real(1, 8, 8, 4)
    nodes = [helper.make_node("ReorderInput", ["x"], ["a"], domain=BLOCKED, channels_last=1),
             helper.make_node("Conv", ["a", "w"], ["b"], domain=BLOCKED),
             helper.make_node("ReorderOutput", ["b"], ["y"], domain=BLOCKED, channels=10, channels_last=1)]
    plain = [helper.make_node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]), helper.make_node("Conv", ["a", "w"], ["b"]),
             helper.make_node("Transpose", ["b"], ["y"], perm=[0, 2, 3, 1])]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        onnx.save(model_of(plain, [1, 8, 8, 4], ["y"], {"w": w}), path)
        file = path.with_suffix(".blocked.onnx")
        onnx.save(model_of(nodes, [1, 8, 8, 4], ["y"], {"w": blocked(w, BLOCK, BLOCK)}, domains=[BLOCKED]), file)
        compare(path, x, file)


def test_what_does_not_fit_is_refused():
    def refused(nodes, initializers, *facts, opset=17, code=1):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.onnx"
            onnx.save(model_of(nodes, [1, 8, 8, 8], ["y"], initializers, opset, [BLOCKED]), path)
            message = run("compile", path, "-o", pathlib.Path(folder) / "model.plan", code=code)
            assert message.count("\n") == 1 and all(fact in message for fact in facts), message

    def node(op, inputs, **attributes):
        return [helper.make_node(op, inputs, ["y"], name="first", domain=BLOCKED, **attributes)]

    refused(node("Conv", ["x", "w"]), {"w": real(12, 8, 1, 1)}, "Conv 'first'", "output channels in blocks of 8, found 12")
    refused(node("Conv", ["x", "w"], group=2), {"w": real(8, 4, 1, 1)}, "input channels in blocks of 8, found 4")
    refused(node("Conv", ["x", "x"]), {}, "weights that are a constant of type float32 and rank 4", code=2)
    refused(node("Conv", ["x"]), {}, "2 to 4 inputs, found 1")
    refused(node("Upsample", ["x"], scales=[2, 2]), {}, "4 scales, found 2")
    refused(node("ReorderOutput", ["x"]), {}, "channels from 1, found 0")
    refused(node("ReorderInput", ["x"]), {}, "opset 11 of ai.onnx or a later one, found 9", opset=9, code=2)
    refused(node("Softmax", ["x"]), {}, "Softmax (domain com.microsoft.nchwc", code=2)


if __name__ == "__main__":
    main(globals())
