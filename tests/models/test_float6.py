"""The 6-bit floats through files and Cast, QuantizeLinear and DequantizeLinear: equal to what the onnx package and ml_dtypes say."""

import pathlib
import tempfile

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import support

TYPES = {"FLOAT6E2M3": ml_dtypes.float6_e2m3fn, "FLOAT6E3M2": ml_dtypes.float6_e3m2fn}


def run(folder, nodes, inputs, outputs, constants, feeds):
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)], ir_version=14), path)
    optimized = folder / "o.onnx"
    support.run("optimize", path, "-o", optimized)
    return [support.infer(model, feeds, *options) for model in (path, optimized) for options in ([], ["--interpret"])]


def test_conversions():
    x = np.concatenate([np.linspace(-40, 40, 4001), [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-8]]).astype(np.float32)
    for name, dtype in TYPES.items():
        number = getattr(TensorProto, name)
        wanted = x.astype(dtype).astype(np.float32)
        codes = np.arange(61, dtype=np.uint8).view(dtype)  # not a multiple of four: the last group of the file is padded
        nodes = [helper.make_node("Cast", ["x"], ["small"], to=number), helper.make_node("Cast", ["small"], ["y"], to=TensorProto.FLOAT),
                 helper.make_node("Cast", ["codes"], ["z"], to=TensorProto.FLOAT)]
        constant = numpy_helper.from_array(codes, "codes")
        assert constant.data_type == number and len(constant.raw_data) == 46, constant
        with tempfile.TemporaryDirectory() as folder:
            for got in run(pathlib.Path(folder), nodes, [helper.make_tensor_value_info("x", TensorProto.FLOAT, [x.size])],
                           [helper.make_tensor_value_info("y", TensorProto.FLOAT, [x.size]), helper.make_tensor_value_info("z", TensorProto.FLOAT, [61])],
                           [constant], {"x": x}):
                assert np.array_equal(got["y"], wanted), (name, x[got["y"] != wanted], got["y"][got["y"] != wanted])
                assert np.array_equal(got["z"], codes.astype(np.float32)), name


def test_quantization():
    x = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    for name, dtype in TYPES.items():
        scale = np.float32(0.25)
        wanted = (x / scale).astype(dtype).astype(np.float32) * scale
        nodes = [helper.make_node("QuantizeLinear", ["x", "scale"], ["q"], output_dtype=getattr(TensorProto, name)),
                 helper.make_node("DequantizeLinear", ["q", "scale"], ["y"])]
        with tempfile.TemporaryDirectory() as folder:
            for got in run(pathlib.Path(folder), nodes, [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
                           [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)], [numpy_helper.from_array(scale, "scale")], {"x": x}):
                assert np.array_equal(got["y"], wanted), name


if __name__ == "__main__":
    support.main(globals())
