"""DPU-Net and its teacher as PyTorch modules: the same networks, names and initial weights as `mitral create` makes.

The definitions are our reading of the paper's abstract (Liu, Wang, Zhang, Wei 2024, doi 10.7507/1001-5515.202312015); they
stand in docs/networks.md.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

DPU_WIDTHS = (32, 64, 96, 128, 160)
DPU_DILATIONS = ((1, 2, 4, 8),) * 4 + ((1, 2, 3, 4),)
UNET_WIDTHS = (32, 64, 128, 256, 512)


class DilatedParallelBlock(nn.Module):
    """1x1 reduce to C/4, BN, ReLU; four dilated 3x3 convolutions; merge; BN; shortcut; ReLU."""

    def __init__(self, channels_in, channels, dilations, merge="hff", residual=True):
        super().__init__()
        quarter = channels // 4
        self.merge, self.residual = merge, residual
        self.reduce = nn.Conv2d(channels_in, quarter, 1, bias=False)
        self.reduce_bn = nn.BatchNorm2d(quarter)
        for k, d in enumerate(dilations):
            setattr(self, f"branch{k}", nn.Conv2d(quarter, quarter, 3, padding=d, dilation=d, bias=False))
        self.bn = nn.BatchNorm2d(channels)
        self.projected = residual and channels_in != channels
        if self.projected:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, bias=False)
            self.shortcut_bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        reduced = functional.relu(self.reduce_bn(self.reduce(x)))
        merged = [getattr(self, f"branch{k}")(reduced) for k in range(4)]
        for k in range({"hff": 2, "hff-first": 1, "concat": 4}[self.merge], 4):
            merged[k] = merged[k - 1] + merged[k]
        y = self.bn(torch.cat(merged, 1))
        if self.residual:
            y = y + (self.shortcut_bn(self.shortcut(x)) if self.projected else x)
        return functional.relu(y)


class ConvolutionNorm(nn.Module):
    def __init__(self, channels_in, channels, kernel):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        return functional.relu(self.bn(self.conv(x)))


class DecoderStage(nn.Module):
    """1x1 convolution, BN, ReLU, bilinear doubling, concatenation with the skip, dilated-parallel block."""

    def __init__(self, channels_in, channels, dilations, **options):
        super().__init__()
        self.up = ConvolutionNorm(channels_in, channels, 1)
        self.block = DilatedParallelBlock(2 * channels, channels, dilations, **options)

    def forward(self, x, skip):
        x = functional.interpolate(self.up(x), scale_factor=2, mode="bilinear", align_corners=False)
        return self.block(torch.cat([x, skip], 1))


class DPUNet(nn.Module):
    def __init__(self, widths=DPU_WIDTHS, dilations=DPU_DILATIONS, merge="hff", residual=True, classes=4, channels=1):
        super().__init__()
        options = {"merge": merge, "residual": residual}
        self.stages = len(widths)
        self.stem = ConvolutionNorm(channels, widths[0], 3)
        for i, width in enumerate(widths):
            before = widths[max(i - 1, 0)]
            setattr(self, f"enc{i}", nn.Sequential(DilatedParallelBlock(before, width, dilations[i], **options),
                                                   DilatedParallelBlock(width, width, dilations[i], **options)))
        for i in reversed(range(self.stages - 1)):
            setattr(self, f"dec{i}", DecoderStage(widths[i + 1], widths[i], dilations[i], **options))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        x, skips = self.stem(x), []
        for i in range(self.stages):
            x = getattr(self, f"enc{i}")(functional.max_pool2d(x, 2) if i else x)
            skips.append(x)
        for i in reversed(range(self.stages - 1)):
            x = getattr(self, f"dec{i}")(x, skips[i])
        return self.head(x)


class DoubleConvolution(nn.Module):
    def __init__(self, channels_in, channels):
        super().__init__()
        self.conv0 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn0 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)

    def forward(self, x):
        x = functional.relu(self.bn0(self.conv0(x)))
        return functional.relu(self.bn1(self.conv1(x)))


class UNet(nn.Module):
    def __init__(self, widths=UNET_WIDTHS, classes=4, channels=1):
        super().__init__()
        self.stages = len(widths)
        for i, width in enumerate(widths):
            setattr(self, f"enc{i}", DoubleConvolution(widths[i - 1] if i else channels, width))
        for i in reversed(range(self.stages - 1)):
            setattr(self, f"up{i}", nn.ConvTranspose2d(widths[i + 1], widths[i], 2, stride=2))
            setattr(self, f"dec{i}", DoubleConvolution(2 * widths[i], widths[i]))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        skips = []
        for i in range(self.stages):
            x = getattr(self, f"enc{i}")(functional.max_pool2d(x, 2) if i else x)
            skips.append(x)
        for i in reversed(range(self.stages - 1)):
            x = getattr(self, f"dec{i}")(torch.cat([getattr(self, f"up{i}")(x), skips[i]], 1))
        return self.head(x)


def uniform(name, count, seed=0):
    """`count` numbers in [0, 1) of the parameter's own stream: SplitMix64 from seed ^ FNV-1a(name)."""
    mask = (1 << 64) - 1
    stream = 14695981039346656037
    for byte in name.encode():
        stream = ((stream ^ byte) * 1099511628211) & mask
    stream ^= seed
    with np.errstate(over="ignore"):
        z = np.uint64(stream) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 9007199254740992.0


def initialise(module, seed=0):
    """The initial weights of `mitral create --seed SEED`; returns the module."""
    with torch.no_grad():
        for path, layer in module.named_modules():
            if isinstance(layer, nn.ConvTranspose2d):
                fan_in = layer.in_channels
            elif isinstance(layer, nn.Conv2d):
                fan_in = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
            else:
                continue
            values = (2 * uniform(f"{path}.weight", layer.weight.numel(), seed) - 1) * math.sqrt(6.0 / fan_in)
            layer.weight.copy_(torch.from_numpy(values.astype(np.float32)).reshape(layer.weight.shape))
            if layer.bias is not None:
                layer.bias.zero_()
    return module
