"""Segmentation networks of MONAI by PyTorch's exporter: monai_cases.py OUT writes them as cases with PyTorch's own outputs.

Widths are small, forms are those that people train; weights are random, batch and instance normalization as in evaluation.
"""

import pathlib
import sys
import tempfile
import warnings

import onnx
import torch
from cases import write_case
from monai.networks import nets


def networks(dimensions):
    """(name, network, size) in two or three dimensions."""
    size = (64,) * 2 if dimensions == 2 else (32,) * 3
    kernels = [3, 3, 3]
    return [
        ("unet", nets.UNet(dimensions, 1, 4, channels=(8, 16, 32), strides=(2, 2), num_res_units=2), size),
        ("segresnet", nets.SegResNet(dimensions, init_filters=8, in_channels=1, out_channels=4, blocks_down=(1, 2, 2), blocks_up=(1, 1)), size),
        ("dynunet", nets.DynUNet(dimensions, 1, 4, kernels, [1, 2, 2], [2, 2], filters=[8, 16, 32]), size),
        ("attention_unet", nets.AttentionUnet(dimensions, 1, 4, channels=(8, 16, 32), strides=(2, 2)), size),
        ("unetr", nets.UNETR(1, 4, size, feature_size=8, hidden_size=48, mlp_dim=96, num_heads=4, spatial_dims=dimensions), size),
        ("swin_unetr", nets.SwinUNETR(1, 4, feature_size=12, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), spatial_dims=dimensions),
         (64,) * dimensions),
    ]


def main(folder):
    warnings.simplefilter("ignore")
    for dimensions in (2, 3):
        torch.manual_seed(1)
        for name, network, size in networks(dimensions):
            network.eval()
            x = torch.randn(1, 1, *size)
            with torch.no_grad(), tempfile.TemporaryDirectory() as work:
                want = network(x).numpy()
                try:
                    torch.onnx.export(network, (x,), f"{work}/model.onnx", dynamo=False, input_names=["x"], output_names=["y"],
                                      opset_version=17)
                except Exception as error:
                    print(f"PyTorch does not export {name} in {dimensions}D: {type(error).__name__}: {str(error).splitlines()[0]}")
                    continue
                write_case(folder / f"{name}_{dimensions}d", onnx.load(f"{work}/model.onnx"), {"x": x.numpy()}, [want])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
