"""--tune times candidates and stores the choice: the plan computes the same, and says what it chose. Without it the same model gives the
same bytes. --pin changes nothing but where threads run."""

import pathlib
import tempfile

import numpy as np

import networks
from support import infer, main, run
from test_exporters import calibrated, export
from test_implementations import steps_of


def test_tune():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        export(calibrated(networks.UNet()), folder / "model.onnx", False, 32)
        x = np.random.default_rng(0).standard_normal((1, 1, 32, 32)).astype(np.float32)
        shape = ["--shape", "image=1x1x32x32"]
        for name, options in (("a", []), ("b", []), ("tuned", ["--tune"])):
            run("compile", folder / "model.onnx", "-o", folder / f"{name}.plan", "--threads", "2", *shape, *options)
        assert (folder / "a.plan").read_bytes() == (folder / "b.plan").read_bytes()
        plain, tuned = steps_of(folder / "a.plan"), steps_of(folder / "tuned.plan")
        # Of a plan that is tuned all concatenations are made: their reader may turn out to be oneDNN's.
        made = [[step["node"] for step in steps if step["kernel"] == "channels.concat"] for steps in (plain, tuned)]
        assert set(made[0]) <= set(made[1]), made
        plain, tuned = [[step for step in steps if step["kernel"] != "channels.concat"] for steps in (plain, tuned)]
        assert [step["node"] for step in plain] == [step["node"] for step in tuned]
        taken = {"planar.convolution", "onednn.convolution"}
        changed = [(a["kernel"], b["kernel"]) for a, b in zip(plain, tuned) if a["kernel"] != b["kernel"]]
        assert all(set(pair) == taken for pair in changed), changed
        want = infer(folder / "a.plan", {"image": x})["logits"]
        # Winograd's products and direct sums: each a few roundings off, of the output's range.
        for options in ([], ["--pin", "--threads", "2"], ["--pin", "--threads", "5"]):
            got = infer(folder / "tuned.plan", {"image": x}, *options)["logits"]
            assert float(np.abs(got - want).max() / (want.max() - want.min())) <= 1e-4
        assert np.array_equal(infer(folder / "a.plan", {"image": x}, "--pin")["logits"], want)


def test_without_shapes():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        export(calibrated(networks.DPUNet()), folder / "model.onnx", False, 32)
        run("compile", folder / "model.onnx", "-o", folder / "model.plan", "--tune")
        assert steps_of(folder / "model.plan")


if __name__ == "__main__":
    main(globals())
