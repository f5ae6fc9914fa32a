"""The network in models/ segments a phantom that it has never seen, as its card says. Its mean Dice on plain phantoms is 0.93; 0.85 leaves
room for a patient who is harder than most."""

import json
import pathlib
import tempfile

import nibabel
import numpy as np

import support

MODEL = pathlib.Path(__file__).resolve().parents[2] / "models/dpu-net-phantom.onnx"


def test_pretrained():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        support.call(support.MITRAL, "phantom", folder / "data", "--patients", 6, "--seed", 77, "--no-cine")
        scan = next((folder / "data/testing").glob("*/*_frame01.nii.gz"))
        support.call(support.MITRAL, "segment", MODEL, scan, "-o", folder / "mask.nii.gz", "--overlay", folder / "picture.png")
        mask, image = nibabel.load(folder / "mask.nii.gz"), nibabel.load(scan)
        assert mask.shape == image.shape and np.allclose(mask.affine, image.affine)
        assert set(np.unique(np.asarray(mask.dataobj))) == {0, 1, 2, 3} and (folder / "picture.png").stat().st_size > 1000
        support.call(support.MITRAL, "evaluate", MODEL, "--data", folder / "data", "--json", folder / "evaluation.json")
        evaluation = json.loads((folder / "evaluation.json").read_text())
        assert evaluation["mean_dice"] > 0.85, evaluation["mean_dice"]


support.main(globals())
