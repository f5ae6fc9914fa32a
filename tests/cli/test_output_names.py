"""`mitral run` writes every output of a model with more of them than any fixed table holds, whose names clash as file names."""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MITRAL = os.environ.get("MITRAL", "build/mitral")
COUNT = 320
# Every name becomes "y__": its second letter is two bytes, none of which a file name takes. The first output already has the name that the
# seventh clash would get, the last two the names of earlier ones with their numbers.
NAMES = ["y___7", *(f"y{chr(0x100 + i)}" for i in range(COUNT - 3)), "y___1", "y__"]


def model():
    constants = [numpy_helper.from_array(np.float32([i]), f"constant{i}") for i in range(COUNT)]
    nodes = [helper.make_node("Add", ["x", f"constant{i}"], [name]) for i, name in enumerate(NAMES)]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in NAMES]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])], outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def run(*arguments):
    done = subprocess.run([MITRAL, "run", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def main():
    assert len(set(NAMES)) == len(NAMES) == COUNT
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        onnx.save(model(), folder / "model.onnx")
        np.save(folder / "x.npy", np.float32([1000]))
        run(folder / "model.onnx", "-i", f"x={folder / 'x.npy'}", "-o", folder / "out")
        files = {path.name: float(np.load(path)[0]) for path in (folder / "out").iterdir()}
        assert len(files) == COUNT, f"expected {COUNT} files, found {len(files)}"
        assert sorted(files.values()) == [1000 + i for i in range(COUNT)], "an output was written twice, or not at all"
        assert files["y___7.npy"] == 1000 and files["y__.npy"] == 1001 and files["y___1.npy"] == 1002, "the first one keeps its name"

        data = folder / "case/test_data_set_0"
        data.mkdir(parents=True)
        (data / "input_0.pb").write_bytes(numpy_helper.from_array(np.float32([1000]), "x").SerializeToString())
        run(folder / "model.onnx", "--case", folder / "case", "-o", folder / "case_out")
        for i in range(COUNT):
            tensor = TensorProto.FromString((folder / f"case_out/test_data_set_0/output_{i}.pb").read_bytes())
            assert numpy_helper.to_array(tensor).tolist() == [1000 + i], f"output {i} of the case"
    print(f"{COUNT} outputs")


if __name__ == "__main__":
    sys.exit(main())
