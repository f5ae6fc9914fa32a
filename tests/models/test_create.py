"""`mitral create` writes the networks that models/networks.py defines: names, values, parameter counts, outputs."""

import pathlib
import tempfile

import numpy as np
import onnx
import onnxruntime
import torch

import networks
from support import infer, main, run

CASES = {
    "dpu-net": (["dpu-net"], lambda: networks.DPUNet(), 511_716),
    "dpu-net ablated": (["dpu-net", "--merge", "concat", "--no-residual", "--dilations", "1,1,1,1", "--widths", "16,32,48,64,80",
                         "--classes", "3", "--channels", "2", "--size", "64"],
                        lambda: networks.DPUNet((16, 32, 48, 64, 80), ((1, 1, 1, 1),) * 5, "concat", False, 3, 2), None),
    "unet": (["unet"], lambda: networks.UNet(), 7_762_564),
}


def make(folder, name):
    arguments, module, count = CASES[name]
    path = pathlib.Path(folder) / "model.onnx"
    run("create", *arguments, "-o", path)
    return path, networks.initialise(module()).eval(), count


def test_parameters_are_equal_value_for_value():
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            path, module, count = make(folder, name)
            model = onnx.load(path)
            onnx.checker.check_model(model, full_check=True)
            written = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
            state = {k: v.numpy() for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
            missing = set(state) - set(written)
            assert not missing, f"{name}: missing {sorted(missing)[:3]}"
            for key, value in state.items():
                assert np.array_equal(written[key], value), f"{name}: {key} differs"
            if count:
                assert sum(p.numel() for p in module.parameters()) == count, name


def test_outputs_are_pytorch_and_onnx_runtime():
    """5e-5 of the output's range is what f32 engines differ by among themselves (float64 taken as the truth). Uncalibrated batch
    norms let these outputs reach hundreds, so ONNX Runtime too is compared by range."""
    generator = np.random.default_rng(0)
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            path, module, _ = make(folder, name)
            shape = [d.dim_value or 2 for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
            x = generator.standard_normal(shape).astype(np.float32)
            with torch.no_grad():
                want = module.double()(torch.from_numpy(x).double()).numpy()
            peer = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": x})[0]
            span = float(want.max() - want.min())
            for options in ([], ["--interpret"], ["--threads", "1"]):
                got = infer(path, {"image": x}, *options)["logits"]
                assert np.abs(got - want).max() <= 5e-5 * span, f"{name} {options}: {np.abs(got - want).max()} of {span}"
                assert np.abs(got - peer).max() <= 1e-4 * span, f"{name} {options}: {np.abs(got - peer).max()} of {span} from ONNX Runtime"


def test_plan_gives_the_same_bits():
    x = np.random.default_rng(1).standard_normal((1, 1, 224, 224)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path, _, _ = make(folder, "dpu-net")
        plan, again = pathlib.Path(folder) / "a.plan", pathlib.Path(folder) / "b.plan"
        for target in (plan, again):
            run("compile", path, "-o", target, "--shape", "image=1x1x224x224")
        assert plan.read_bytes() == again.read_bytes(), "two compilations differ"
        want = infer(path, {"image": x})["logits"]
        assert np.array_equal(infer(plan, {"image": x})["logits"], want), "plan and model differ"
        for threads in (1, 2, 3):
            assert np.array_equal(infer(plan, {"image": x}, "--threads", threads)["logits"], want), f"{threads} threads differ"


def test_wrong_options_are_refused():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "x.onnx"
        for options in (["--size", "100"], ["--widths", "30,64,96,128,160"], ["--classes", "1"]):
            message = run("create", "dpu-net", "-o", path, *options, code=1)
            assert "expected" in message and "found" in message, message
            assert not path.exists()


if __name__ == "__main__":
    main(globals())
