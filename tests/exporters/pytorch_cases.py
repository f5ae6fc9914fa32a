"""PyTorch modules by both of its exporters: pytorch_cases.py OUT writes them as cases with PyTorch's own outputs."""

import pathlib
import sys
import tempfile
import warnings

import onnx
import torch
from cases import write_case
from torch import nn


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.SiLU(), nn.Conv2d(16, 24, 3, 2, 2, 2, groups=8),
                                  nn.InstanceNorm2d(24, affine=True), nn.PReLU(24))
        self.up = nn.ConvTranspose2d(24, 16, 2, 2)
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x):
        y = self.up(self.down(x))
        return self.head(nn.functional.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)).softmax(1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.LSTM(12, 16, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, -1])


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu", norm_first=True)

    def forward(self, x):
        return self.layer(x).mean(1)


def main(folder):
    warnings.simplefilter("ignore")
    for kind, shape in ((Convolutional, (2, 3, 64, 64)), (Recurrent, (3, 20, 12)), (Transformer, (2, 10, 32))):
        torch.manual_seed(1)
        module, x = kind().eval(), torch.randn(shape)
        with torch.no_grad():
            want = module(x).numpy()
        for dynamo in (False, True):
            with tempfile.TemporaryDirectory() as work:
                options = {"verbose": False} if dynamo else {"opset_version": 17}
                torch.onnx.export(module, (x,), f"{work}/model.onnx", dynamo=dynamo, input_names=["x"], **options)
                proto = onnx.load(f"{work}/model.onnx")
            write_case(folder / f"{kind.__name__.lower()}_{'dynamo' if dynamo else 'torchscript'}", proto, {"x": x.numpy()}, [want])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
