"""Published networks made of dilated-parallel blocks, as PyTorch modules in the sizes they were published with.

    export_all(folder)                      exports what is not there yet, yields (name, path)
    export(name, path, size=None)           one network; `size` overrides height and width

Weights are He-random and batch normalisation is calibrated on noise, so that activations neither vanish nor explode: outputs can be
compared, Dice cannot. Sources: ESPNet (Mehta 2018, p = 2, q = 8, with decoder), ESPNetv2 (Mehta 2019, scale 1), CE-Net (Gu 2019),
CGNet (Wu 2018, M3N21), DABNet (Li 2019), DeepLabv3 (Chen 2017: ResNet-50 of output stride 16, ASPP), a U-Net of dilated inception
modules (Cahall 2021). Written from the papers' descriptions; widths that a paper leaves open are ours.
"""

import pathlib

import torch
from torch import nn
from torch.nn import functional


def convolution(channels_in, channels, kernel=1, stride=1, dilation=1, groups=1, bias=False):
    """A convolution that keeps the size but for its stride; kernel and dilation may be pairs."""
    kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    dilation = dilation if isinstance(dilation, tuple) else (dilation, dilation)
    padding = tuple((k - 1) // 2 * d for k, d in zip(kernel, dilation))
    return nn.Conv2d(channels_in, channels, kernel, stride, padding, dilation, groups, bias)


def normalise(channels):
    return nn.Sequential(nn.BatchNorm2d(channels), nn.PReLU(channels))


def convolution_norm(*arguments, activation=nn.PReLU, **options):
    layer = convolution(*arguments, **options)
    parts = [layer, nn.BatchNorm2d(layer.out_channels)]
    if activation is nn.PReLU:
        parts.append(nn.PReLU(layer.out_channels))
    elif activation:
        parts.append(activation())
    return nn.Sequential(*parts)


def running_sums(parts, first):
    """Hierarchical feature fusion: from `first` on each part is the sum of it and of those before."""
    for k in range(first, len(parts)):
        parts[k] = parts[k - 1] + parts[k]
    return torch.cat(parts, 1)


def halve(x):
    return functional.avg_pool2d(x, 3, 2, 1)


def enlarge(x, size):
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


# ---- ESPNet -----------------------------------------------------------------------------------------------------------------


class EfficientSpatialPyramid(nn.Module):
    def __init__(self, channels_in, channels, stride=1, residual=True):
        super().__init__()
        part = channels // 5
        self.residual = residual
        self.reduce = convolution(channels_in, part, 1 if stride == 1 else 3, stride)
        self.branches = nn.ModuleList(convolution(part, channels - 4 * part if d == 1 else part, 3, dilation=d) for d in (1, 2, 4, 8, 16))
        self.finish = normalise(channels)

    def forward(self, x):
        reduced = self.reduce(x)
        y = running_sums([branch(reduced) for branch in self.branches], 2)
        return self.finish(x + y if self.residual else y)


class ESPNet(nn.Module):
    def __init__(self, classes=20, p=2, q=8):
        super().__init__()
        self.level1, self.finish1 = convolution_norm(3, 16, 3, 2), normalise(19)
        self.down2, self.finish2 = EfficientSpatialPyramid(19, 64, 2, False), normalise(131)
        self.level2 = nn.Sequential(*(EfficientSpatialPyramid(64, 64) for _ in range(p)))
        self.down3, self.finish3 = EfficientSpatialPyramid(131, 128, 2, False), normalise(256)
        self.level3 = nn.Sequential(*(EfficientSpatialPyramid(128, 128) for _ in range(q)))
        self.head3, self.norm3 = convolution(256, classes), nn.BatchNorm2d(classes)
        self.up3 = nn.ConvTranspose2d(classes, classes, 2, 2, bias=False)
        self.head2, self.join2 = convolution(131, classes), normalise(2 * classes)
        self.mix2 = EfficientSpatialPyramid(2 * classes, classes, residual=False)
        self.up2, self.finish_up2 = nn.ConvTranspose2d(classes, classes, 2, 2, bias=False), normalise(classes)
        self.mix1 = convolution_norm(classes + 19, classes, 3)
        self.up1 = nn.ConvTranspose2d(classes, classes, 2, 2, bias=False)

    def forward(self, x):
        half = halve(x)
        level1 = self.finish1(torch.cat([self.level1(x), half], 1))
        down2 = self.down2(level1)
        level2 = self.finish2(torch.cat([self.level2(down2), down2, halve(half)], 1))
        down3 = self.down3(level2)
        level3 = self.finish3(torch.cat([down3, self.level3(down3)], 1))
        up = self.up3(self.norm3(self.head3(level3)))
        up = self.mix2(self.join2(torch.cat([self.head2(level2), up], 1)))
        up = self.finish_up2(self.up2(up))
        return self.up1(self.mix1(torch.cat([up, level1], 1)))


# ---- ESPNetv2 ---------------------------------------------------------------------------------------------------------------


class DepthwisePyramid(nn.Module):
    """EESP: grouped 1x1, four depthwise dilated convolutions, running sums, grouped 1x1."""

    def __init__(self, channels_in, channels, stride, dilations):
        super().__init__()
        part = channels // 4
        self.stride, self.same = stride, stride == 1 and channels_in == channels
        self.reduce = convolution_norm(channels_in, part, groups=4)
        self.branches = nn.ModuleList(convolution(part, part, 3, stride, d, groups=part) for d in dilations)
        self.middle = normalise(channels)
        self.expand = convolution_norm(channels, channels, groups=4, activation=None)
        self.activation = nn.PReLU(channels)

    def forward(self, x):
        reduced = self.reduce(x)
        y = self.expand(self.middle(running_sums([branch(reduced) for branch in self.branches], 1)))
        if self.stride == 2:
            return y
        return self.activation(y + x if self.same else y)


class PyramidDown(nn.Module):
    """Average pooling beside a strided EESP, and the image brought in again."""

    def __init__(self, channels_in, channels, dilations):
        super().__init__()
        self.pyramid = DepthwisePyramid(channels_in, channels - channels_in, 2, dilations)
        self.image = nn.Sequential(convolution_norm(3, 3, 3), convolution_norm(3, channels, activation=None))
        self.activation = nn.PReLU(channels)

    def forward(self, x, image):
        y = torch.cat([halve(x), self.pyramid(x)], 1)
        return self.activation(y + self.image(image))


class ESPNetV2(nn.Module):
    def __init__(self, classes=1000):
        super().__init__()
        wide, middle, narrow = (1, 2, 3, 4), (1, 1, 2, 3), (1, 1, 1, 2)
        self.level1 = convolution_norm(3, 32, 3, 2)
        self.downs = nn.ModuleList([PyramidDown(32, 128, wide), PyramidDown(128, 256, wide), PyramidDown(256, 512, wide),
                                    PyramidDown(512, 1024, middle)])
        self.levels = nn.ModuleList(nn.Sequential(*(DepthwisePyramid(c, c, 1, d) for _ in range(count)))
                                    for c, d, count in ((128, wide, 0), (256, wide, 3), (512, middle, 7), (1024, narrow, 3)))
        self.last = nn.Sequential(convolution_norm(1024, 1024, 3, groups=1024), convolution_norm(1024, 1024, groups=4))
        self.classifier = nn.Linear(1024, classes)

    def forward(self, x):
        image = halve(x)
        x = self.level1(x)
        for down, level in zip(self.downs, self.levels):
            image = halve(image)
            x = level(down(x, image))
        return self.classifier(functional.adaptive_avg_pool2d(self.last(x), 1).flatten(1))


# ---- ResNets: the encoders of CE-Net and DeepLab ------------------------------------------------------------------------------


class Basic(nn.Module):
    def __init__(self, channels_in, channels, stride=1):
        super().__init__()
        self.body = nn.Sequential(convolution_norm(channels_in, channels, 3, stride, activation=nn.ReLU),
                                  convolution_norm(channels, channels, 3, activation=None))
        changes = stride != 1 or channels_in != channels
        self.shortcut = convolution_norm(channels_in, channels, 1, stride, activation=None) if changes else nn.Identity()

    def forward(self, x):
        return functional.relu(self.body(x) + self.shortcut(x))


class Bottleneck(nn.Module):
    def __init__(self, channels_in, channels, stride=1, dilation=1):
        super().__init__()
        part = channels // 4
        self.body = nn.Sequential(convolution_norm(channels_in, part, activation=nn.ReLU),
                                  convolution_norm(part, part, 3, stride, dilation, activation=nn.ReLU),
                                  convolution_norm(part, channels, activation=None))
        changes = stride != 1 or channels_in != channels
        self.shortcut = convolution_norm(channels_in, channels, 1, stride, activation=None) if changes else nn.Identity()

    def forward(self, x):
        return functional.relu(self.body(x) + self.shortcut(x))


def stem(channels_in=3):
    return nn.Sequential(convolution_norm(channels_in, 64, 7, 2, activation=nn.ReLU))


def stage(block, channels_in, channels, count, stride, **options):
    return nn.Sequential(block(channels_in, channels, stride, **options), *(block(channels, channels, **options) for _ in range(count - 1)))


# ---- CE-Net -----------------------------------------------------------------------------------------------------------------


class DenseAtrous(nn.Module):
    """Four chains whose convolutions are shared: common prefixes need to be computed once."""

    def __init__(self, channels):
        super().__init__()
        self.first, self.second, self.third = (convolution(channels, channels, 3, dilation=d, bias=True) for d in (1, 3, 5))
        self.point = convolution(channels, channels, bias=True)

    def forward(self, x):
        one = functional.relu(self.first(x))
        two = functional.relu(self.point(self.second(x)))
        three = functional.relu(self.point(self.second(self.first(x))))
        four = functional.relu(self.point(self.third(self.second(self.first(x)))))
        return x + one + two + three + four


class ResidualMultiPooling(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.point = convolution(channels, 1, bias=True)

    def forward(self, x):
        size = x.shape[2:]
        return torch.cat([enlarge(self.point(functional.max_pool2d(x, k)), size) for k in (2, 3, 5, 6)] + [x], 1)


class CEDecoder(nn.Module):
    def __init__(self, channels_in, channels):
        super().__init__()
        part = channels_in // 4
        self.reduce = convolution_norm(channels_in, part, bias=True, activation=nn.ReLU)
        self.up = nn.Sequential(nn.ConvTranspose2d(part, part, 3, 2, 1, 1), nn.BatchNorm2d(part), nn.ReLU())
        self.expand = convolution_norm(part, channels, bias=True, activation=nn.ReLU)

    def forward(self, x):
        return self.expand(self.up(self.reduce(x)))


class CENet(nn.Module):
    def __init__(self, classes=1):
        super().__init__()
        widths, counts = (64, 128, 256, 512), (3, 4, 6, 3)
        self.stem = stem()
        self.stages = nn.ModuleList(stage(Basic, widths[max(i - 1, 0)], widths[i], counts[i], 1 if i == 0 else 2) for i in range(4))
        self.atrous, self.pooling = DenseAtrous(512), ResidualMultiPooling(512)
        self.decoders = nn.ModuleList(CEDecoder(a, b) for a, b in ((516, 256), (256, 128), (128, 64), (64, 64)))
        self.head = nn.Sequential(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), convolution(32, 32, 3, bias=True), nn.ReLU(),
                                  convolution(32, classes, 3, bias=True), nn.Sigmoid())

    def forward(self, x):
        x = functional.max_pool2d(self.stem(x), 3, 2, 1)
        skips = []
        for each in self.stages:
            x = each(x)
            skips.append(x)
        x = self.pooling(self.atrous(x))
        for decoder, skip in zip(self.decoders, (skips[2], skips[1], skips[0], None)):
            x = decoder(x)
            x = x if skip is None else x + skip
        return self.head(x)


# ---- CGNet ------------------------------------------------------------------------------------------------------------------


class ContextGuided(nn.Module):
    def __init__(self, channels_in, channels, dilation, reduction, stride=1):
        super().__init__()
        part = channels if stride == 2 else channels // 2
        self.residual = stride == 1
        self.reduce = convolution_norm(channels_in, part, 3 if stride == 2 else 1, stride)
        self.near, self.far = convolution(part, part, 3, groups=part), convolution(part, part, 3, dilation=dilation, groups=part)
        self.join = normalise(2 * part)
        self.narrow = convolution(2 * part, channels) if stride == 2 else nn.Identity()
        self.gate = nn.Sequential(nn.Linear(channels, channels // reduction), nn.ReLU(), nn.Linear(channels // reduction, channels),
                                  nn.Sigmoid())

    def forward(self, x):
        reduced = self.reduce(x)
        y = self.narrow(self.join(torch.cat([self.near(reduced), self.far(reduced)], 1)))
        y = y * self.gate(y.mean((2, 3)))[:, :, None, None]
        return x + y if self.residual else y


class CGNet(nn.Module):
    def __init__(self, classes=19, m=3, n=21):
        super().__init__()
        self.level1 = nn.Sequential(convolution_norm(3, 32, 3, 2), convolution_norm(32, 32, 3), convolution_norm(32, 32, 3))
        self.finish1, self.finish2, self.finish3 = normalise(35), normalise(131), normalise(256)
        self.down2, self.down3 = ContextGuided(35, 64, 2, 8, 2), ContextGuided(131, 128, 4, 16, 2)
        self.level2 = nn.Sequential(*(ContextGuided(64, 64, 2, 8) for _ in range(m - 1)))
        self.level3 = nn.Sequential(*(ContextGuided(128, 128, 4, 16) for _ in range(n - 1)))
        self.head = convolution(256, classes)

    def forward(self, x):
        half = halve(x)
        level1 = self.finish1(torch.cat([self.level1(x), half], 1))
        down2 = self.down2(level1)
        level2 = self.finish2(torch.cat([self.level2(down2), down2, halve(half)], 1))
        down3 = self.down3(level2)
        level3 = self.finish3(torch.cat([down3, self.level3(down3)], 1))
        return enlarge(self.head(level3), x.shape[2:])


# ---- DABNet -----------------------------------------------------------------------------------------------------------------


class DepthwiseAsymmetric(nn.Module):
    def __init__(self, channels, dilation):
        super().__init__()
        part = channels // 2
        self.start, self.reduce = normalise(channels), convolution_norm(channels, part, 3)
        self.near = nn.Sequential(convolution_norm(part, part, (3, 1), groups=part), convolution_norm(part, part, (1, 3), groups=part))
        self.far = nn.Sequential(convolution_norm(part, part, (3, 1), dilation=(dilation, 1), groups=part),
                                 convolution_norm(part, part, (1, 3), dilation=(1, dilation), groups=part))
        self.middle, self.expand = normalise(part), convolution(part, channels)

    def forward(self, x):
        reduced = self.reduce(self.start(x))
        return self.expand(self.middle(self.near(reduced) + self.far(reduced))) + x


class PooledDown(nn.Module):
    """Strided convolution beside max-pooling."""

    def __init__(self, channels_in, channels):
        super().__init__()
        self.grows = channels_in < channels
        self.body = convolution(channels_in, channels - channels_in if self.grows else channels, 3, 2)
        self.finish = normalise(channels)

    def forward(self, x):
        y = self.body(x)
        return self.finish(torch.cat([y, functional.max_pool2d(x, 2)], 1) if self.grows else y)


class DABNet(nn.Module):
    def __init__(self, classes=19):
        super().__init__()
        self.level1 = nn.Sequential(convolution_norm(3, 32, 3, 2), convolution_norm(32, 32, 3), convolution_norm(32, 32, 3))
        self.finish1, self.finish2, self.finish3 = normalise(35), normalise(131), normalise(259)
        self.down2, self.down3 = PooledDown(35, 64), PooledDown(131, 128)
        self.level2 = nn.Sequential(*(DepthwiseAsymmetric(64, 2) for _ in range(3)))
        self.level3 = nn.Sequential(*(DepthwiseAsymmetric(128, d) for d in (4, 4, 8, 8, 16, 16)))
        self.head = convolution(259, classes)

    def forward(self, x):
        images = [halve(x)]
        for _ in range(2):
            images.append(halve(images[-1]))
        level1 = self.finish1(torch.cat([self.level1(x), images[0]], 1))
        down2 = self.down2(level1)
        level2 = self.finish2(torch.cat([self.level2(down2), down2, images[1]], 1))
        down3 = self.down3(level2)
        level3 = self.finish3(torch.cat([self.level3(down3), down3, images[2]], 1))
        return enlarge(self.head(level3), x.shape[2:])


# ---- DeepLabv3 --------------------------------------------------------------------------------------------------------------


class AtrousPyramidPooling(nn.Module):
    def __init__(self, channels_in, channels, dilations=(6, 12, 18)):
        super().__init__()
        self.branches = nn.ModuleList([convolution_norm(channels_in, channels, activation=nn.ReLU)] + [
            convolution_norm(channels_in, channels, 3, dilation=d, activation=nn.ReLU) for d in dilations])
        self.pooled = convolution_norm(channels_in, channels, activation=nn.ReLU)
        self.join = convolution_norm(5 * channels, channels, activation=nn.ReLU)

    def forward(self, x):
        pooled = enlarge(self.pooled(functional.adaptive_avg_pool2d(x, 1)), x.shape[2:])
        return self.join(torch.cat([branch(x) for branch in self.branches] + [pooled], 1))


class DeepLab(nn.Module):
    def __init__(self, classes=21):
        super().__init__()
        self.stem = stem()
        self.stages = nn.Sequential(stage(Bottleneck, 64, 256, 3, 1), stage(Bottleneck, 256, 512, 4, 2), stage(Bottleneck, 512, 1024, 6, 2),
                                    stage(Bottleneck, 1024, 2048, 3, 1, dilation=2))
        self.pyramid = AtrousPyramidPooling(2048, 256)
        self.head = nn.Sequential(convolution_norm(256, 256, 3, activation=nn.ReLU), convolution(256, classes, bias=True))

    def forward(self, x):
        y = self.stages(functional.max_pool2d(self.stem(x), 3, 2, 1))
        return enlarge(self.head(self.pyramid(y)), x.shape[2:])


# ---- U-Net of dilated inception modules -----------------------------------------------------------------------------------------


class DilatedInception(nn.Module):
    def __init__(self, channels_in, channels):
        super().__init__()
        part = channels // 3
        self.branches = nn.ModuleList(nn.Sequential(convolution_norm(channels_in, part, activation=nn.ReLU),
                                                    convolution_norm(part, part, 3, dilation=d, activation=nn.ReLU)) for d in (1, 2, 3))

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class InceptionUNet(nn.Module):
    def __init__(self, channels=4, classes=4, widths=(48, 96, 192, 384)):
        super().__init__()
        self.encoders = nn.ModuleList(nn.Sequential(DilatedInception(channels if i == 0 else widths[i - 1], w), DilatedInception(w, w))
                                      for i, w in enumerate(widths))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(widths[i + 1], widths[i], 2, 2) for i in reversed(range(len(widths) - 1)))
        self.decoders = nn.ModuleList(nn.Sequential(DilatedInception(2 * w, w), DilatedInception(w, w)) for w in reversed(widths[:-1]))
        self.head = convolution(widths[0], classes, bias=True)

    def forward(self, x):
        skips = []
        for i, encoder in enumerate(self.encoders):
            x = encoder(x if i == 0 else functional.max_pool2d(x, 2))
            skips.append(x)
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips[:-1])):
            x = decoder(torch.cat([up(x), skip], 1))
        return self.head(x)


# ---- export -----------------------------------------------------------------------------------------------------------------

# name: module, channels, height and width as published, height and width for tests
NETWORKS = {
    "espnet": (ESPNet, 3, (512, 1024), (64, 128)),
    "espnetv2": (ESPNetV2, 3, (224, 224), (64, 64)),
    "ce-net": (CENet, 3, (448, 448), (224, 224)),
    "cgnet": (CGNet, 3, (360, 480), (64, 96)),
    "dabnet": (DABNet, 3, (512, 1024), (64, 128)),
    "deeplab-aspp": (DeepLab, 3, (321, 321), (65, 65)),
    "inception-dilated": (InceptionUNet, 4, (240, 240), (48, 48)),
}


def build(name, size=None, seed=0):
    """(module in evaluation mode, example input)."""
    make, channels, published, _ = NETWORKS[name]
    generator = torch.Generator().manual_seed(seed)
    module = make()
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            weight = part.weight
            fan = weight[0].numel() if not isinstance(part, nn.ConvTranspose2d) else weight.shape[0] * weight[0, 0].numel() // 4
            with torch.no_grad():
                weight.copy_(torch.randn(weight.shape, generator=generator) * (2 / max(fan, 1)) ** 0.5)
                if part.bias is not None:
                    part.bias.copy_(0.1 * torch.randn(part.bias.shape, generator=generator))
        elif isinstance(part, nn.BatchNorm2d):
            part.momentum = None # the calibration's own mean and variance
            with torch.no_grad():
                part.weight.copy_(1 + 0.2 * torch.randn(part.weight.shape, generator=generator))
                part.bias.copy_(0.2 * torch.randn(part.bias.shape, generator=generator))
        elif isinstance(part, nn.PReLU):
            with torch.no_grad():
                part.weight.copy_(0.25 + 0.1 * torch.rand(part.weight.shape, generator=generator))
    small = [max(side // 2, 65) for side in (size or published)] if not size else size
    with torch.inference_mode():
        module.train()(torch.randn(2, channels, *small, generator=generator))
    return module.eval(), torch.randn(1, channels, *(size or published), generator=generator)


def export(name, path, size=None):
    module, x = build(name, size)
    partial = pathlib.Path(f"{path}.partial")
    torch.onnx.export(module, (x,), str(partial), opset_version=17, input_names=["image"], output_names=["out"], dynamo=False)
    partial.rename(path)


def export_all(folder):
    for name in NETWORKS:
        path = pathlib.Path(folder) / f"{name}.onnx"
        if not path.exists():
            export(name, path)
        yield name, path
