"""Gradients of the reference kernels against PyTorch, both in float64.

Tolerance: 1e-6 of the largest element. Two correct float64 implementations differ by about 1e-13; what is left is room for
attributes that ONNX stores as float32 (values that float32 holds exactly are used where that is possible).
"""

import numpy as np
import torch
from torch.nn import functional

from support import close, divergence, guide, main, node_gradients, soft_dice, unit_distance

GENERATOR = np.random.default_rng(7)


def random(*shape, low=-1.0, high=1.0):
    return GENERATOR.uniform(low, high, shape)


def check(op, inputs, function, attributes=None, tolerance=1e-6, **options):
    """`function` maps the float64 inputs, as tensors, to the node's first output. Inputs named t (a teacher), a and w (weights) of
    the losses are fixed."""
    tensors = {k: torch.tensor(v, requires_grad=True) for k, v in inputs.items() if v is not None and v.dtype == np.float64}
    output = function(*tensors.values())
    weights = random(*output.shape) if output.ndim else np.float64(1.5)
    loss = (output * torch.tensor(weights)).sum()
    loss.backward()
    found, gradients = node_gradients(op, inputs, weights, attributes, **options)
    what = f"{op} {attributes or ''}"
    assert abs(found - loss.item()) <= tolerance * max(1, abs(loss.item())), f"{what}: loss {found}, expected {loss.item()}"
    for name, tensor in tensors.items():
        if tensor.grad is not None and name in gradients:
            close(gradients[name], tensor.grad.numpy(), tolerance, f"{what} d{name}")
        else:
            assert tensor.grad is None or not tensor.grad.abs().max() > 0, f"{what}: no gradient of {name}"


def test_convolutions():
    for dilation in (1, 2, 4, 8):
        check("Conv", {"x": random(2, 3, 20, 21), "w": random(4, 3, 3, 3)},
              lambda x, w, d=dilation: functional.conv2d(x, w, padding=d, dilation=d),
              {"kernel_shape": [3, 3], "pads": [dilation] * 4, "dilations": [dilation] * 2})
    check("Conv", {"x": random(2, 6, 9, 10), "w": random(8, 3, 3, 3), "b": random(8)},
          lambda x, w, b: functional.conv2d(x, w, b, stride=2, padding=1, groups=2),
          {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2], "group": 2})
    check("Conv", {"x": random(2, 5, 7, 6), "w": random(9, 5, 1, 1), "b": random(9)}, functional.conv2d, {"kernel_shape": [1, 1]})


def test_transposed_convolutions():
    check("ConvTranspose", {"x": random(2, 6, 5, 4), "w": random(6, 3, 2, 2), "b": random(3)},
          lambda x, w, b: functional.conv_transpose2d(x, w, b, stride=2), {"kernel_shape": [2, 2], "strides": [2, 2]})
    check("ConvTranspose", {"x": random(2, 4, 5, 4), "w": random(4, 3, 3, 3), "b": random(6)},
          lambda x, w, b: functional.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1, groups=2),
          {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1], "group": 2})


def test_normalisations():
    epsilon = 2.0 ** -10
    x, scale, bias = random(3, 4, 5, 6), random(4, low=0.5, high=1.5), random(4)
    mean, variance = np.zeros(4), np.ones(4)
    check("BatchNormalizationTraining", {"x": x, "s": scale, "b": bias, "m": mean, "v": variance},
          lambda x, s, b, m, v: functional.batch_norm(x, m.detach().clone(), v.detach().clone(), s, b, True, 0.1, epsilon),
          {"epsilon": epsilon}, outputs=5, domain="mitral", fixed="taw")
    check("InstanceNormalization", {"x": x, "s": scale, "b": bias},
          lambda x, s, b: functional.instance_norm(x, weight=s, bias=b, eps=epsilon), {"epsilon": epsilon})
    check("GroupNormalization", {"x": x, "s": scale, "b": bias},
          lambda x, s, b: functional.group_norm(x, 2, s, b, epsilon), {"epsilon": epsilon, "num_groups": 2})
    check("LayerNormalization", {"x": random(2, 5, 7), "s": random(7), "b": random(7)},
          lambda x, s, b: functional.layer_norm(x, (7,), s, b, epsilon), {"epsilon": epsilon})


def test_activations():
    x = random(4, 9, low=-4, high=4)
    alpha = 0.25
    cases = {
        "Relu": (functional.relu, {}), "Sigmoid": (torch.sigmoid, {}), "Tanh": (torch.tanh, {}), "Erf": (torch.erf, {}),
        "LeakyRelu": (lambda v: functional.leaky_relu(v, alpha), {"alpha": alpha}), "Elu": (lambda v: functional.elu(v, alpha), {"alpha": alpha}),
        "Gelu": (functional.gelu, {}), "Mish": (functional.mish, {}), "HardSwish": (functional.hardswish, {}),
        "Softplus": (functional.softplus, {}), "Softsign": (functional.softsign, {}), "Selu": (functional.selu, {}),
        "Exp": (torch.exp, {}), "Sin": (torch.sin, {}), "Atan": (torch.atan, {}), "Swish": (functional.silu, {}),
    }
    for op, (function, attributes) in cases.items():
        check(op, {"x": x}, function, attributes)
    check("Gelu", {"x": x}, lambda v: functional.gelu(v, approximate="tanh"), {"approximate": "tanh"})
    check("PRelu", {"x": random(2, 3, 4), "s": random(3, 1)}, lambda v, s: torch.where(v > 0, v, v * s))


def test_pooling_and_resizing():
    x = GENERATOR.permutation(2 * 3 * 8 * 10).reshape(2, 3, 8, 10).astype(np.float64) * 0.01
    check("MaxPool", {"x": x}, lambda v: functional.max_pool2d(v, 2), {"kernel_shape": [2, 2], "strides": [2, 2]})
    check("MaxPool", {"x": x}, lambda v: functional.max_pool2d(v, 3, 2, 1), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4})
    check("AveragePool", {"x": x}, lambda v: functional.avg_pool2d(v, 3, 2, 1),
          {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "count_include_pad": 1})
    check("GlobalAveragePool", {"x": x}, lambda v: functional.adaptive_avg_pool2d(v, 1))
    scales = np.array([1, 1, 2, 2], np.float32)
    check("Resize", {"x": x, "roi": None, "scales": scales},
          lambda v: functional.interpolate(v, scale_factor=2, mode="bilinear", align_corners=False), {"mode": "linear"})
    check("Resize", {"x": x, "roi": None, "scales": scales},
          lambda v: functional.interpolate(v, scale_factor=2, mode="bilinear", align_corners=True),
          {"mode": "linear", "coordinate_transformation_mode": "align_corners"})
    check("Resize", {"x": x, "roi": None, "scales": scales}, lambda v: functional.interpolate(v, scale_factor=2, mode="nearest"),
          {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"})


def test_products_reductions_moves():
    check("MatMul", {"a": random(2, 3, 4), "b": random(4, 5)}, torch.matmul)
    check("Gemm", {"a": random(4, 3), "b": random(5, 4), "c": random(5)}, lambda a, b, c: 0.5 * a.T @ b.T + 2 * c,
          {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0})
    check("Softmax", {"x": random(2, 5, 3)}, lambda x: torch.softmax(x, 1), {"axis": 1})
    check("LogSoftmax", {"x": random(2, 5, 3)}, lambda x: torch.log_softmax(x, 1), {"axis": 1})
    check("ReduceMean", {"x": random(2, 5, 3), "axes": np.array([0, 2])}, lambda x: x.mean((0, 2), keepdim=True))
    check("ReduceLogSumExp", {"x": random(2, 5), "axes": np.array([1])}, lambda x: torch.logsumexp(x, 1), {"keepdims": 0})
    check("ReduceProd", {"x": random(2, 5), "axes": np.array([1])}, lambda x: x.prod(1), {"keepdims": 0})
    check("Concat", {"a": random(2, 3), "b": random(2, 4)}, lambda a, b: torch.cat([a, b], 1), {"axis": 1})
    check("Pad", {"x": random(1, 2, 5, 6), "pads": np.array([0, 0, 1, 2, 0, 0, 2, 3])},
          lambda x: functional.pad(x, (2, 3, 1, 2), mode="reflect"), {"mode": "reflect"})
    check("Gather", {"x": random(5, 3), "i": np.array([[0, 2], [2, 4]])}, lambda x: x[torch.tensor([[0, 2], [2, 4]])])
    check("Add", {"a": random(2, 3, 4), "b": random(3, 1)}, torch.add)
    check("Div", {"a": random(2, 3, 4), "b": random(4, low=0.5, high=2)}, torch.div)


def test_segmentation_losses():
    logits, labels = random(2, 4, 9, 8, low=-3, high=3), GENERATOR.integers(0, 4, (2, 9, 8)).astype(np.uint8)
    target, weights = torch.tensor(labels).long(), random(4, low=0.5, high=2)
    check("PixelCrossEntropy", {"x": logits, "labels": labels}, lambda x: functional.cross_entropy(x, target), outputs=3,
          domain="mitral", fixed="taw")
    check("PixelCrossEntropy", {"x": logits, "labels": labels, "w": weights},
          lambda x, w: functional.cross_entropy(x, target, w.detach()), outputs=3, domain="mitral", fixed="taw")
    probabilities = torch.softmax(torch.tensor(logits), 1).numpy()
    for background in (0, 1):
        check("SoftDice", {"p": probabilities, "labels": labels},
              lambda p, b=background: soft_dice(p, target, epsilon=2.0 ** -12, background=bool(b)),
              {"epsilon": 2.0 ** -12, "background": background}, outputs=3, domain="mitral", fixed="taw")
    check("SoftmaxCrossEntropyLoss", {"x": logits, "labels": labels.astype(np.int64)}, lambda x: functional.cross_entropy(x, target),
          {"reduction": "mean"})


def test_distillation_losses():
    student, teacher = random(2, 5, 9, 8, low=-3, high=3), random(2, 5, 9, 8, low=-3, high=3)
    for temperature in (0.5, 1.0, 4.0):
        check("Divergence", {"s": student, "t": teacher}, lambda s, t, tau=temperature: divergence(s, t.detach(), tau),
              {"over": "channels", "temperature": temperature}, domain="mitral", fixed="taw")
        check("Divergence", {"s": student, "t": teacher}, lambda s, t, tau=temperature: divergence(s, t.detach(), tau, True),
              {"over": "positions", "temperature": temperature}, domain="mitral", fixed="taw")
    weights = guide(torch.tensor(teacher), 1.0).numpy()
    check("Divergence", {"s": student, "t": teacher, "a": weights}, lambda s, t, a: divergence(s, t.detach(), 4.0, True, a.detach()),
          {"over": "positions", "temperature": 4.0}, domain="mitral", fixed="taw")
    check("UnitDistance", {"s": random(3, 7), "t": random(3, 7)}, lambda s, t: unit_distance(s, t.detach()), domain="mitral", fixed="taw")
    check("MeanSquaredError", {"s": student, "t": teacher}, lambda s, t: functional.mse_loss(s, t.detach()), domain="mitral", fixed="taw")


def test_stated_gradients_of_mavkd():
    """∂L_vec/∂v_S = -(2/‖v_S‖)(v̂_T - cos·v̂_S) and ∂L_map/∂F̂ = (τ a_c / C)(q_S - q_T), for a batch of one."""
    s, t = random(1, 6), random(1, 6)
    _, found = node_gradients("UnitDistance", {"s": s, "t": t}, np.float64(1), domain="mitral", fixed="taw")
    a, b = s / np.linalg.norm(s), t / np.linalg.norm(t)
    close(found["s"], -2 / np.linalg.norm(s) * (b - (a * b).sum() * a), 1e-9, "vector")
    maps, teacher, tau = random(1, 3, 4, 5), random(1, 3, 4, 5), 4.0
    weights = guide(torch.tensor(teacher), 1.0).numpy()
    _, found = node_gradients("Divergence", {"s": maps, "t": teacher, "a": weights}, np.float64(1), {"over": "positions", "temperature": tau},
                              domain="mitral", fixed="taw")
    soft = lambda x: (lambda e: e / e.sum((2, 3), keepdims=True))(np.exp(x / tau))
    close(found["s"], tau * weights[:, :, None, None] / 3 * (soft(maps) - soft(teacher)), 1e-9, "map")


if __name__ == "__main__":
    main(globals())
