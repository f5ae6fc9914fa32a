"""Networks and data as others make them: classes without names or of other numbers, initializers that an exporter wrote once for several
weights, and updates that spoil the weights although the loss was a number."""

import json
import warnings

import nibabel
import numpy as np
import onnx
import onnxruntime
import torch

from support import MITRAL, Folder, call, main

FOLDER = Folder()
warnings.filterwarnings("ignore")
nn = torch.nn


def export(module, name, fold=True, symbolic=True):
    """As torch.onnx.export does by default, or as docs/training.md says (`fold` false)."""
    modes = torch.onnx.TrainingMode
    torch.onnx.export(module.train(not fold), torch.zeros(2, 1, 64, 64), FOLDER / name, dynamo=False, input_names=["image"], output_names=["logits"],
                      training=modes.EVAL if fold else modes.TRAINING, do_constant_folding=fold,
                      dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}} if symbolic else None)
    return FOLDER / name


def labels_of(path):
    return {p.key: p.value for p in onnx.load(path).metadata_props}.get("mitral.labels")


def set_labels(path, labels):
    model = onnx.load(path)
    kept = [p for p in model.metadata_props if p.key != "mitral.labels"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    if labels:
        model.metadata_props.add(key="mitral.labels", value=labels)
    onnx.save(model, path)
    return path


def make_data(name, labels):
    """Three patients with concentric discs, a class each."""
    folder, generator, cases = FOLDER / name, np.random.default_rng(0), []
    folder.mkdir()
    y, x = np.mgrid[:50, :44]
    truth = sum((np.hypot(y - 25, x - 22) < 16 / k).astype(np.uint8) for k in range(1, len(labels)))[:, :, None].repeat(2, 2)
    for i in range(3):
        image = (truth * 50 + generator.normal(0, 10, truth.shape)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(image, np.diag([1.4, 1.4, 8, 1])), folder / f"{i}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(truth, np.diag([1.4, 1.4, 8, 1])), folder / f"{i}_gt.nii.gz")
        cases.append({"image": f"{i}.nii.gz", "label": f"{i}_gt.nii.gz", "patient": str(i)})
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "training": cases, "testing": cases}), encoding="utf-8")
    return folder


def train(model, data, name, *options, code=0):
    return call(MITRAL, "train", "--model", model, "--data", data, "--batch", 2, "--steps", 2, "-o", FOLDER / name, *options, code=code)


def test_networks_that_name_no_classes():
    """They have as many as outputs, and take the data's names."""
    for classes in (2, 3, 5):
        path = export(nn.Sequential(nn.Conv2d(1, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, classes, 1)), f"{classes}.onnx")
        data = make_data(f"data{classes}", ["tissue", 'the "core"', "rim", "vessel", "bone"][:classes])
        train(path, data, "named.onnx", "--checkpoint", FOLDER / f"run{classes}")
        assert labels_of(FOLDER / "named.onnx") == ",".join(json.loads((data / "dataset.json").read_text())["labels"])
        logged = [json.loads(line) for line in (FOLDER / f"run{classes}/log.jsonl").read_text().splitlines()]
        assert any('the "core"' in line.get("dice_by_class", {}) for line in logged), logged
        call(MITRAL, "report", FOLDER / f"run{classes}", "-o", FOLDER / "report.html")
    error = train(FOLDER / "3.onnx", FOLDER / "data5", "never.onnx", code=1)
    assert "3 classes" in error and "found 5" in error, error
    # Names that the metadata give stay, and so do the default's four where the data have them, in whatever order.
    data = make_data("four", ["background", "LV", "myocardium", "RV"])
    path = export(nn.Conv2d(1, 4, 3, 1, 1), "4.onnx")
    train(path, data, "four.onnx")
    assert labels_of(FOLDER / "four.onnx") == "background,RV,myocardium,LV"
    train(set_labels(path, "a,b,c,d"), data, "four.onnx")
    assert labels_of(FOLDER / "four.onnx") == "a,b,c,d"
    set_labels(path, "a,b,c")
    error = train(path, data, "never.onnx", code=1)
    assert "metadata name (3)" in error and "4 outputs" in error, error


def test_teacher_whose_classes_are_in_another_order():
    teacher = FOLDER / "ordered.onnx"
    teacher.write_bytes((FOLDER / "teacher.onnx").read_bytes())
    base = ["distill", "--teacher", teacher, "--student", FOLDER / "student.onnx", "--data", FOLDER / "data", "--batch", 2, "--steps", 1, "-o",
            FOLDER / "ordered_out.onnx"]
    set_labels(teacher, "background,LV,myocardium,RV")
    error = call(MITRAL, *base, code=1)
    assert "'LV' in" in error and "'RV' in" in error and not (FOLDER / "ordered_out.onnx").exists(), error
    for labels in ("background,RV,myocardium,LV", "none,right,muscle,left", None):
        set_labels(teacher, labels)
        call(MITRAL, *base)


def test_initializers_that_an_exporter_wrote_once():
    """In a fresh network scale and variance of a norm are equal; PyTorch's exporter writes one and an Identity of it."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 8, 2, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))
    path = export(module, "once.onnx")
    assert any(n.op_type == "Identity" for n in onnx.load(path).graph.node), "the exporter has changed: this test tests nothing"
    data = make_data("once", ["background", "a", "b", "c"])
    train(path, data, "once_trained.onnx")

    # The same file with every node reading one initializer, as optimisers leave it; and with none shared, which is what both mean.
    model = onnx.load(path)
    names = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Identity"}
    nodes = [n for n in model.graph.node if n.op_type != "Identity"]
    for node in nodes:
        node.input[:] = [names.get(i, i) for i in node.input]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, FOLDER / "shared.onnx")
    model = onnx.load(path)
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type != "Identity"]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(arrays[first], name) for name, first in names.items())
    onnx.save(model, FOLDER / "separate.onnx")

    image = np.random.default_rng(0).normal(size=(2, 1, 64, 64)).astype(np.float32)
    found = []
    for name in ("once", "shared", "separate"):
        train(FOLDER / f"{name}.onnx", data, f"{name}_trained.onnx")
        written = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(FOLDER / f"{name}_trained.onnx").graph.initializer}
        norm = next(n for n in onnx.load(FOLDER / f"{name}_trained.onnx").graph.node if n.op_type == "BatchNormalization")
        found.append([written[i] for i in norm.input[1:]])
        session = onnxruntime.InferenceSession(FOLDER / f"{name}_trained.onnx", providers=["CPUExecutionProvider"])
        found[-1].append(session.run(None, {"image": image})[0])
        assert np.abs(found[-1][0] - found[-1][3]).max() > 1e-3, f"{name}: scale and variance are still one"
    assert {"3.running_mean", "3.running_var"} <= {i.name for i in onnx.load(FOLDER / "once_trained.onnx").graph.initializer}
    for other in found[:2]:
        for got, want in zip(other, found[2], strict=True):
            assert np.array_equal(got, want), "trained otherwise than initializers of their own"


def test_a_branch_that_shapes_decide():
    """PyTorch's exporter writes an If where it does not know whether there is anything to squeeze: trained as the branch that is taken."""
    module = nn.Sequential(nn.Conv2d(1, 4, 3, 1, 1), nn.LocalResponseNorm(3), nn.Conv2d(4, 4, 1))
    for symbolic in (False, True):
        path = export(module, "squeezing.onnx", False, symbolic)
        assert any(n.op_type == "If" for n in onnx.load(path).graph.node), "the exporter has changed: this test tests nothing"
        call(MITRAL, "optimize", path, "-o", FOLDER / "squeezed.onnx")
        assert not any(n.op_type == "If" for n in onnx.load(FOLDER / "squeezed.onnx").graph.node)
        found = []
        for source in (path, FOLDER / "squeezed.onnx"):
            train(source, FOLDER / "data", "squeezed_trained.onnx")
            found.append({i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(FOLDER / "squeezed_trained.onnx").graph.initializer})
        before = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
        for name in ("0.weight", "0.bias", "2.weight", "2.bias"):
            assert np.array_equal(found[0][name], found[1][name]) and not np.array_equal(found[0][name], before[name]), name


def test_a_branch_that_values_decide():
    """Of another rank than the other one: refused where the trail of shapes breaks off, also where a Reshape picks it up again."""
    helper, weights = onnx.helper, np.ones((4, 1, 3, 3), np.float32)

    def branch(operator, inputs, output):
        return helper.make_graph([helper.make_node(operator, inputs, [output])], output, [],
                                 [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)])

    constants = {"weights": weights, "zero": np.float32(0), "axes": np.array([0]), "shape": np.array([1, 4, 16, 16])}
    nodes = [helper.make_node("Conv", ["image", "weights"], ["scores"], pads=[1] * 4), helper.make_node("ReduceMean", ["scores"], ["mean"], keepdims=0),
             helper.make_node("Greater", ["mean", "zero"], ["positive"]),
             helper.make_node("If", ["positive"], ["chosen"], name="choose", then_branch=branch("Identity", ["scores"], "whole"),
                              else_branch=branch("Squeeze", ["scores", "axes"], "squeezed"))]
    for output, shape in (("chosen", None), ("shaped", [1, 4, 16, 16])):
        if shape:
            nodes.append(helper.make_node("Reshape", ["chosen", "shape"], ["shaped"]))
        graph = helper.make_graph(nodes, "choosing", [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 1, 16, 16])],
                                  [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, shape)],
                                  [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), FOLDER / "choosing.onnx")
        message = call(MITRAL, "bench", FOLDER / "choosing.onnx", "--train", "--batch", "1", code=2)
        assert "If 'choose': expected an output of known shape, to be differentiated, found none" in message, message


def test_weights_that_are_no_numbers_are_not_kept():
    """The update of a finite loss may overflow: neither written nor called the last good checkpoint."""
    spoil = ["--lr", 1e38, "--weight-decay", 1e6, "--schedule", "constant", "--method", "none"]
    for index, options in enumerate((["--validation", 0], [], ["--checkpoint-every", 1])):
        run, out = FOLDER / f"spoilt{index}", FOLDER / "spoilt.onnx"
        error = FOLDER.distill("--steps", 1 + index, *spoil, *options, "--checkpoint", run, "-o", out, code=1)
        last = error.strip().splitlines()[-1]
        assert "step 1" in last and "finite weights" in last and "no checkpoint was kept" in last, last
        assert not out.exists() and not (run / "checkpoint.bin").exists() and not (run / "best.bin").exists()
    error = FOLDER.distill("--steps", 1, *spoil, "--validation", 0, "-o", FOLDER / "spoilt.onnx", code=1)
    assert "finite weights" in error and not (FOLDER / "spoilt.onnx").exists(), error
    # Finite weights whose scores are not: seen in the validation.
    error = FOLDER.distill("--steps", 1, "--lr", 1e38, "--schedule", "constant", "--method", "none", "-o", FOLDER / "spoilt.onnx", code=1)
    assert "step 1, validation" in error and "NaN" in error and not (FOLDER / "spoilt.onnx").exists(), error


def test_options_that_mean_nothing():
    cases = {("--method", "none|logits"): "found 'none|logits'",
             ("--steps", "1e13"): "from 1 to 1000000000000, found '1e13'",
             ("--optimizer", "adam", "--beta1", 1): "beta1: expected a number below 1",
             ("--optimizer", "adamw", "--beta2", 1): "beta2: expected a number below 1",
             ("--deep-supervision", "nowhere"): "deep-supervision: expected the name",
             ("--log", FOLDER / "nowhere/log.jsonl"): "expected a log that can be written"}
    for options, fact in cases.items():
        error = FOLDER.distill("--steps", 1, "-o", FOLDER / "never.onnx", *options, code=1)
        assert fact in error.strip().splitlines()[-1], error
        assert not (FOLDER / "never.onnx").exists()
    for key, value in (("output", 3), ("taps", [1, 2]), ("data", True)):
        (FOLDER / "types.json").write_text(json.dumps({key: value}))
        error = FOLDER.distill("--steps", 1, "-o", FOLDER / "never.onnx", "--config", FOLDER / "types.json", code=1)
        assert f"types.json: {key}: expected a text" in error, error
    error = FOLDER.distill("--steps", 1, "-o", FOLDER / "never.json", code=1)
    assert "the configuration beside it" in error and not (FOLDER / "never.json").exists(), error


if __name__ == "__main__":
    main(globals())
