"""One SGD step of MONAI's segmentation networks, in two and three dimensions, beside PyTorch's own step on the same batch.

Exported as people export for training: TorchScript's exporter in training mode, with and without constant folding, and the newer exporter
(dynamo) for one network (it folds batch normalization away, which then cannot be trained). Dropout is off, weights are random everywhere, so
that each one is found again in the file by its values where the exporter gave it a name and a shape of its own.

Tolerances: loss and weights within 1e-3 relative, as the goal is. The learning rate is so large that the step shows in every weight, and the
step itself (new weight less old) has to agree within 5e-3 of its largest element, and what float32 resolves, with the step that PyTorch makes
in float64: its own float32 gradients are off by more where instance normalization sees few elements, as in SwinUNETR. Most agree within 1e-5;
the room is for elements that fall on the other side of an activation's kink in float32.
"""

import copy
import pathlib
import tempfile
import warnings

import numpy as np
import onnx
import torch
from monai.networks import nets
from onnx import numpy_helper

from support import MITRAL, call, main, segmentation_loss, train_batches

RATE = 1.0
CLASSES = 4


def networks(dimensions):
    """(name, network, batch, size): small ones, in the forms that people train."""
    size = (32,) * 2 if dimensions == 2 else (16,) * 3
    kernels = [3, 3, 3]
    yield "unet", nets.UNet(dimensions, 1, CLASSES, channels=(4, 8, 16), strides=(2, 2), num_res_units=2), 2, size
    yield "segresnet", nets.SegResNet(dimensions, init_filters=8, in_channels=1, out_channels=CLASSES, blocks_down=(1, 2, 2), blocks_up=(1, 1)), 2, size
    yield "dynunet", nets.DynUNet(dimensions, 1, CLASSES, kernels, [1, 2, 2], [2, 2], filters=[4, 8, 16]), 2, size
    yield "dynunet_residual", nets.DynUNet(dimensions, 1, CLASSES, kernels, [1, 2, 2], [2, 2], filters=[4, 8, 16], res_block=True), 2, size
    yield "attention_unet", nets.AttentionUnet(dimensions, 1, CLASSES, channels=(4, 8, 16), strides=(2, 2)), 2, size
    yield "unetr", nets.UNETR(1, CLASSES, size, feature_size=4, hidden_size=24, mlp_dim=48, num_heads=4, spatial_dims=dimensions), 2, size
    # Its coarsest map is 1/32 of the image; instance normalization of two elements would be all rounding.
    yield "swin_unetr", nets.SwinUNETR(1, CLASSES, feature_size=12, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), spatial_dims=dimensions), 1, \
        (64, 64, 32)[:dimensions]


def prepare(network):
    network.train()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    for module in network.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):  # pylint: disable=protected-access
            module.p = 0.0


def export(network, x, path, fold=False, dynamo=False):
    network = copy.deepcopy(network)  # exporting runs it, which moves running statistics
    if dynamo:
        torch.onnx.export(network, (x,), path, dynamo=True, input_names=["x"], output_names=["y"], verbose=False)
    else:
        torch.onnx.export(network, (x,), path, dynamo=False, input_names=["x"], output_names=["y"], opset_version=17,
                          training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=fold)


def initializers(path):
    return {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}


def find(name, value, before):
    """The initializer that holds a parameter, and how to read it as one."""
    if name in before:
        return name, lambda found: found
    for other, found in before.items():
        if found.size == value.size and np.array_equal(found.ravel(), value.ravel()):
            return other, lambda found: found.reshape(value.shape)
        if found.ndim == 2 and found.T.shape == value.shape and np.array_equal(found.T, value):
            return other, lambda found: found.T
    return None, None


def pytorch_step(network, x, labels):
    """The parameters after a step (None: of a part that this form of the network does not use), and the loss before it."""
    network = copy.deepcopy(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    loss = segmentation_loss(network(x), labels)
    loss.backward()
    optimizer.step()
    return {n: None if p.grad is None else p.detach().numpy() for n, p in network.named_parameters()}, loss.item()


def check(what, network, batch, size, **options):
    x, labels = torch.randn(batch, 1, *size), torch.randint(0, CLASSES, (batch, *size))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        export(network, x, folder / "student.onnx", **options)
        before = {n: p.detach().numpy().copy() for n, p in network.named_parameters()}
        theirs, loss = pytorch_step(network, x, labels)
        exact, _ = pytorch_step(copy.deepcopy(network).double(), x.double(), labels)
        reports = train_batches(x[None].numpy(), labels[None].numpy().astype(np.uint8), folder / "trained.onnx", student=folder / "student.onnx",
                                method="none", optimizer="sgd", lr=RATE, momentum=0, weight_decay=0, schedule="constant", clip=0)
        first, last = initializers(folder / "student.onnx"), initializers(folder / "trained.onnx")
    assert abs(reports[0]["loss"] - loss) <= 1e-3 * abs(loss), f"{what}: loss {reports[0]['loss']}, expected {loss}"
    for name, want in theirs.items():
        if want is None:
            continue
        found, read = find(name, before[name], first)
        assert found, f"{what}: no initializer holds {name}"
        got = read(last[found])
        worst = np.abs(got - want).max() / np.abs(want).max()
        assert worst <= 1e-3, f"{what}: {name} is off by {worst:.2g} relative after the step"
        step, off = np.abs(exact[name] - before[name]).max(), np.abs(got - exact[name]).max()
        # What rounding leaves of a gradient that is zero but for it (a bias before a normalization) goes with the rate.
        assert off <= 5e-3 * step + 2e-6 * RATE + 2e-7 * np.abs(got).max(), f"{what}: the step of {name} is off by {off:.2g} of {step:.2g}"


def all_networks(dimensions):
    warnings.simplefilter("ignore")
    torch.manual_seed(1)
    torch.set_num_threads(1)
    for name, network, batch, size in networks(dimensions):
        prepare(network)
        for fold in (False, True):
            check(f"{name} in {dimensions}D, {'folded' if fold else 'unfolded'}", network, batch, size, fold=fold)
            print(f"  {name} in {dimensions}D, {'folded' if fold else 'unfolded'}", flush=True)


def test_networks_of_slices():
    all_networks(2)


def test_networks_of_volumes():
    all_networks(3)


def test_the_newer_exporter():
    warnings.simplefilter("ignore")
    torch.manual_seed(1)
    name, network, batch, size = next(networks(2))
    prepare(network)
    check(f"{name}, dynamo", network, batch, size, dynamo=True)


def test_commands_that_read_slices_refuse_volumes():
    warnings.simplefilter("ignore")
    _, network, batch, size = next(networks(3))
    with tempfile.TemporaryDirectory() as folder:
        export(network.train(), torch.randn(batch, 1, *size), f"{folder}/student.onnx")
        message = call(MITRAL, "train", "--model", f"{folder}/student.onnx", "--data", folder, "--batch", batch, "--checkpoint", f"{folder}/run",
                       "-o", f"{folder}/out.onnx", code=2)
    assert "expected a network of slices" in message and message.count("\n") <= 1, message


if __name__ == "__main__":
    main(globals())
