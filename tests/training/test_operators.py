"""Gradients of operators that are composed of others before they are differentiated, of control flow and of sampling, against PyTorch; and
the proof that no operator is left out.

Tolerance: 1e-6 of the largest element, in float64 where the standard has the operator in it (two correct implementations differ by about
1e-13); operators that it has in float32 alone are compared with float64 formulas within 1e-5, their own rounding.
"""

import pathlib
import re
import tempfile

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from support import TOOLS, call, close, main

GENERATOR = np.random.default_rng(11)
KINDS = {"float64": TensorProto.DOUBLE, "float32": TensorProto.FLOAT}
TESTED = set()  # what the cases below cover, for test_no_operator_is_left_out


def random(*shape, low=-1.0, high=1.0):
    return GENERATOR.uniform(low, high, shape)


def dump(nodes, inputs, outputs, weights, constants=(), domains=(), code=0):
    """The loss Σ over `outputs` of output · weights, and its gradients by the names of `inputs`; standard error where code is not 0."""
    kind = next(iter(inputs.values())).dtype
    nodes = list(nodes)
    for i, output in enumerate(outputs):
        constants = [*constants, numpy_helper.from_array(np.asarray(weights[i], kind), f"weights{i}")]
        nodes += [helper.make_node("Mul", [output, f"weights{i}"], [f"product{i}"]),
                  helper.make_node("ReduceSum", [f"product{i}"], [f"part{i}"], keepdims=0)]
    nodes.append(helper.make_node("Sum", [f"part{i}" for i in range(len(outputs))], ["loss"]))
    graph = helper.make_graph(nodes, "graph", [helper.make_tensor_value_info(n, KINDS[str(v.dtype)], v.shape) for n, v in inputs.items()],
                              [helper.make_tensor_value_info("loss", KINDS[str(kind)], [])], list(constants))
    imports = [helper.make_opsetid("", onnx.defs.onnx_opset_version()), *(helper.make_opsetid(*d) for d in domains)]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        onnx.save(helper.make_model(graph, opset_imports=imports), folder / "model.onnx")
        for name, value in inputs.items():
            np.save(folder / f"in_{name}.npy", value)
        listed = call(TOOLS / "gradient_dump", folder / "model.onnx", folder, *[f"{n}={folder}/in_{n}.npy" for n in inputs], code=code)
        if code:
            return listed
        names = listed.split("\n")
        return float(np.load(folder / "loss.npy")), {n: np.load(folder / f"{i}.npy") for i, n in enumerate(names) if n in inputs}


def compare(nodes, inputs, outputs, function, constants=(), domains=(), tolerance=1e-6):
    """`function` maps the inputs, as float64 tensors, to the tensors of `outputs`."""
    tensors = {n: torch.tensor(v.astype(np.float64), requires_grad=True) for n, v in inputs.items()}
    wanted = function(**tensors)
    wanted = wanted if isinstance(wanted, (tuple, list)) else [wanted]
    weights = [random(*w.shape) for w in wanted]
    loss = sum((w * torch.tensor(v)).sum() for w, v in zip(wanted, weights))
    loss.backward()
    found, gradients = dump(nodes, inputs, outputs, weights, constants, domains)
    what = " ".join(n.op_type for n in nodes)
    TESTED.update((n.domain, n.op_type) for n in nodes)
    assert abs(found - loss.item()) <= tolerance * max(1, abs(loss.item())), f"{what}: loss {found}, expected {loss.item()}"
    for name, tensor in tensors.items():
        close(gradients[name], tensor.grad.numpy(), tolerance, f"{what} d{name}")


def constant(name, value, dtype=np.int64):
    return numpy_helper.from_array(np.asarray(value, dtype), name)


# ---- recurrent layers --------------------------------------------------------------------------------------------------

def order(gates, weight, hidden):
    """PyTorch's gates (i f g o; r z n) in ONNX's order (i o f c; z r h)."""
    blocks = weight.reshape(len(gates), hidden, *weight.shape[1:])
    return torch.cat([blocks[i] for i in gates])


def recurrent(kind, gates, bidirectional, **attributes):
    time, batch, size, hidden, directions = 5, 2, 3, 4, 1 + bidirectional
    torch.manual_seed(3)
    layer = getattr(torch.nn, kind)(size, hidden, bidirectional=bidirectional).double()
    suffixes = ["", "_reverse"][:directions]
    inputs = {"x": random(time, batch, size), "w": random(directions, len(gates) * hidden, size),
              "r": random(directions, len(gates) * hidden, hidden), "b": random(directions, 2 * len(gates) * hidden),
              "h": random(directions, batch, hidden)}
    if kind == "LSTM":
        inputs["c"] = random(directions, batch, hidden)
    inverse = [gates.index(i) for i in range(len(gates))]

    def function(x, w, r, b, h, c=None):
        values = {}
        for d, suffix in enumerate(suffixes):
            half = len(gates) * hidden
            values |= {f"weight_ih_l0{suffix}": order(inverse, w[d], hidden), f"weight_hh_l0{suffix}": order(inverse, r[d], hidden),
                       f"bias_ih_l0{suffix}": order(inverse, b[d, :half], hidden), f"bias_hh_l0{suffix}": order(inverse, b[d, half:], hidden)}
        y, state = torch.func.functional_call(layer, values, (x, h if c is None else (h, c)))
        y = y.reshape(time, batch, directions, hidden).movedim(2, 1)
        return [y, state] if c is None else [y, *state]

    outputs = ["y", "y_h", "y_c"][:3 if kind == "LSTM" else 2]
    names = ["x", "w", "r", "b", "", "h", *(["c"] if kind == "LSTM" else [])]
    node = helper.make_node(kind, names, outputs, hidden_size=hidden, direction="bidirectional" if bidirectional else "forward", **attributes)
    compare([node], inputs, outputs, function)


def test_recurrent_layers():
    for bidirectional in (False, True):
        recurrent("LSTM", [0, 3, 1, 2], bidirectional)
        recurrent("GRU", [1, 0, 2], bidirectional, linear_before_reset=1)
        recurrent("RNN", [0], bidirectional)


# ---- attention ---------------------------------------------------------------------------------------------------------

def test_attention():
    q, k, v = random(2, 4, 3, 6), random(2, 2, 5, 6), random(2, 2, 5, 7)
    compare([helper.make_node("Attention", ["q", "k", "v", "m"], ["y"])], {"q": q, "k": k, "v": v, "m": random(3, 5)}, ["y"],
            lambda q, k, v, m: functional.scaled_dot_product_attention(q, k, v, m, enable_gqa=True))
    compare([helper.make_node("Attention", ["q", "k", "v"], ["y"], is_causal=1, scale=0.5)],
            {"q": random(1, 2, 4, 6), "k": random(1, 2, 4, 6), "v": random(1, 2, 4, 6)}, ["y"],
            lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.5))


def test_flexible_attention():
    """Subgraphs over scores and probabilities; one takes a weight from outside."""
    def body(name, nodes):
        return helper.make_graph(nodes, name, [helper.make_tensor_value_info("a", TensorProto.DOUBLE, None)],
                                 [helper.make_tensor_value_info("b", TensorProto.DOUBLE, None)])

    preview, inputs = [("ai.onnx.preview", 1)], {"q": random(2, 4, 3, 6), "k": random(2, 2, 5, 6), "v": random(2, 2, 5, 7)}
    score = body("score", [helper.make_node("Tanh", ["a"], ["t"]), helper.make_node("Mul", ["t", "w"], ["b"])])
    probability = body("probability", [helper.make_node("Mul", ["a", "a"], ["b"])])

    def attention(q, k, v, change, scale):
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        return torch.softmax(change(q @ k.mT * scale), -1) @ v

    compare([helper.make_node("FlexAttention", ["q", "k", "v"], ["y"], domain="ai.onnx.preview", score_mod=score)],
            {**inputs, "w": random(4, 3, 5)}, ["y"], lambda q, k, v, w: attention(q, k, v, lambda s: torch.tanh(s) * w, 6 ** -0.5), domains=preview)
    compare([helper.make_node("FlexAttention", ["q", "k", "v"], ["y"], domain="ai.onnx.preview", scale=0.3)], inputs, ["y"],
            lambda q, k, v: attention(q, k, v, lambda s: s, 0.3), domains=preview)
    compare([helper.make_node("FlexAttention", ["q", "k", "v"], ["y"], domain="ai.onnx.preview", prob_mod=probability)], inputs, ["y"],
            lambda q, k, v: torch.softmax(q @ k.repeat_interleave(2, 1).mT * 6 ** -0.5, -1).square() @ v.repeat_interleave(2, 1), domains=preview)


# ---- sampling, transforms and products -----------------------------------------------------------------------------------

def test_grid_sample():
    modes = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}
    for mode, name in modes.items():
        for padding in ("zeros", "border", "reflection"):
            for corners in (0, 1):
                compare([helper.make_node("GridSample", ["x", "g"], ["y"], mode=mode, padding_mode=padding, align_corners=corners)],
                        {"x": random(2, 3, 5, 6), "g": random(2, 4, 3, 2, low=-1.6, high=1.6)}, ["y"],
                        lambda x, g, m=name, p=padding, a=corners: functional.grid_sample(x, g, m, p, bool(a)))
    compare([helper.make_node("GridSample", ["x", "g"], ["y"], mode="linear", padding_mode="border")],
            {"x": random(1, 2, 3, 4, 5), "g": random(1, 2, 3, 2, 3, low=-1.3, high=1.3)}, ["y"],
            lambda x, g: functional.grid_sample(x, g, "bilinear", "border", False))


def test_affine_grid():
    for corners in (0, 1):
        for spatial in ([4, 5], [3, 4, 2]):
            compare([helper.make_node("AffineGrid", ["t", "size"], ["y"], align_corners=corners)], {"t": random(2, len(spatial), len(spatial) + 1)},
                    ["y"], lambda t, s=spatial, a=corners: functional.affine_grid(t, [2, 1, *s], align_corners=bool(a)),
                    [constant("size", [2, 1, *spatial])])


def test_folding_and_unpooling():
    compare([helper.make_node("Col2Im", ["x", "image", "block"], ["y"], strides=[2, 1], pads=[1, 1, 1, 1], dilations=[1, 2])],
            {"x": random(2, 12, 15)}, ["y"], lambda x: functional.fold(x, (5, 5), (3, 2), (1, 2), 1, (2, 1)),
            [constant("image", [5, 5]), constant("block", [3, 2])])


def test_products():
    compare([helper.make_node("Det", ["x"], ["y"])], {"x": random(3, 4, 4)}, ["y"], lambda x: torch.linalg.det(x))
    compare([helper.make_node("CumProd", ["x", "axis"], ["y"])], {"x": random(2, 6, 3)}, ["y"], lambda x: torch.cumprod(x, 1), [constant("axis", 1)])
    compare([helper.make_node("Einsum", ["a", "b"], ["y"], equation="...ij,...jk->...ik")], {"a": random(2, 3, 4), "b": random(1, 4, 5)}, ["y"],
            lambda a, b: torch.einsum("...ij,...jk->...ik", a, b))
    compare([helper.make_node("Einsum", ["a", "b"], ["y"], equation="bii,bij->bj")], {"a": random(2, 3, 3), "b": random(2, 3, 4)}, ["y"],
            lambda a, b: torch.einsum("bii,bij->bj", a, b))


def test_transforms():
    compare([helper.make_node("DFT", ["x", "", "axis"], ["y"])], {"x": random(2, 6, 3, 2)}, ["y"],
            lambda x: torch.view_as_real(torch.fft.fft(torch.view_as_complex(x), dim=1)), [constant("axis", 1)])
    compare([helper.make_node("DFT", ["x", "length", "axis"], ["y"], onesided=1)], {"x": random(2, 6, 1)}, ["y"],
            lambda x: torch.view_as_real(torch.fft.rfft(x[..., 0], 9, dim=1)), [constant("length", 9), constant("axis", 1)])
    compare([helper.make_node("DFT", ["x", "length"], ["y"], onesided=1, inverse=1)], {"x": random(2, 5, 2)}, ["y"],
            lambda x: torch.fft.irfft(torch.view_as_complex(x), 8, dim=1)[..., None], [constant("length", 8)])
    compare([helper.make_node("STFT", ["x", "step", "w"], ["y"])], {"x": random(2, 20, 1), "w": random(8, low=0.2)}, ["y"],
            lambda x, w: torch.view_as_real(torch.fft.rfft(x[..., 0].unfold(1, 8, 3) * w, dim=2)), [constant("step", 3)])


def test_scatter_reductions():
    index = np.array([[0, 0, 2], [1, 1, 1], [3, 2, 3]])
    for reduction, name in (("mul", "prod"), ("max", "amax"), ("min", "amin")):
        compare([helper.make_node("ScatterElements", ["x", "i", "u"], ["y"], axis=1, reduction=reduction)],
                {"x": random(3, 4), "u": random(3, 3)}, ["y"],
                lambda x, u, n=name: x.scatter_reduce(1, torch.tensor(index), u, n, include_self=True), [constant("i", index)])


# ---- control flow --------------------------------------------------------------------------------------------------------

def value(name, shape=None):
    return helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape)


def branches(condition_nodes, condition, constants):
    """y = x · w where the condition holds, else x + w²; both read x and w from outside."""
    true = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["a"])], "true", [], [value("a")])
    false = helper.make_graph([helper.make_node("Mul", ["w", "w"], ["b"]), helper.make_node("Add", ["x", "b"], ["c"])], "false", [], [value("c")])
    return [*condition_nodes, helper.make_node("If", [condition], ["y"], then_branch=true, else_branch=false)], constants


def test_branches():
    for holds in (True, False):
        function = (lambda x, w: x * w) if holds else (lambda x, w: x + w * w)
        x = {"x": random(2, 3) + (3 if holds else -3), "w": random(2, 3)}
        known = branches([], "condition", [constant("condition", holds, bool)])
        compare(known[0], x, ["y"], function, known[1])
        found = branches([helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0), helper.make_node("Greater", ["total", "zero"], ["c0"])], "c0",
                         [constant("zero", 0, np.float64)])
        compare(found[0], x, ["y"], function, found[1])


def test_a_branch_that_does_not_depend_on_a_weight():
    true = helper.make_graph([helper.make_node("Identity", ["x"], ["a"])], "true", [], [value("a")])
    false = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["b"])], "false", [], [value("b")])
    nodes = [helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0), helper.make_node("Greater", ["total", "zero"], ["c0"]),
             helper.make_node("If", ["c0"], ["y"], then_branch=true, else_branch=false)]
    compare(nodes, {"x": random(2, 3) + 3, "w": random(2, 3)}, ["y"], lambda x, w: x + 0 * w, [constant("zero", 0, np.float64)])


def test_loops():
    body = helper.make_graph(
        [helper.make_node("MatMul", ["h_in", "w"], ["m"]), helper.make_node("Tanh", ["m"], ["h_out"]),
         helper.make_node("Identity", ["c_in"], ["c_out"]), helper.make_node("Mul", ["h_out", "h_out"], ["s"])], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("c_in", TensorProto.BOOL, []), value("h_in", [2, 3])],
        [helper.make_tensor_value_info("c_out", TensorProto.BOOL, []), value("h_out", [2, 3]), value("s", [2, 3])])

    def function(h, w):
        stack = []
        for _ in range(4):
            h = torch.tanh(h @ w)
            stack.append(h * h)
        return [h, torch.stack(stack)]

    compare([helper.make_node("Loop", ["trips", "", "h"], ["y", "z"], body=body)], {"h": random(2, 3), "w": random(3, 3)}, ["y", "z"], function,
            [constant("trips", 4)])
    message = dump([helper.make_node("ReduceSum", ["h"], ["total"], keepdims=0), helper.make_node("Cast", ["total"], ["trips"], to=TensorProto.INT64),
                    helper.make_node("Loop", ["trips", "", "h"], ["y", "z"], name="around", body=body)], {"h": random(2, 3) + 2, "w": random(3, 3)},
                   ["y"], [random(2, 3)], code=1)
    assert "gradient of Loop 'around': expected a loop whose number of trips is known" in message, message


def sequence(name):
    return helper.make_value_info(name, helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.DOUBLE, None)))


def test_sequences():
    """Made, changed and cut; taken apart by position, together by concatenation."""
    node = helper.make_node
    made = [node("SequenceConstruct", ["a", "b"], ["s"]), node("SequenceInsert", ["s", "c", "first"], ["t"]), node("SequenceInsert", ["t", "a"], ["u"]),
            node("SequenceErase", ["u", "second"], ["w"])]
    inputs = {name: random(2, 3) for name in "abc"}
    places = [constant("first", 0), constant("second", -3)]
    compare([*made, node("SequenceAt", ["w", "last"], ["y"]), node("ConcatFromSequence", ["w"], ["z"], axis=1),
             node("ConcatFromSequence", ["w"], ["n"], axis=-1, new_axis=1)], inputs, ["y", "z", "n"],
            lambda a, b, c: [a, torch.cat([c, b, a], 1), torch.stack([c, b, a], -1)], [*places, constant("last", 2)])
    x = {"x": random(3, 5)}
    for split, keep, sizes in ((None, 1, [1] * 5), (None, 0, [1] * 5), (2, 1, [2, 2, 1]), ([1, 3, 1], 1, [1, 3, 1])):
        constants = [constant("i", -2), *([] if split is None else [constant("sizes", split)])]
        compare([node("SplitToSequence", ["x", *(["sizes"] if split is not None else [])], ["s"], axis=-1, keepdims=keep),
                 node("SequenceAt", ["s", "i"], ["y"]), node("SequenceInsert", ["s", "y"], ["t"]), node("ConcatFromSequence", ["t"], ["z"], axis=-1)]
                if keep else [node("SplitToSequence", ["x"], ["s"], axis=-1, keepdims=0), node("SequenceAt", ["s", "i"], ["y"]),
                              node("ConcatFromSequence", ["s"], ["z"], axis=0)], x, ["y", "z"],
                lambda x, sizes=sizes, keep=keep: [torch.split(x, sizes, 1)[-2], torch.cat([x, torch.split(x, sizes, 1)[-2]], 1)] if keep
                else [x[:, -2], x.T.reshape(-1)], constants)


def test_optionals_and_maps_over_sequences():
    node, inputs = helper.make_node, {name: random(2, 3) for name in "abw"}
    wrapped = [node("SequenceConstruct", ["a", "b"], ["s"]), node("Optional", ["s"], ["o"]), node("OptionalGetElement", ["o"], ["t"]),
               node("Optional", ["w"], ["ow"]), node("OptionalGetElement", ["ow"], ["v"])]
    body = helper.make_graph([node("Mul", ["i", "j"], ["p"]), node("Mul", ["p", "v"], ["q"])], "body", [value("i"), value("j")], [value("p"), value("q")])
    compare([*wrapped, node("SequenceMap", ["t", "s"], ["m", "k"], body=body), node("SequenceAt", ["m", "one"], ["y"]),
             node("ConcatFromSequence", ["k"], ["z"], axis=0)], inputs, ["y", "z"],
            lambda a, b, w: [b * b, torch.cat([a * a * w, b * b * w])], [constant("one", 1)])


def test_a_loop_that_fills_a_sequence():
    node = helper.make_node
    body = helper.make_graph(
        [node("Mul", ["h", "w"], ["h1"]), node("SequenceInsert", ["s", "h1"], ["s1"]), node("Identity", ["cond"], ["cond1"])], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("cond", TensorProto.BOOL, []), value("h"), sequence("s")],
        [helper.make_tensor_value_info("cond1", TensorProto.BOOL, []), value("h1"), sequence("s1")])
    compare([node("SequenceEmpty", [], ["e"], dtype=TensorProto.DOUBLE), node("Loop", ["trips", "", "h0", "e"], ["h", "s"], body=body),
             node("ConcatFromSequence", ["s"], ["y"], axis=0)], {"h0": random(2, 3), "w": random(2, 3)}, ["y"],
            lambda h0, w: torch.cat([h0 * w, h0 * w * w, h0 * w ** 3]), [constant("trips", 3)])


def test_scans():
    body = helper.make_graph([helper.make_node("Mul", ["s_in", "w"], ["m"]), helper.make_node("Add", ["m", "x_in"], ["s_out"]),
                              helper.make_node("Sin", ["s_out"], ["y_out"])], "body", [value("s_in", [3]), value("x_in", [3])],
                             [value("s_out", [3]), value("y_out", [3])])
    for backwards in (0, 1):
        def function(s, x, w, flip=backwards):
            out = []
            for t in range(4):
                s = s * w + x[:, 3 - t if flip else t]
                out.append(torch.sin(s))
            return [s, torch.stack(out)]
        compare([helper.make_node("Scan", ["s", "x"], ["z", "y"], body=body, num_scan_inputs=1, scan_input_axes=[1], scan_input_directions=[backwards])],
                {"s": random(3), "x": random(3, 4), "w": random(3)}, ["z", "y"], function)


# ---- float32 alone -------------------------------------------------------------------------------------------------------

def single(op, inputs, function, domain="ai.onnx.ml", constants=(), **attributes):
    node = helper.make_node(op, [*inputs, *(c.name for c in constants)], ["y"], domain=domain, **attributes)
    domains = [(domain, {"ai.onnx.ml": 3}.get(domain, 1))] if domain else [("ai.onnx.ml", 3)]
    compare([node], {n: v.astype(np.float32) for n, v in inputs.items()}, ["y"], function, constants, domains, 1e-5)


def test_features():
    x = random(3, 4)
    scale, offset = [0.5, 2.0, -1.5, 0.25], [0.125, 0.5, -1.0, 0.75]
    single("Scaler", {"x": x}, lambda x: (x - torch.tensor(offset)) * torch.tensor(scale), scale=scale, offset=offset)
    single("Normalizer", {"x": x}, lambda x: x / x.abs().sum(1, keepdim=True), norm="L1")
    single("Normalizer", {"x": x}, lambda x: functional.normalize(x, dim=1), norm="L2")
    single("Normalizer", {"x": x}, lambda x: x / x.amax(1, keepdim=True), norm="MAX")
    holes = np.array([[1.0, 7.0, 2.0], [7.0, 3.0, 4.0]])
    single("Imputer", {"x": holes}, lambda x: torch.where(x == 7, torch.tensor([0.5, 1.5, 2.5], dtype=torch.float64), x),
           imputed_value_floats=[0.5, 1.5, 2.5], replaced_value_float=7.0)
    weights = GENERATOR.integers(-8, 8, (2, 4)) / 8
    single("LinearRegressor", {"x": x}, lambda x: x @ torch.tensor(weights).T + torch.tensor([0.5, -0.25]), coefficients=weights.ravel().tolist(),
           intercepts=[0.5, -0.25], targets=2)
    single("LinearRegressor", {"x": x}, lambda x: torch.softmax(x @ torch.tensor(weights).T, 1), coefficients=weights.ravel().tolist(), targets=2,
           post_transform="SOFTMAX")
    for transform, function in (("NONE", lambda s: s), ("LOGISTIC", torch.sigmoid), ("SOFTMAX", lambda s: torch.softmax(s, 1))):
        for rows in (1, 2): # one row of two classes is the second's
            def scores(x, rows=rows, transform=transform, function=function):
                s = x @ torch.tensor(weights[:rows]).T + torch.tensor([0.5, -0.25])[:rows]
                s = s if rows == 1 and transform == "SOFTMAX" else function(s)
                return torch.cat([1 - s, s], 1) if rows == 1 else s
            node = helper.make_node("LinearClassifier", ["x"], ["label", "y"], domain="ai.onnx.ml", classlabels_ints=[3, 5], post_transform=transform,
                                    coefficients=weights[:rows].ravel().tolist(), intercepts=[0.5, -0.25][:rows])
            compare([node], {"x": x.astype(np.float32)}, ["y"], scores, (), [("ai.onnx.ml", 3)], 1e-5)
    vectors, ratios = GENERATOR.integers(-8, 8, (3, 4)) / 8, [0.5, -1.0, 0.75]
    kernels = {"LINEAR": lambda x, v: x @ v.T, "POLY": lambda x, v: (0.5 * (x @ v.T) + 4) ** 3, "SIGMOID": lambda x, v: torch.tanh(0.5 * (x @ v.T) + 0.25),
               "RBF": lambda x, v: torch.exp(-0.5 * ((x[:, None] - v[None]) ** 2).sum(2))}
    for kernel, function in kernels.items():
        single("SVMRegressor", {"x": x}, lambda x, f=function: f(x, torch.tensor(vectors)) @ torch.tensor(ratios, dtype=torch.float64)[:, None] + 0.25,
               kernel_type=kernel, kernel_params=[0.5, 4.0 if kernel == "POLY" else 0.25, 3.0], support_vectors=vectors.ravel().tolist(),
               coefficients=ratios, rho=[0.25], n_supports=3)
    single("SVMRegressor", {"x": x}, lambda x: x @ torch.tensor(weights[:1]).T + 0.25, coefficients=weights[0].tolist(), rho=[0.25])
    single("FeatureVectorizer", {"a": random(3, 2), "b": random(3, 4)}, lambda a, b: torch.cat([functional.pad(a, (0, 1)), b[:, :3]], 1),
           inputdimensions=[3, 3])
    single("ArrayFeatureExtractor", {"x": x}, lambda x: x[:, [2, 0, 2]], constants=[constant("i", [2, 0, 2])])


def test_dequantization():
    q, zero = GENERATOR.integers(-9, 9, (3, 4)).astype(np.int8), np.array([1, -2, 0, 3], np.int8)
    for axis, size in ((0, 3), (1, 4)):
        z = zero[:size]
        node = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=axis)
        shape = [1, 1]
        shape[axis] = size
        compare([node], {"s": random(size, low=0.1).astype(np.float32)}, ["y"],
                lambda s, z=z, d=tuple(shape): torch.tensor(q.astype(np.float64) - z.reshape(d)) * s.reshape(d),
                [constant("q", q, np.int8), constant("z", z, np.int8)], tolerance=1e-5)


def test_rotary_embedding_in_float32():
    """Its kernel is of float32 and narrower; the parts are compared with it here, and with differences in tests/unit."""
    x, cosine, sine = random(2, 3, 4, 6), random(2, 4, 3), random(2, 4, 3)

    def function(x, c, s):
        c, s = c[:, None], s[:, None]
        a, b = x[..., :3], x[..., 3:]
        return torch.cat([c * a - s * b, s * a + c * b], -1)

    single("RotaryEmbedding", {"x": x, "c": cosine, "s": sine}, function, domain="")


def test_linear_attention():
    """Two queries to a key head, a state from before, decay and correction."""
    shapes = {"q": (2, 5, 12), "k": (2, 5, 6), "v": (2, 5, 4), "s": (2, 2, 3, 2), "d": (2, 5, 6), "b": (2, 5, 2)}

    def function(q, k, v, s, d, b):
        rows = []
        for t in range(5):
            key, target = k[:, t].reshape(2, 2, 3, 1), v[:, t].reshape(2, 2, 1, 2)
            s = s * d[:, t].reshape(2, 2, 3, 1).exp()
            s = s + key @ ((target - key.mT @ s) * b[:, t].reshape(2, 2, 1, 1))
            rows.append((q[:, t].reshape(2, 2, 2, 3) @ s * 3 ** -0.5).reshape(2, 1, 8))
        return [torch.cat(rows, 1), s]

    node = helper.make_node("LinearAttention", list(shapes), ["y", "p"], q_num_heads=4, kv_num_heads=2, update_rule="gated_delta")
    compare([node], {n: random(*shape).astype(np.float32) for n, shape in shapes.items()}, ["y", "p"], function, tolerance=1e-5)


# ---- the proof -----------------------------------------------------------------------------------------------------------

def test_no_operator_is_left_out():
    """Every row of the operators' tables has a gradient and a case, here or in tests/unit/test_gradient_cases.h, or a reason for none."""
    source = pathlib.Path(__file__).resolve().parents[1] / "unit"
    cases = {name for name in re.findall(r'^\{"([\w.]+)"', (source / "test_gradient_cases.h").read_text(encoding="utf-8"), re.MULTILINE)}
    elsewhere = set(re.findall(r'"([\w.]+)"', re.search(r"elsewhere\[\] = \{(.*?)\};", (source / "test_gradient.c").read_text(encoding="utf-8"),
                                                        re.DOTALL).group(1)))
    here = {f"{domain}.{name}" if domain else name for domain, name in TESTED}
    assert elsewhere <= here, f"named in test_gradient.c, but without a case here: {sorted(elsewhere - here)}"
    rows = [line.split("\t") for line in call(TOOLS / "gradient_dump", "--operators").splitlines()]
    assert len(rows) > 250
    missing = [name for domain, op, state in rows if state == "gradient"
               and (name := f"{domain}.{op}" if domain else op) not in cases | here]
    assert not missing, f"with a gradient and without a case: {missing}"
    later = [f"{domain}.{op}" if domain else op for domain, op, state in rows if state.startswith("no gradient yet")]
    print(f"{sum(s == 'gradient' for _, _, s in rows)} operators with a gradient, {len(later)} without one yet ({', '.join(later)}), "
          f"{sum(s != 'gradient' for _, _, s in rows) - len(later)} that are not differentiable, of {len(rows)}")


def test_what_has_no_gradient_is_said_in_one_line():
    nodes = [helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"], name="quantizer"),
             helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"])]
    message = dump(nodes, {"x": random(2, 3).astype(np.float32)}, ["y"], [random(2, 3)], code=1)
    assert message.count("\n") <= 1 and "gradient of DynamicQuantizeLinear 'quantizer'" in message and "rounds to integers" in message, message


if __name__ == "__main__":
    main(globals())
