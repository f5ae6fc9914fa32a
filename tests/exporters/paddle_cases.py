"""PaddlePaddle networks by paddle2onnx: paddle_cases.py OUT writes them as cases with Paddle's own outputs."""

import pathlib
import sys
import tempfile

import numpy as np
import onnx
import paddle
import paddle2onnx
from cases import write_case
from paddle import nn


def convolutional():
    return nn.Sequential(nn.Conv2D(3, 16, 3, stride=2, padding=1), nn.BatchNorm2D(16), nn.Hardswish(), nn.Conv2D(16, 16, 3, padding=2, dilation=2),
                         nn.ReLU6(), nn.MaxPool2D(2), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(16, 6), nn.Softmax())


class Attention(nn.Layer):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.norm = (*(nn.Linear(16, 16) for _ in range(3)), nn.LayerNorm(16))

    def forward(self, x):
        share = nn.functional.softmax(self.query(x) @ self.key(x).transpose([0, 2, 1]) / 4, axis=-1)
        return nn.functional.gelu(self.norm(x + share @ self.value(x)))


def main(folder):
    paddle.seed(1)
    for name, network, shape in (("convolutional", convolutional(), [2, 3, 64, 64]), ("attention", Attention(), [2, 10, 16])):
        network.eval()
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        want = network(paddle.to_tensor(x)).numpy()
        with tempfile.TemporaryDirectory() as work:
            paddle.jit.save(network, f"{work}/model", [paddle.static.InputSpec([None, *shape[1:]], "float32", "x")])
            # Its optimiser would install packages while it runs.
            paddle2onnx.export(f"{work}/model.json", f"{work}/model.pdiparams", f"{work}/model.onnx", opset_version=17, optimize_tool="None")
            proto = onnx.load(f"{work}/model.onnx")
        write_case(folder / name, proto, {proto.graph.input[0].name: x}, [want])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
