"""Operators with many forms against ONNX Runtime, where ONNX's backend suite has few of them. Fourier transforms are
held against NumPy in double precision: ONNX Runtime's are off by 1e-4 for lengths that are no power of two. Tolerance
1e-5 of 1 + |value|: float arithmetic in another order; 2e-5 for recurrent layers, whose errors go around."""

import numpy as np

from one_node import Operator, compare_all, main

generator = np.random.default_rng(11)


def real(*shape, dtype=np.float32):
    return generator.standard_normal(shape).astype(dtype)


def test_convolution():
    compare_all([
        Operator("Conv", [real(2, 4, 11), real(6, 2, 3), real(6)], group=2, dilations=[2], pads=[1, 2], strides=[2]),
        Operator("Conv", [real(1, 3, 9, 7), real(5, 3, 3, 2), real(5)], auto_pad="SAME_UPPER", strides=[2, 3]),
        Operator("Conv", [real(1, 3, 9, 7), real(5, 3, 2, 4)], auto_pad="SAME_LOWER", strides=[2, 2]),
        Operator("Conv", [real(1, 3, 9, 7), real(5, 3, 2, 4)], auto_pad="VALID", dilations=[3, 2]),
        Operator("Conv", [real(2, 4, 8, 9), real(4, 1, 3, 3), real(4)], group=4, pads=[1, 1, 1, 1]),
        Operator("Conv", [real(1, 2, 5, 6, 7), real(3, 2, 3, 2, 3), real(3)], pads=[1, 0, 1, 1, 1, 1],
                 strides=[1, 2, 1], dilations=[1, 1, 2]),
        Operator("Conv", [real(2, 3, 1, 16), real(7, 3, 1, 5), real(7)], pads=[0, 2, 0, 2]),
        Operator("Conv", [real(1, 3, 5, 5), real(2, 3, 7, 7)], pads=[3, 3, 3, 3], onnx_opset=7),
    ])


def test_transposed_convolution():
    compare_all([
        Operator("ConvTranspose", [real(2, 4, 6), real(4, 3, 3), real(6)], group=2, strides=[2], pads=[1, 0],
                 output_padding=[1]),
        Operator("ConvTranspose", [real(1, 3, 5, 4), real(3, 2, 3, 3), real(2)], strides=[2, 3], dilations=[2, 1],
                 pads=[1, 0, 2, 1]),
        Operator("ConvTranspose", [real(1, 3, 5, 4), real(3, 2, 4, 3)], strides=[2, 2], auto_pad="SAME_UPPER"),
        Operator("ConvTranspose", [real(1, 3, 5, 4), real(3, 2, 4, 3)], strides=[2, 2], auto_pad="SAME_LOWER"),
        Operator("ConvTranspose", [real(1, 3, 5, 4), real(3, 2, 3, 3)], strides=[2, 2], output_shape=[10, 9]),
        Operator("ConvTranspose", [real(1, 3, 5, 4), real(3, 2, 2, 2)], strides=[2, 2], auto_pad="VALID"),
        Operator("ConvTranspose", [real(1, 2, 3, 4, 5), real(2, 2, 2, 3, 2)], strides=[2, 1, 2],
                 pads=[0, 1, 0, 1, 1, 0]),
    ])


def test_pooling():
    x = real(2, 3, 11, 9)
    byte = generator.integers(0, 256, (2, 3, 11, 9))
    compare_all([
        Operator("MaxPool", [x], outputs=2, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1], ceil_mode=1,
                 onnx_opset=12),
        Operator("MaxPool", [x], outputs=2, kernel_shape=[3, 2], strides=[2, 1], dilations=[2, 3], storage_order=1,
                 onnx_opset=12),
        Operator("MaxPool", [real(1, 2, 6, 7, 8)], outputs=2, kernel_shape=[2, 3, 2], strides=[2, 2, 2], onnx_opset=12),
        Operator("MaxPool", [real(2, 3, 17)], kernel_shape=[4], strides=[3], auto_pad="SAME_LOWER", onnx_opset=8),
        Operator("MaxPool", [byte.astype(np.uint8)], kernel_shape=[2, 2], strides=[2, 2], ulps=0),
        Operator("MaxPool", [(byte - 128).astype(np.int8)], kernel_shape=[3, 3], pads=[1, 1, 1, 1], ulps=0),
        Operator("AveragePool", [x], kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1], onnx_opset=7),
        Operator("AveragePool", [x], kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1], count_include_pad=1,
                 onnx_opset=7),
        Operator("AveragePool", [x], kernel_shape=[3, 4], strides=[2, 3], pads=[1, 1, 1, 1], ceil_mode=1,
                 onnx_opset=10),
        Operator("AveragePool", [x], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER", onnx_opset=11),
        Operator("AveragePool", [real(1, 2, 7, 8, 9)], kernel_shape=[2, 3, 2], strides=[2, 1, 2], dilations=[2, 2, 1],
                 onnx_opset=19),
        Operator("LpPool", [x], kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1], p=3, onnx_opset=11),
        Operator("LpPool", [x], kernel_shape=[3, 2], dilations=[2, 2], p=1, onnx_opset=18),
        Operator("GlobalLpPool", [x], p=3),
        Operator("GlobalAveragePool", [real(2, 3, 4, 5, 6)]),
        Operator("GlobalMaxPool", [real(2, 3, 7)]),
        Operator("MaxUnpool", [real(1, 2, 2, 2), np.array([0, 3, 9, 14, 16, 19, 25, 30], np.int64).reshape(1, 2, 2, 2)],
                 kernel_shape=[2, 2], strides=[2, 2], onnx_opset=11),
    ])


def test_normalization():
    x = real(2, 6, 5, 4)
    channel = [real(6), real(6), real(6), np.abs(real(6)) + 0.5]
    compare_all([
        Operator("BatchNormalization", [x, *channel], onnx_opset=7),
        Operator("BatchNormalization", [x, *channel], onnx_opset=9, epsilon=0.01),
        Operator("BatchNormalization", [x, *channel], onnx_opset=15),
        Operator("InstanceNormalization", [x, real(6), real(6)], epsilon=0.01),
        Operator("InstanceNormalization", [real(2, 6, 5), real(6), real(6)]),
        Operator("GroupNormalization", [x, real(3), real(3)], num_groups=3, onnx_opset=18),
        Operator("GroupNormalization", [x, real(6), real(6)], num_groups=3, onnx_opset=21),
        Operator("LayerNormalization", [x, real(4), real(4)], outputs=3),
        Operator("LayerNormalization", [x, real(6, 5, 4)], axis=1, outputs=[0, 2], epsilon=0.001),
        Operator("LayerNormalization", [x, real(5, 4), real(5, 4)], axis=-2),
        Operator("LpNormalization", [x], axis=1, p=1),
        Operator("LpNormalization", [x], axis=-1, p=2),
        Operator("LRN", [x], size=3, alpha=0.1, beta=0.5, bias=2.0),
        Operator("LRN", [x], size=5, alpha=0.1),
        Operator("MeanVarianceNormalization", [x]),
        Operator("MeanVarianceNormalization", [x], axes=[1, 2, 3]),
    ])


def test_training_batch_normalization():
    """The standard's formulas in double precision: batch statistics normalize, running ones are blended by momentum."""
    x, scale, bias, mean, variance = real(3, 4, 5, 2), real(4), real(4), real(4), np.abs(real(4))
    wide = x.astype(np.float64)
    now, spread = wide.mean((0, 2, 3)), wide.var((0, 2, 3))
    shape = (1, 4, 1, 1)
    y = (wide - now.reshape(shape)) / np.sqrt(spread.reshape(shape) + 1e-3) * scale.reshape(shape) + bias.reshape(shape)
    blended = [mean * 0.8 + now * 0.2, variance * 0.8 + spread * 0.2]
    expected = [value.astype(np.float32) for value in [y, *blended, now, spread]]
    attributes = {"momentum": 0.8, "epsilon": 1e-3}
    compare_all([
        Operator("BatchNormalization", [x, scale, bias, mean, variance], outputs=5, onnx_opset=9, expected=expected,
                 **attributes),
        Operator("BatchNormalization", [x, scale, bias, mean, variance], outputs=3, onnx_opset=15, training_mode=1,
                 expected=expected[:3],
                 **attributes),
    ])


def test_softmax():
    x = real(2, 3, 4, 5) * 3
    operators = []
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for opset, axis in ((7, 1), (9, 2), (11, -2), (11, 0), (13, 1), (13, -1), (13, 0)):
            operators.append(Operator(op, [x], axis=axis, onnx_opset=opset))
        operators += [Operator(op, [x], onnx_opset=11), Operator(op, [x], onnx_opset=13)]
    operators.append(Operator("Softmax", [x.astype(np.float64)], axis=1, onnx_opset=13))
    compare_all(operators)


def test_products():
    integers = generator.integers(-9, 9, (3, 4)).astype(np.int32)
    compare_all([
        Operator("MatMul", [real(4), real(4)]),
        Operator("MatMul", [real(4), real(2, 4, 3)]),
        Operator("MatMul", [real(2, 3, 4), real(4)]),
        Operator("MatMul", [real(2, 1, 3, 4), real(5, 4, 6)]),
        Operator("MatMul", [real(37, 130), real(130, 515)]),
        Operator("MatMul", [real(3, 4, dtype=np.float64), real(4, 2, dtype=np.float64)]),
        Operator("MatMul", [integers, integers.T.copy()], ulps=0),
        Operator("Gemm", [real(3, 4), real(4, 5), real(5)], alpha=0.5, beta=2.0),
        Operator("Gemm", [real(4, 3), real(5, 4), real(3, 1)], transA=1, transB=1),
        Operator("Gemm", [real(3, 4), real(5, 4)], transB=1),
        Operator("Gemm", [real(4, 3), real(4, 5), np.array(1.5, np.float32)], transA=1, onnx_opset=9),
        Operator("Gemm", [real(3, 4, dtype=np.float64), real(4, 5, dtype=np.float64), real(3, 5, dtype=np.float64)]),
    ])


def test_einsum():
    a, b, c = real(2, 3, 4), real(2, 4, 5), real(3, 3)
    compare_all([
        Operator("Einsum", [a, b], equation="bij,bjk->bik"),
        Operator("Einsum", [a, b], equation=" b i j , b j k "),
        Operator("Einsum", [a], equation="abc->cab"),
        Operator("Einsum", [a], equation="abc->b"),
        Operator("Einsum", [a], equation="cba"),
        Operator("Einsum", [c], equation="ii"),
        Operator("Einsum", [c], equation="ii->i"),
        Operator("Einsum", [a, b], equation="...ij,...jk->...ik"),
        Operator("Einsum", [real(1, 3, 4), b], equation="...ij,...jk->...ik"),
        Operator("Einsum", [real(3), real(4)], equation="i,j->ij"),
        Operator("Einsum", [real(3), real(3)], equation="i,i->"),
        Operator("Einsum", [real(2, 3), real(3, 4), real(4, 5)], equation="ij,jk,kl->il"),
        Operator("Einsum", [real(2, 3, 4, 5), real(2, 6, 4, 5)], equation="bchw,bdhw->bcd"),
        Operator("Einsum", [real(2, 3, 4, 5), real(5, 3)], equation="...c,cd->...d"),
    ])


def recurrent(op, gates, directions, time=5, batch=3, size=4, hidden=6, bias=True, lengths=None, first=False,
              cell=False, peepholes=False, **attributes):
    state = real(directions, batch, hidden) if first else None
    inputs = [real(time, batch, size), real(directions, gates * hidden, size), real(directions, gates * hidden, hidden),
              real(directions, 2 * gates * hidden) if bias else None, lengths, state]
    if cell:
        inputs += [real(directions, batch, hidden) if first else None,
                   real(directions, 3 * hidden) if peepholes else None]
    attributes.setdefault("direction", "bidirectional" if directions == 2 else "forward")
    return Operator(op, inputs, outputs=3 if cell else 2, hidden_size=hidden, tolerance=2e-5, onnx_opset=14,
                    **attributes)


def test_recurrent():
    lengths = np.array([5, 2, 3], np.int32)
    compare_all([
        recurrent("RNN", 1, 1),
        recurrent("RNN", 1, 2, first=True),
        recurrent("RNN", 1, 1, direction="reverse", lengths=lengths),
        recurrent("RNN", 1, 1, activations=["Relu"], bias=False),
        recurrent("RNN", 1, 2, activations=["Tanh", "Sigmoid"], clip=0.5),
        recurrent("RNN", 1, 1, activations=["LeakyRelu"], activation_alpha=[0.2]),
        recurrent("RNN", 1, 1, activations=["Affine"], activation_alpha=[0.3], activation_beta=[0.1]),
        recurrent("GRU", 3, 1),
        recurrent("GRU", 3, 2, first=True, lengths=lengths),
        recurrent("GRU", 3, 1, linear_before_reset=1, first=True),
        recurrent("GRU", 3, 1, direction="reverse", linear_before_reset=1, lengths=lengths),
        recurrent("GRU", 3, 2, activations=["HardSigmoid", "Softsign", "Sigmoid", "Tanh"], activation_alpha=[0.25],
                  activation_beta=[0.4]),
        recurrent("GRU", 3, 1, clip=0.7, bias=False),
        recurrent("LSTM", 4, 1, cell=True), recurrent("LSTM", 4, 2, cell=True, first=True, lengths=lengths),
        recurrent("LSTM", 4, 1, cell=True, first=True, peepholes=True), recurrent("LSTM", 4, 1, cell=True,
                                                                                  input_forget=1, peepholes=True),
        recurrent("LSTM", 4, 1, cell=True, direction="reverse", lengths=lengths, first=True),
        recurrent("LSTM", 4, 2, cell=True, activations=["Sigmoid", "Tanh", "Relu", "HardSigmoid", "Elu", "Softplus"],
                  activation_alpha=[0.2, 0.9], activation_beta=[0.5]),
        recurrent("LSTM", 4, 1, cell=True, batch=1, bias=False, time=1),
    ])


def test_clipped_lstm():
    """clip bounds the input of every activation, says the standard: of the last one too, which ONNX Runtime omits."""
    operator = recurrent("LSTM", 4, 1, cell=True, clip=0.4)
    x, w, r, b = operator.inputs[:4]
    h = c = np.zeros((3, 6))
    bounded = lambda value: np.clip(value, -0.4, 0.4)  # noqa: E731
    sigmoid = lambda value: 1 / (1 + np.exp(-bounded(value)))  # noqa: E731
    states = []
    for step in x.astype(np.float64):
        i, o, f, g = np.split(step @ w[0].T + h @ r[0].T + b[0, :24] + b[0, 24:], 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(bounded(g))
        h = sigmoid(o) * np.tanh(bounded(c))
        states.append(h)
    operator.expected = [value.astype(np.float32) for value in (np.stack(states)[:, None], h[None], c[None])]
    compare_all([operator])


def fourier(x, length=None, inverse=False, onesided=False):
    """DFT of [batch, n, inner, parts] along axis 1, from NumPy's in double precision."""
    signal = x.astype(np.float64)
    signal = signal[..., 0] + (1j * signal[..., 1] if x.shape[-1] == 2 else 0)
    length = length or (2 * (x.shape[1] - 1) if inverse and onesided else x.shape[1])
    if inverse and onesided:
        return np.fft.irfft(signal, length, axis=1)[..., None].astype(x.dtype)
    y = (np.fft.ifft if inverse else np.fft.fft)(signal, length, axis=1)
    y = y[:, :length // 2 + 1] if onesided else y
    return np.stack([y.real, y.imag], -1).astype(x.dtype)


def test_fourier():
    scalar = lambda value: ("const", np.array(value, np.int64))  # noqa: E731
    operators = []
    for length in (1, 2, 3, 8, 15, 7, 37, 64, 66, 74, 120, 251):
        for parts, inverse, onesided in ((1, 0, 0), (2, 0, 0), (2, 1, 0), (1, 0, 1), (2, 1, 1)):
            if length < 2 and onesided and inverse:
                continue
            x = real(2, length, 3, parts)
            operators.append(Operator("DFT", [x], axis=1, inverse=inverse, onesided=onesided,
                                      expected=[fourier(x, None, inverse, onesided)]))
    x, y = real(2, 10, 3, 1), real(2, 10, 3, 2)
    operators += [
        Operator("DFT", [x, scalar(16)], axis=1, expected=[fourier(x, 16)]),
        Operator("DFT", [y, scalar(6), scalar(-3)], onnx_opset=20, expected=[fourier(y, 6)]),
        Operator("DFT", [y, scalar(17)], axis=1, inverse=1, onesided=1, expected=[fourier(y, 17, True, True)]),
        Operator("DFT", [y.astype(np.float64)], axis=1, expected=[fourier(y.astype(np.float64))], tolerance=1e-12),
        Operator("STFT", [real(2, 64, 1), scalar(4), ("const", np.hanning(16).astype(np.float32)), scalar(16)],
                 onesided=1),
        Operator("STFT", [real(1, 50, 2), scalar(5), None, scalar(16)], onesided=0),
        Operator("HannWindow", [scalar(13)], periodic=0), Operator("HammingWindow",
                                                                   [scalar(12)]), Operator("BlackmanWindow",
                                                                                           [scalar(9)]),
        Operator("MelWeightMatrix", [scalar(20), scalar(256), scalar(16000), ("const", np.array(20, np.float32)),
                                     ("const", np.array(7600, np.float32))]),
    ]
    compare_all(operators)


def test_sampling():
    """Far outside of the map too: a cubic tap beyond the border reads the border, as in PyTorch, whose exporters write this operator."""
    x, grid = real(2, 3, 5, 6), real(2, 4, 3, 2) * 2
    compare_all([Operator("GridSample", [x, grid], mode=mode, padding_mode=padding, align_corners=corners, onnx_opset=20)
                 for mode in ("linear", "nearest", "cubic") for padding in ("zeros", "border", "reflection") for corners in (0, 1)])


def test_scattering():
    """PyTorch's exporter writes reductions of version 18 in files of version 16."""
    data, index = real(5, 4), generator.integers(0, 5, (3, 4))
    compare_all([Operator("ScatterElements", [data, index, real(3, 4)], reduction=reduction, onnx_opset=opset)
                 for opset in (16, 18) for reduction in ("add", "mul", "max", "min")])


def test_losses():
    scores, labels, weights = real(4, 5, 3, 2), generator.integers(0, 5, (4, 3, 2)), np.abs(real(5))
    ignored = np.where(generator.random(labels.shape) < 0.3, -1, labels)
    operators = []
    for reduction in ("none", "sum", "mean"):
        operators += [
            Operator("SoftmaxCrossEntropyLoss", [scores, labels], outputs=2, reduction=reduction),
            Operator("SoftmaxCrossEntropyLoss", [scores, ignored, weights], outputs=2, reduction=reduction,
                     ignore_index=-1),
            Operator("NegativeLogLikelihoodLoss", [scores, labels, weights], reduction=reduction),
            Operator("NegativeLogLikelihoodLoss", [scores, ignored.astype(np.int32)], reduction=reduction,
                     ignore_index=-1),
        ]
    compare_all(operators)


if __name__ == "__main__":
    main(globals())
