"""The operators of com.microsoft against ONNX Runtime, which defines them. Tolerances: 1e-5 for float arithmetic in
another order; one step where a result is rounded to 8 bits, as ONNX Runtime multiplies by rounded ratios of scales."""

import tempfile

import ml_dtypes
import numpy as np
import onnx

from one_node import Operator, compare_all, main
from support import run

generator = np.random.default_rng(7)


def real(*shape, scale=1.0):
    return (generator.standard_normal(shape) * scale).astype(np.float32)


def byte(*shape, dtype=np.uint8):
    info = np.iinfo(dtype)
    return generator.integers(info.min, info.max + 1, shape).astype(dtype)


def const(value, dtype=np.float32):
    return ("const", np.asarray(value, dtype))


def microsoft(op, inputs, **options):
    return Operator(op, inputs, domain="com.microsoft", **options)


def test_fused_convolution():
    x, w, b, z = real(2, 6, 9, 8), real(4, 3, 3, 3), real(4), real(2, 4, 9, 8)
    common = dict(group=2, pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    compare_all([
        microsoft("FusedConv", [x, w, b], activation="Relu", **common),
        microsoft("FusedConv", [x, w, b, z], activation="Relu", **common),
        microsoft("FusedConv", [x, w, b], activation="LeakyRelu", activation_params=[0.2], **common),
        microsoft("FusedConv", [x, w, b], activation="Clip", activation_params=[-0.5, 0.75], **common),
        microsoft("FusedConv", [x, w, None], activation="Sigmoid", **common),
        microsoft("FusedConv", [x, w, b], activation="Tanh", **common),
        microsoft("FusedConv", [x, w, b], activation="HardSigmoid", activation_params=[0.3, 0.4], **common),
    ])


def test_fused_convolution_without_parameters():
    """As ONNX Runtime, that takes no defaults for them."""
    for activation, parameters in (("Clip", None), ("Clip", [0.5]), ("HardSigmoid", [0.2]), ("LeakyRelu", None)):
        given = {} if parameters is None else {"activation_params": parameters}
        operator = microsoft("FusedConv", [real(1, 3, 5, 5), real(4, 3, 3, 3)], activation=activation, **given)
        with tempfile.TemporaryDirectory() as folder:
            onnx.save(operator.model(), f"{folder}/model.onnx")
            np.save(f"{folder}/x0.npy", operator.inputs[0])
            np.save(f"{folder}/x1.npy", operator.inputs[1])
            for options in ([], ["--interpret"]):
                message = run("run", f"{folder}/model.onnx", "-i", f"x0={folder}/x0.npy", "-i", f"x1={folder}/x1.npy", "-o", f"{folder}/out",
                              *options, code=1)
                assert "FusedConv" in message and "activation_params" in message, message


def test_fused_products():
    compare_all([
        microsoft("FusedMatMul", [real(3, 5), real(5, 4)], alpha=0.5),
        microsoft("FusedMatMul", [real(2, 5, 3), real(2, 5, 4)], transA=1, alpha=2.0),
        microsoft("FusedMatMul", [real(2, 3, 5), real(4, 5)], transB=1),
        microsoft("FusedMatMul", [real(2, 3, 5, 4), real(2, 3, 6, 4)], transB=1, alpha=0.125),
        microsoft("FusedMatMul", [real(3, 2, 5), real(4, 2, 5)], transBatchA=1, transBatchB=1, transB=1),
        microsoft("FusedMatMul", [real(5, 2, 3), real(2, 5, 4)], transBatchA=1, transA=1),
        microsoft("TransposeMatMul", [real(5, 3), real(4, 5)], transA=1, transB=1),
        microsoft("FusedGemm", [real(3, 5), real(5, 4), real(4)], activation="Relu", alpha=0.5, beta=2.0),
        microsoft("FusedGemm", [real(5, 3), real(4, 5), real(3, 1)], activation="LeakyRelu", activation_alpha=0.1,
                  transA=1, transB=1),
        microsoft("FusedGemm", [real(3, 5), real(5, 4)], activation="Sigmoid"),
    ])


def test_gelu():
    compare_all([
        microsoft("Gelu", [real(2, 3, 8)]),
        microsoft("QuickGelu", [real(2, 3, 8)], alpha=1.702),
        microsoft("QuickGelu", [real(2, 3, 8)], alpha=1.0),
        microsoft("BiasGelu", [real(2, 3, 8), real(8)]),
        microsoft("FastGelu", [real(2, 3, 8), real(8)]),
        microsoft("FastGelu", [real(2, 3, 8)]),
    ])


def test_normalization():
    x, skip, gamma, beta, bias = real(2, 5, 8), real(2, 5, 8), real(8), real(8), real(8)
    ids = generator.integers(0, 20, (2, 5)).astype(np.int32)
    compare_all([
        microsoft("SkipLayerNormalization", [x, skip, gamma, beta, bias], outputs=[0, 3], epsilon=1e-5),
        microsoft("SkipLayerNormalization", [x, skip, gamma], epsilon=1e-5),
        microsoft("SkipLayerNormalization", [x, real(5, 8), gamma, beta]),
        microsoft("SkipLayerNormalization", [x, real(1, 5, 8), gamma, None, bias]),
        microsoft("SkipSimplifiedLayerNormalization", [x, skip, gamma, bias], outputs=[0, 3], epsilon=1e-6),
        microsoft("SkipSimplifiedLayerNormalization", [real(6, 8), real(6, 8), gamma]),
        Operator("SimplifiedLayerNormalization", [x, gamma], axis=-1, epsilon=1e-6),
        Operator("SimplifiedLayerNormalization", [x, gamma], outputs=2, axis=2),
        microsoft("EmbedLayerNormalization", [ids, generator.integers(0, 2, (2, 5)).astype(np.int32),
                                              real(20, 8), real(10, 8), real(2, 8), gamma, beta,
                                              np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)],
                  outputs=2, epsilon=1e-5),
        microsoft("EmbedLayerNormalization", [ids, None, real(20, 8), real(10, 8), None,
                                              gamma, beta], outputs=2),
    ])


def test_attention():
    batch, length, hidden, heads = 2, 5, 12, 3
    x, w, b = real(batch, length, hidden), real(hidden, 3 * hidden, scale=0.5), real(3 * hidden)
    past, bias = real(2, batch, heads, 4, 4), real(1, heads, length, length)
    raw = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], np.int32)
    compare_all([
        microsoft("Attention", [x, ("const", w), ("const", b)], num_heads=heads),
        microsoft("Attention", [x, ("const", w), ("const", b)], num_heads=heads, unidirectional=1),
        microsoft("Attention", [x, ("const", w), ("const", b), raw], num_heads=heads),
        microsoft("Attention", [x, ("const", w), ("const", b), np.array([4, 2], np.int32)], num_heads=heads),
        microsoft("Attention", [x, ("const", w), ("const", b), np.array([5, 3, 1, 0], np.int32)], num_heads=heads),
        microsoft("Attention", [x, ("const", w), ("const", b), np.stack([raw] * length, 1)], num_heads=heads,
                  scale=0.3),
        microsoft("Attention", [x, ("const", w), ("const", b), None, None, bias], num_heads=heads),
        microsoft("Attention", [x, ("const", w), ("const", b), None, past], outputs=2, num_heads=heads,
                  unidirectional=1),
        microsoft("Attention", [x, ("const", real(hidden, 2 * 6 + 9)), ("const", real(21))], num_heads=heads,
                  qkv_hidden_sizes=[6, 6, 9]),
    ])


def test_multi_head_attention():
    q, k, v, b = real(2, 5, 12), real(2, 7, 12), real(2, 7, 18), real(42)
    compare_all([
        microsoft("MultiHeadAttention", [q, k, v], num_heads=3),
        microsoft("MultiHeadAttention", [q, k, v, b], num_heads=3, scale=0.4),
        microsoft("MultiHeadAttention", [q, k, v, None, (generator.random((2, 7)) > 0.3).astype(np.int32)],
                  num_heads=3),
        microsoft("MultiHeadAttention", [q, k, v, None, np.array([3, 7], np.int32)], num_heads=3),
        microsoft("MultiHeadAttention", [q, k, v, None, None, real(1, 3, 5, 7)], num_heads=3),
        microsoft("MultiHeadAttention", [q, real(2, 3, 7, 4), real(2, 3, 7, 4)], num_heads=3),
        microsoft("MultiHeadAttention", [q, real(2, 5, 12), real(2, 5, 12), real(36), None, None, real(2, 3, 6, 4),
                                         real(2, 3, 6, 4)],
                  outputs=3, num_heads=3, unidirectional=1),
    ])


def test_rotary_embedding():
    positions = np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.int64)
    compare_all([
        microsoft("RotaryEmbedding", [real(2, 4, 24), positions, real(16, 4), real(16, 4)]),
        microsoft("RotaryEmbedding", [real(2, 4, 24), np.array([3], np.int64), real(16, 4), real(16, 4)],
                  interleaved=1),
        microsoft("RotaryEmbedding", [real(2, 3, 4, 8), positions, real(16, 2), real(16, 2)], rotary_embedding_dim=4,
                  num_heads=3),
    ])


def test_quantized_elementwise():
    operators = []
    for dtype in (np.uint8, np.int8):
        zero = const(100 if dtype == np.uint8 else -20, dtype)
        half = const(128 if dtype == np.uint8 else 0, dtype)
        a, b = byte(2, 3, 4, dtype=dtype), byte(3, 1, dtype=dtype)
        operators += [
            microsoft("QLinearAdd", [a, const(0.02), zero, b, const(0.03), half, const(0.05), half], ulps=1),
            microsoft("QLinearMul", [a, const(0.02), zero, b, const(0.03), half, const(0.01), zero], ulps=1),
            microsoft("QLinearSigmoid", [a, const(0.05), half, const(1 / 256), zero], ulps=1),
            microsoft("QLinearLeakyRelu", [a, const(0.05), half, const(0.04), zero], alpha=0.1, ulps=1),
            microsoft("QLinearSoftmax", [a, const(0.05), half, const(1 / 256),
                                         const(0 if dtype == np.uint8 else -128, dtype)], axis=-1,
                      opset=13, ulps=1),
            microsoft("QLinearConcat", [const(0.04), half, a, const(0.02), zero, byte(2, 2, 4, dtype=dtype),
                                        const(0.05), half], axis=1, ulps=1),
            microsoft("QLinearAveragePool", [byte(2, 3, 7, 6, dtype=dtype), const(0.03), zero, const(0.02), half],
                      kernel_shape=[3, 3],
                      strides=[2, 2], pads=[1, 1, 1, 1], ulps=1),
            microsoft("QLinearAveragePool", [byte(2, 7, 6, 3, dtype=dtype), const(0.03), zero, const(0.02), half],
                      kernel_shape=[2, 2],
                      strides=[2, 2], channels_last=1, ulps=1),
            microsoft("QLinearGlobalAveragePool", [byte(2, 3, 7, 6, dtype=dtype), const(0.03), zero, const(0.01),
                                                   half], ulps=1),
            microsoft("QLinearGlobalAveragePool", [byte(2, 7, 6, 3, dtype=dtype), const(0.03), zero, const(0.01),
                                                   half], channels_last=1, ulps=1),
        ]
    compare_all(operators)


def test_quantized_products():
    operators = []
    for dtype in (np.uint8, np.int8):
        b, zero, zeros = ("const", byte(6, 4, dtype=dtype)), const(7, dtype), const([1, 2, 3, 4], dtype)
        scales = const([0.01, 0.02, 0.03, 0.04])
        operators += [
            microsoft("DynamicQuantizeMatMul", [real(2, 3, 6), b, const(0.02), zero]),
            microsoft("DynamicQuantizeMatMul", [real(3, 6), b, scales, zeros, real(4)]),
            microsoft("MatMulIntegerToFloat", [byte(3, 6), b, const(0.03), const(0.02), const(100, np.uint8), zero]),
            microsoft("MatMulIntegerToFloat", [byte(2, 3, 6), b, const(0.03), scales, None, zeros, real(4)]),
            microsoft("QGemm", [byte(3, 6), const(0.03), const(100, np.uint8), b, const(0.02), zero,
                                ("const", np.arange(4, dtype=np.int32))]),
            microsoft("QGemm", [byte(3, 6), const(0.03), const(100, np.uint8), ("const", byte(4, 6, dtype=np.int8)),
                                scales, const([0, 0, 0, 0], np.int8), const(np.arange(4) * 50, np.int32), const(0.05),
                                const(90, np.uint8)], transB=1, ulps=1),
        ]
    operators.append(microsoft("QAttention", [byte(2, 5, 12), ("const", byte(12, 36, dtype=np.int8)), const(real(36)),
                                              const(0.02), const(0.01), np.array([4, 5], np.int32),
                                              const(120, np.uint8), const(0, np.int8)], num_heads=3))
    compare_all(operators)


def test_channels_last():
    # Weights of 7 bits: without VNNI, ONNX Runtime's QLinearConv saturates sums of two products at 16 bits.
    x, w = byte(2, 9, 8, 6), byte(4, 6, 3, 3, dtype=np.int8) // 2
    scales = (generator.random(4, dtype=np.float32) + 0.5) / 100
    compare_all([
        microsoft("NhwcMaxPool", [x], ulps=0, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]),
        microsoft("NhwcMaxPool", [x.view(np.int8)], ulps=0, kernel_shape=[2, 2], dilations=[2, 2]),
        microsoft("NhwcMaxPool", [byte(1, 7, 7, 32)], ulps=0, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    ])
    common = dict(ulps=1, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 2])
    bias = generator.integers(-4000, 4000, 4).astype(np.int32)
    compare_all([
        microsoft("QLinearConv", [x, const(0.02), const(120, np.uint8), const(w, np.int8), const(0.01), const(0, np.int8), const(0.2),
                                  const(100, np.uint8)], channels_last=1, **common),
        microsoft("QLinearConv", [x, const(0.02), const(120, np.uint8), const(w, np.int8), const(scales), const([0] * 4, np.int8), const(0.2),
                                  const(100, np.uint8), const(bias, np.int32)], channels_last=1, **common),
        microsoft("QLinearConv", [x.transpose(0, 3, 1, 2).copy(), const(0.02), const(120, np.uint8), const(w, np.int8), const(scales),
                                  const([0] * 4, np.int8), const(0.2), const(100, np.uint8)], **common),
        microsoft("QLinearConv", [byte(1, 10, 10, 32), const(0.02), const(120, np.uint8), const(byte(32, 1, 3, 3, dtype=np.int8), np.int8), const(0.01),
                                  const(0, np.int8), const(0.05), const(100, np.uint8)], channels_last=1, ulps=1, group=32, kernel_shape=[3, 3]),
    ])


def test_quantization_of_microsoft():
    x = real(3, 5, 4)
    compare_all([
        microsoft("QuantizeLinear", [x, const(0.02), const(100, np.uint8)]),
        microsoft("QuantizeLinear", [x, const([0.02, 0.01, 0.03, 0.05, 0.04]), const([0, 1, -2, 3, 4], np.int8)], axis=1),
        microsoft("QuantizeLinear", [x, const(0.0002), const(30000, np.uint16)]),
        microsoft("DequantizeLinear", [byte(3, 5, 4), const(0.02), const(100, np.uint8)]),
        microsoft("DequantizeLinear", [generator.integers(-30000, 30000, (3, 5)).astype(np.int16), const(0.001), const(7, np.int16)]),
        microsoft("DequantizeLinear", [byte(3, 5, dtype=np.int8), const([0.02, 0.01, 0.03]), const([0, 1, -2], np.int8)], axis=0),
    ])


def test_block_quantized_weights():
    cases = []
    for bits, block, k, n in ((4, 16, 64, 5), (4, 32, 100, 7), (8, 32, 64, 6), (4, 128, 256, 3)):
        blocks = -(-k // block)
        b = byte(n, blocks, block * bits // 8)
        scales = (generator.random(n * blocks, dtype=np.float32) + 0.5) / 50
        zeros = byte(n * -(-blocks * bits // 8))
        common = dict(K=k, N=n, bits=bits, block_size=block)
        cases += [
            microsoft("MatMulNBits", [real(3, k), const(b, np.uint8), const(scales)], **common),
            microsoft("MatMulNBits", [real(2, 3, k), const(b, np.uint8), const(scales), const(zeros, np.uint8)], **common),
            microsoft("MatMulNBits", [real(1, k), const(b, np.uint8), const(scales), const(zeros, np.uint8), None, const(real(n))], **common),
        ]
    compare_all(cases)


def test_block_quantized_gather():
    indices, cases = np.array([[1, 5, 77], [-1, 0, -6]], np.int64), []
    for bits in (2, 4, 8):
        for rows, columns, block in (((6,), 64, 16), ((6, 3), 48, 32)):
            data, blocks = byte(*rows, columns * bits // 8), -(-columns // block)
            scales, common = const(generator.random((*rows, blocks), dtype=np.float32) + 0.5), dict(bits=bits, block_size=block)
            zeros = const(byte(*rows, -(-blocks * bits // 8)), np.uint8)
            cases += [microsoft("GatherBlockQuantized", [const(data, np.uint8), indices, scales], quantize_axis=-1, **common),
                      microsoft("GatherBlockQuantized", [const(data, np.uint8), indices.astype(np.int32), scales, zeros],
                                quantize_axis=len(rows), **common)]
    for dtype, low in ((ml_dtypes.int4, -8), (ml_dtypes.uint4, 0)):
        for gather, quantize, shape in ((0, 1, (6, 32)), (1, 0, (32, 6)), (0, -1, (6, 2, 40)), (1, 2, (2, 6, 40)), (0, 0, (6, 3))):
            blocks = list(shape)
            blocks[quantize] = -(-blocks[quantize] // 16)
            data, zeros = (("const", generator.integers(low, low + 16, size).astype(dtype)) for size in (shape, blocks))
            scales = const(generator.random(blocks, dtype=np.float32) + 0.5)
            common = dict(onnx_opset=21, block_size=16, gather_axis=gather, quantize_axis=quantize)
            cases += [microsoft("GatherBlockQuantized", [data, indices, scales], **common),
                      microsoft("GatherBlockQuantized", [data, indices, scales, zeros], **common)]
    compare_all(cases)


def test_quantized_embedding():
    ids, segments = generator.integers(0, 20, (2, 5)).astype(np.int32), generator.integers(0, 2, (2, 5)).astype(np.int32)
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    for dtype in (np.uint8, np.int8):
        tables = [const(byte(*shape, dtype=dtype), dtype) for shape in ((20, 8), (10, 8), (2, 8), (8,), (8,))]
        scales, zeros = [const(0.01 * (i + 1)) for i in range(5)], [const(7 * i, dtype) for i in range(5)]
        compare_all([
            microsoft("QEmbedLayerNormalization", [ids, segments, *tables, mask, *scales, *zeros], outputs=2, epsilon=1e-5),
            microsoft("QEmbedLayerNormalization", [ids, None, *tables[:2], None, *tables[3:], None, *scales[:2], None, *scales[3:],
                                                   *zeros[:2], None, *zeros[3:]], outputs=2),
        ])


def test_quantized_mean():
    """ONNX Runtime has but the schema, which says: dequantized, ReduceMean, quantized."""
    x, zero = byte(2, 3, 4, 5), 120
    for opset in (13, 18):
        compare_all([microsoft(
            "QLinearReduceMean", [x, const(0.02), const(zero, np.uint8), const(0.01), const(90, np.uint8)], onnx_opset=opset, ulps=1,
            expected=[np.clip(np.rint((x.astype(np.float64) - zero).mean(axes, keepdims=bool(keep)) * 2) + 90, 0, 255).astype(np.uint8)],
            axes=list(axes), keepdims=keep) for axes, keep in (((1,), 1), ((2, 3), 0), ((-1,), 1))])


def grouped(heads, kv_heads, size, length, past, room, packed=False, **options):
    batch = len(past)
    rotary = options.pop("rotary", 0)
    q, kv = heads * size, kv_heads * size
    tokens = [real(batch, length, q + 2 * kv), None, None] if packed else [real(batch, length, q), real(batch, length, kv), real(batch, length, kv)]
    caches = [real(batch, kv_heads, room, size), real(batch, kv_heads, room, size)] if room else [None, None]
    totals = [p + length for p in past]
    inputs = tokens + caches + [const([t - 1 for t in totals], np.int32), const(max(totals), np.int32)]
    if rotary:
        angles = real(64, rotary // 2)
        inputs += [const(np.cos(angles)), const(np.sin(angles))]
        options["do_rotary"] = 1
    return microsoft("GroupQueryAttention", inputs, outputs=3, num_heads=heads, kv_num_heads=kv_heads, **options)


def test_group_query_attention():
    compare_all([
        grouped(4, 2, 8, 5, [0], 0),
        grouped(4, 4, 8, 5, [0, 0], 0, packed=True),
        grouped(6, 2, 16, 1, [9], 9),
        grouped(4, 2, 8, 3, [7], 7, scale=0.2),
        grouped(4, 2, 16, 5, [0], 0, rotary=16),
        grouped(4, 1, 16, 1, [6], 6, rotary=16, rotary_interleaved=1),
        grouped(4, 2, 16, 2, [6], 6, packed=True, rotary=16),
        grouped(4, 2, 8, 9, [0], 0, local_window_size=4),
        grouped(4, 2, 8, 6, [0], 0, softcap=2.0),
        grouped(4, 2, 8, 6, [0], 0, smooth_softmax=1),
    ])


def test_dynamic_quantized_lstm():
    """The hidden states of a batch are quantized together, as ONNX Runtime does with one thread."""
    time, batch, size, hidden = 6, 3, 5, 8
    operators = []
    for directions, direction in ((1, "forward"), (1, "reverse"), (2, "bidirectional")):
        for dtype in (np.int8, np.uint8):
            zeros = const([3 if dtype == np.int8 else 120] * directions, dtype)
            halves = const([0 if dtype == np.int8 else 128] * directions, dtype)
            scales = const([0.01] * directions)
            w, r = (("const", byte(directions, rows, 4 * hidden, dtype=dtype)) for rows in (size, hidden))
            operators.append(microsoft("DynamicQuantizeLSTM", [
                real(time, batch, size), w, r, ("const", real(directions, 8 * hidden)), None,
                real(directions, batch, hidden), real(directions, batch, hidden), None, scales, zeros, scales, halves],
                outputs=3, hidden_size=hidden, direction=direction))
    compare_all(operators)


def test_dynamic_quantized_lstm_of_many_steps():
    """To the bit: the hidden state is rounded to 8 bits in each step, so that one bit at a tie would decide all that follows."""
    operators = []
    for hidden in (8, 61):
        x = real(80, 2, 40)
        w, r = (("const", byte(2, rows, 4 * hidden)) for rows in (40, hidden))
        zeros, scales = const([128, 121], np.uint8), const([0.004, 0.006])
        operators.append(microsoft("DynamicQuantizeLSTM", [x, w, r, ("const", real(2, 8 * hidden)), *[None] * 4, scales, zeros, scales, zeros],
                                   outputs=3, tolerance=0, hidden_size=hidden, direction="bidirectional"))
    compare_all(operators)


if __name__ == "__main__":
    main(globals())
