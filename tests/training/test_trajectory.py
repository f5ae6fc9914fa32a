"""The same weights and the same batches in mitral and in PyTorch: the losses of the first steps, the weights and the running
statistics after one.

Tolerance of the losses: 1e-3 relative over ten steps (the project's goal). Weights are compared after one update, to 1e-4 of a
tensor's largest element: there float32 differs from float64 by 2e-6. Later they say nothing: small biases behind ReLUs are chaotic, and
after three steps PyTorch's own float32 is 2e-2 from its float64. Small networks on small images keep it quick.
"""

import pathlib
import tempfile

import numpy as np
import onnx
import torch
from torch.nn import functional

import networks
from support import MITRAL, call, divergence, guide, has_amx, main, segmentation_loss, soft_dice, train_batches, unit_distance

WIDTHS, SIZE, BATCH, STEPS = (8, 16, 24, 32, 40), 48, 4, 10


def make_batches(seed=0, steps=STEPS):
    """Discs on noise: labels that can be learnt from the image."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    images, labels = [], []
    for _ in range(steps * BATCH):
        cy, cx, r = generator.uniform(15, 33), generator.uniform(15, 33), generator.uniform(8, 14)
        distance = np.hypot(y - cy, x - cx)
        label = np.select([distance < r * 0.4, distance < r * 0.7, distance < r], [3, 2, 1], 0)
        images.append(label + generator.normal(0, 0.5, (SIZE, SIZE)) - 0.6)
        labels.append(label)
    return (np.array(images, np.float32).reshape(steps, BATCH, 1, SIZE, SIZE),
            np.array(labels, np.uint8).reshape(steps, BATCH, SIZE, SIZE))


def create(folder, kind, name, seed=0):
    path = pathlib.Path(folder) / name
    call(MITRAL, "create", kind, "-o", path, "--widths", ",".join(map(str, WIDTHS)), "--size", SIZE, "--seed", seed)
    module = (networks.DPUNet if kind == "dpu-net" else networks.UNet)(WIDTHS)
    return path, networks.initialise(module, seed)


def groups(module, decay, extra=()):
    """Weight decay on convolutions' weights alone."""
    parameters = [*module.parameters(), *extra]
    return [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}]


def compare(reports, losses, name, tolerance=1e-3):
    for i, (report, loss) in enumerate(zip(reports, losses, strict=True)):
        assert abs(report["loss"] - loss) <= tolerance * abs(loss), f"{name}: step {i}: loss {report['loss']}, PyTorch {loss}"


def compare_state(path, module, name, tolerance):
    """Largest difference of each tensor over its largest element."""
    written = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
    for key, value in module.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        got, want = written[key], value.numpy()
        worst = np.abs(got - want).max() / max(np.abs(want).max(), 1e-3)
        assert worst <= tolerance, f"{name}: {key} differs by {worst:.3g} of its largest element"


def train(module, images, labels, optimizer, rates, bfloat16=False):
    module.train()
    losses = []
    for image, label, rate in zip(images, labels, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = module(torch.from_numpy(image))
        loss = segmentation_loss(logits.float(), torch.from_numpy(label))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_sgd():
    images, labels = make_batches()
    for kind in ("dpu-net", "unet"):
        with tempfile.TemporaryDirectory() as folder:
            path, module = create(folder, kind, "model.onnx")
            out = pathlib.Path(folder) / "out.onnx"
            reports = train_batches(images, labels, out, student=path, steps=STEPS, optimizer="sgd", lr=0.01, momentum=0.9,
                                    weight_decay=1e-4, schedule="poly", power=0.9)
            rates = [0.01 * (1 - i / STEPS) ** 0.9 for i in range(STEPS)]
            losses = train(module, images, labels, torch.optim.SGD(groups(module, 1e-4), lr=0.01, momentum=0.9), rates)
            compare(reports, losses, kind)
            assert losses[-1] < losses[0]
            path, module = create(folder, kind, "model.onnx")
            train_batches(images[:1], labels[:1], out, student=path, steps=STEPS, lr=0.01, weight_decay=1e-2)
            train(module, images[:1], labels[:1], torch.optim.SGD(groups(module, 1e-2), lr=0.01, momentum=0.9), [0.01])
            compare_state(out, module, kind, 1e-4)


def test_bfloat16():
    """PyTorch's own distance between float32 and autocast's bfloat16 over the first ten losses is what bfloat16 costs at all; mitral's products of
    rounded operands, whose sums and everything else stay float32, are measured by it. Twice: roundings elsewhere are another draw of the same size."""
    if not has_amx():
        return
    images, labels = make_batches(8)
    for kind in ("dpu-net", "unet"):
        with tempfile.TemporaryDirectory() as folder:
            path, _ = create(folder, kind, "model.onnx")
            theirs = {}
            for bfloat16 in (False, True):
                module = create(folder, kind, "model.onnx")[1]
                theirs[bfloat16] = np.array(train(module, images, labels, torch.optim.SGD(groups(module, 1e-4), lr=0.01, momentum=0.9), [0.01] * STEPS,
                                                  bfloat16))
            ours = {precision: np.array([report["loss"] for report in train_batches(
                images, labels, pathlib.Path(folder) / "out.onnx", student=path, steps=STEPS, lr=0.01, weight_decay=1e-4, schedule="constant",
                precision=precision)]) for precision in ("f32", "bf16")}
            allowed, found = (np.abs(losses / theirs[False] - 1).mean() for losses in (theirs[True], ours["bf16"]))
            assert found <= 2 * allowed, f"{kind}: losses in bfloat16 are {found:.2g} from PyTorch's float32, its own bfloat16 {allowed:.2g}"
            assert np.any(ours["bf16"] != ours["f32"]), f"{kind}: nothing was rounded"


def test_adamw_and_nesterov():
    images, labels = make_batches(1)
    with tempfile.TemporaryDirectory() as folder:
        path, module = create(folder, "dpu-net", "model.onnx", 1)
        out = pathlib.Path(folder) / "out.onnx"
        reports = train_batches(images, labels, out, student=path, steps=STEPS, optimizer="adamw", lr=0.001, weight_decay=0.05,
                                schedule="constant")
        losses = train(module, images, labels, torch.optim.AdamW(groups(module, 0.05), lr=0.001), [0.001] * STEPS)
        compare(reports, losses, "adamw")
        path, module = create(folder, "dpu-net", "model.onnx", 2)
        reports = train_batches(images, labels, out, student=path, steps=STEPS, optimizer="sgd", nesterov=True, lr=0.01, schedule="cosine")
        rates = [0.01 * 0.5 * (1 + np.cos(np.pi * i / STEPS)) for i in range(STEPS)]
        losses = train(module, images, labels, torch.optim.SGD(groups(module, 1e-4), lr=0.01, momentum=0.9, nesterov=True), rates)
        compare(reports, losses, "nesterov")


def test_running_statistics_are_pytorchs():
    """One step: the running variance is the unbiased one. 1e-4: sums of float32 in another order."""
    images, labels = make_batches(2, 1)
    with tempfile.TemporaryDirectory() as folder:
        path, module = create(folder, "dpu-net", "model.onnx")
        out = pathlib.Path(folder) / "out.onnx"
        train_batches(images, labels, out, student=path, steps=1, lr=0, momentum=0, weight_decay=0)
        module.train()
        module(torch.from_numpy(images[0]))
        compare_state(out, module, "statistics", 1e-4)


def test_frozen_norms():
    images, labels = make_batches(3, 3)
    with tempfile.TemporaryDirectory() as folder:
        path, module = create(folder, "dpu-net", "model.onnx")
        out = pathlib.Path(folder) / "out.onnx"
        reports = train_batches(images, labels, out, student=path, steps=3, lr=1e-5, momentum=0, schedule="constant", freeze_norm=True)
        module.eval()
        optimizer, losses = torch.optim.SGD(groups(module, 1e-4), lr=1e-5), []
        for image, label in zip(images, labels, strict=True):
            loss = segmentation_loss(module(torch.from_numpy(image)), torch.from_numpy(label))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        compare(reports, losses, "frozen")


def test_accumulation_and_clipping():
    images, labels = make_batches(4, 6)
    with tempfile.TemporaryDirectory() as folder:
        path, module = create(folder, "unet", "model.onnx")
        out = pathlib.Path(folder) / "out.onnx"
        reports = train_batches(images, labels, out, student=path, steps=3, lr=0.05, schedule="constant", accumulate=2, clip=0.5)
        module.train()
        optimizer, losses = torch.optim.SGD(groups(module, 1e-4), lr=0.05, momentum=0.9), []
        for i in range(3):
            optimizer.zero_grad()
            for k in range(2):
                loss = segmentation_loss(module(torch.from_numpy(images[2 * i + k])), torch.from_numpy(labels[2 * i + k]))
                (loss / 2).backward()
                losses.append(loss.item())
            norm = torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
            optimizer.step()
            found = reports[2 * i + 1]["norm"]
            # Rounding moves activations across the corners of ReLUs: in float64, weights changed by 6e-7 move the third norm by 3.6e-3.
            assert abs(found - norm.item()) <= 5e-3 * norm.item(), f"step {i}: norm {found}, PyTorch {norm.item()}"
        compare(reports, losses, "accumulation")


def test_low_memory():
    """What is computed again has the same bits: losses and weights are equal."""
    images, labels = make_batches(7, 3)
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("dpu-net", "unet"):
            path, _ = create(folder, kind, "model.onnx")
            runs = []
            for memory in ("normal", "low"):
                out = pathlib.Path(folder) / f"{memory}.onnx"
                runs.append((train_batches(images, labels, out, student=path, steps=3, lr=0.01, memory=memory), out.read_bytes()))
            assert runs[0] == runs[1], f"{kind}: --memory low changed the result"


def test_class_weights_and_mean_of_weights():
    """The mean starts at the first weights, as torch.optim.swa_utils has it from its first update on; running statistics are averaged too."""
    images, labels = make_batches(6, 4)
    weights = (0.3, 1.0, 2.0, 1.5)
    with tempfile.TemporaryDirectory() as folder:
        path, module = create(folder, "dpu-net", "model.onnx", 4)
        out = pathlib.Path(folder) / "out.onnx"
        reports = train_batches(images, labels, out, student=path, steps=4, lr=0.01, momentum=0, schedule="constant", ema=0.8,
                                class_weights=",".join(map(str, weights)))
        module.train()
        optimizer = torch.optim.SGD(groups(module, 1e-4), lr=0.01)
        mean = {key: value.clone() for key, value in module.state_dict().items()}
        losses = []
        for image, label in zip(images, labels, strict=True):
            logits, truth = module(torch.from_numpy(image)), torch.from_numpy(label).long()
            loss = functional.cross_entropy(logits, truth, torch.tensor(weights)) + soft_dice(torch.softmax(logits, 1), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            for key, value in module.state_dict().items():
                if value.is_floating_point():
                    mean[key].mul_(0.8).add_(value, alpha=0.2)
        compare(reports, losses, "class weights")
        module.load_state_dict(mean)
        compare_state(out, module, "mean of weights", 2e-2)  # as after some updates at the top; a mean left out would be tenths away


def test_deep_supervision():
    """The term and its gradients, through heads whose first weights mitral tells."""
    images, labels = make_batches(7, 4)
    with tempfile.TemporaryDirectory() as folder:
        path, module = create(folder, "dpu-net", "model.onnx", 6)
        out = pathlib.Path(folder) / "out.onnx"
        reports = train_batches(images, labels, out, student=path, steps=4, lr=0.01, schedule="constant", deep_supervision="dec2,dec1", deep_weight=0.6,
                                folder=folder)
        found, stages = activations(module, ["dec1", "dec2"]), ["dec1", "dec2"]
        heads = [[torch.nn.Parameter(torch.from_numpy(np.load(f"{folder}/deep{i}.{part}.npy"))) for part in ("weight", "bias")] for i in range(2)]
        optimizer = torch.optim.SGD(groups(module, 1e-4, sum(heads, [])), lr=0.01, momentum=0.9)
        module.train()
        losses = []
        for image, label, report in zip(images, labels, reports, strict=True):
            truth = torch.from_numpy(label)
            loss = segmentation_loss(module(torch.from_numpy(image)), truth)
            deep = 0
            for stage, head, part in zip(stages, heads, (2 / 3, 1 / 3), strict=True):
                logits = functional.interpolate(functional.conv2d(found[stage], *head), size=(SIZE, SIZE), mode="bilinear", align_corners=False)
                deep = deep + part * segmentation_loss(logits, truth)
            assert abs(report["deep"] - deep.item()) <= 1e-3 * deep.item(), f"{report['deep']}, PyTorch {deep.item()}"
            loss = loss + 0.6 * deep
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        compare(reports, losses, "deep supervision")
        assert not any("deep" in i.name for i in onnx.load(out).graph.initializer), "the heads were exported"


def activations(module, stages):
    """Outputs of the named submodules of the last forward."""
    found = {}
    for name in stages:
        getattr(module, name).register_forward_hook(lambda _m, _i, output, key=name: found.__setitem__(key, output))
    return found


def feature_loss(method, student, teacher):
    if method == "fitnet":
        return {"fitnet": functional.mse_loss(student, teacher)}
    if method == "cwd":
        return {"cwd": divergence(student, teacher, 4.0, True)}
    if method == "at":
        return {"at": unit_distance((student ** 2).sum(1), (teacher ** 2).sum(1))}
    return {"vector": unit_distance(student.mean((2, 3)), teacher.mean((2, 3))),
            "map": divergence(student, teacher, 4.0, True, guide(teacher, 1.0))}


def test_distillation():
    """Every method against the same loss in PyTorch, adapters trained along."""
    images, labels = make_batches(5, 5)
    stages = ["enc4", "dec3", "dec2", "dec1", "dec0"]
    for method in ("logits", "fitnet", "cwd", "at", "mavkd"):
        with tempfile.TemporaryDirectory() as folder:
            path, student = create(folder, "dpu-net", "student.onnx")
            teacher_path, teacher = create(folder, "unet", "teacher.onnx", 9)
            teacher.eval()
            out = pathlib.Path(folder) / "out.onnx"
            reports = train_batches(images, labels, out, student=path, teacher=teacher_path, method=method, steps=5, lr=0.01, schedule="constant",
                                    folder=folder)
            ours, theirs = activations(student, stages), activations(teacher, stages)
            adapters = [[torch.nn.Parameter(torch.from_numpy(np.load(f"{folder}/adapter{i}.{part}.npy"))) for part in ("weight", "bias")]
                        for i in range(5)] if method in ("fitnet", "cwd", "mavkd") else []
            optimizer = torch.optim.SGD(groups(student, 1e-4, sum(adapters, [])), lr=0.01, momentum=0.9)
            student.train()
            for image, label, report in zip(images, labels, reports, strict=True):
                x = torch.from_numpy(image)
                with torch.no_grad():
                    teacher_logits = teacher(x)
                logits = student(x)
                loss = segmentation_loss(logits, torch.from_numpy(label)) + 0.1 * divergence(logits, teacher_logits, 4.0)
                terms = {}
                for i, stage in enumerate(stages if method != "logits" else []):
                    adapted = functional.conv2d(ours[stage], *adapters[i]) if adapters else ours[stage]
                    for key, value in feature_loss(method, adapted, theirs[stage]).items():
                        terms[key] = terms.get(key, 0) + value / len(stages)
                loss = loss + sum(terms.values())
                for key, value in terms.items():
                    assert abs(report[key] - value.item()) <= 2e-3 * abs(value.item()) + 1e-6, \
                        f"{method}: step {report['step']}: {key} {report[key]}, PyTorch {value.item()}"
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                assert abs(report["loss"] - loss.item()) <= 1e-3 * loss.item(), \
                    f"{method}: step {report['step']}: loss {report['loss']}, PyTorch {loss.item()}"
            names = {i.name for i in onnx.load(out).graph.initializer}
            assert not any("adapter" in name for name in names), f"{method}: the adapters were exported"


if __name__ == "__main__":
    main(globals())
