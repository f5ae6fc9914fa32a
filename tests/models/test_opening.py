"""oneDNN's library is opened by the first step that needs it: not by a plan that has none, such as DPU-Net's."""

import os
import pathlib
import subprocess
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from support import MITRAL, main, run


def opened(model, shape):
    """Whether running the model's plan opens the library: the loader tells which files it opens."""
    with tempfile.TemporaryDirectory() as folder:
        plan = pathlib.Path(folder, "model.plan")
        run("compile", model, "-o", plan, "--threads", 1, "--shape", f"image={shape}")
        done = subprocess.run([MITRAL, "bench", plan, "--repeat", "1"], env={**os.environ, "LD_DEBUG": "files"}, capture_output=True, text=True,
                              check=True)
    assert "libz.so" in done.stderr
    return "libdnnl.so" in done.stderr


def volumes(path):
    """A convolution in three dimensions, which is oneDNN's."""
    weights = numpy_helper.from_array(np.ones((8, 8, 3, 3, 3), np.float32), "w")
    graph = helper.make_graph([helper.make_node("Conv", ["image", "w"], ["y"])], "volumes",
                              [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 8, 6, 6, 6])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 4, 4, 4])], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_opened_when_needed():
    with tempfile.TemporaryDirectory() as folder:
        own, foreign = pathlib.Path(folder, "own.onnx"), pathlib.Path(folder, "foreign.onnx")
        run("create", "dpu-net", "-o", own)
        volumes(foreign)
        os.environ["MITRAL_ISA"] = "avx2"
        assert not opened(own, "1x1x224x224")
        assert opened(foreign, "1x8x6x6x6")


if __name__ == "__main__":
    main(globals())
