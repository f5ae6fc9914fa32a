"""mitral segment and mitral evaluate with a network that can be worked out by hand, against the same in NumPy."""

import csv
import json
import pathlib
import subprocess
import tempfile

import nibabel
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import support

# Scores of the four classes as lines over the intensity: their upper envelope cuts it at -0.2, 0.9 and 1.6.
SLOPES, OFFSETS = np.float32([0, 4, 2, 5]), np.float32([0, -1.4, 0.4, -3.0])


def network(path, metadata=(), batch="N", size=(96, 96), channels=1, stride=1, slopes=SLOPES):
    """A 1 x 1 convolution; with a stride, its output is coarser than its input."""
    weight = np.zeros((4, channels, 1, 1), np.float32)
    weight[:, 0, 0, 0] = slopes
    node = helper.make_node("Conv", ["image", "w", "b"], ["scores"], strides=[stride, stride])
    out = [size[0] // stride if isinstance(size[0], int) else "h", size[1] // stride if isinstance(size[1], int) else "w2"]
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, channels, *size])],
                              [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 4, *out])],
                              [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(OFFSETS, "b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)


def interpolate(image, columns, rows):
    """image[y, x] at all pairs of rows and columns, linear; NaN outside."""
    height, width = image.shape
    inside = ((rows >= -0.5) & (rows <= height - 0.5))[:, None] & ((columns >= -0.5) & (columns <= width - 0.5))[None]
    x, y = np.clip(columns, 0, width - 1), np.clip(rows, 0, height - 1)
    x0, y0 = x.astype(int), y.astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    u, v = (x - x0)[None], (y - y0)[:, None]
    top = image[y0][:, x0] * (1 - u) + image[y0][:, x1] * u
    bottom = image[y1][:, x0] * (1 - u) + image[y1][:, x1] * u
    return np.where(inside, top * (1 - v) + bottom * v, np.nan)


def centres(count, size, step):
    return (np.arange(count) - (count - 1) / 2) * step + (size - 1) / 2


def segment(volume, spacing, target=1.37, size=(96, 96), normalise=True):
    """The same by NumPy: labels [x, y, z] and how sure each is (the margin of the best probability)."""
    mean, deviation = volume.mean(), volume.std()
    labels, margins = np.zeros(volume.shape, np.uint8), np.zeros(volume.shape)
    step = (target / spacing[0], target / spacing[1]) if target else (1, 1)
    for z in range(volume.shape[2]):
        image = volume[:, :, z].T.astype(np.float64)
        height, width = image.shape
        seen = interpolate(image, centres(size[1], width, step[0]), centres(size[0], height, step[1]))
        seen = np.nan_to_num((seen - mean) / deviation if normalise else seen)
        scores = seen[None] * SLOPES[:, None, None] + OFFSETS[:, None, None]
        scores = np.exp(scores - scores.max(0))
        scores /= scores.sum(0)
        columns, rows = centres(width, size[1], 1 / step[0]), centres(height, size[0], 1 / step[1])
        back = np.stack([interpolate(p, columns, rows) for p in scores])
        outside = np.isnan(back[0])
        back = np.nan_to_num(back)
        labels[:, :, z] = np.where(outside, 0, back.argmax(0)).T
        ordered = np.sort(back, 0)
        margins[:, :, z] = np.where(outside, 1, ordered[-1] - ordered[-2]).T
    return labels, margins


def mitral(command, *arguments, code=0):
    """One thread: the networks are tiny, and tests share the machine."""
    return support.call(support.MITRAL, command, *arguments, "--threads", 1, code=code)


def phantom(folder, *options):
    mitral("phantom", folder, "--no-cine", "--seed", 4, *options)


def scan_of(folder):
    return sorted(path for path in folder.glob("training/*/*_frame*.nii.gz") if "_gt" not in path.name)[0]


def compare(scan, mask, **options):
    source, result = nibabel.load(scan), nibabel.load(mask)
    assert result.shape == source.shape and np.allclose(result.affine, source.affine, atol=1e-4)
    assert result.get_data_dtype() == np.uint8
    expected, margins = segment(np.asarray(source.dataobj), source.header.get_zooms(), **options)
    got = np.asarray(result.dataobj)
    # float32 against float64: only where two classes are as good as equal may they differ.
    wrong = (got != expected) & (margins > 1e-4)
    assert not wrong.any(), f"{wrong.sum()} voxels"
    assert len(np.unique(got)) == 4


def test_segment_matches_numpy():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        phantom(folder / "p", "--patients", 1)
        scan, mask = scan_of(folder / "p"), folder / "mask.nii.gz"
        kinds = [({}, {}, {}),
                 ({}, {"batch": 1, "size": (80, 112)}, {"size": (80, 112)}),
                 ({"mitral.spacing": "2,1.25", "mitral.input_size": "64,72"}, {"size": ("h0", "w0")}, None),
                 ({"mitral.spacing": "native", "mitral.input_size": "300,300"}, {"size": ("h0", "w0")},
                  {"target": 0, "size": (300, 300)}),
                 ({}, {"channels": 3}, {})]
        for metadata, shape, options in kinds:
            network(folder / "net.onnx", metadata, **shape)
            mitral("segment", folder / "net.onnx", scan, "-o", mask, "--keep-islands")
            if options is not None:
                compare(scan, mask, **options)
            support.call(support.MITRAL, "compile", folder / "net.onnx", "-o", folder / "net.plan")
            mitral("segment", folder / "net.plan", scan, "-o", folder / "plan.nii.gz", "--keep-islands")
            assert mask.read_bytes() == (folder / "plan.nii.gz").read_bytes()


def test_coarse_output_spans_the_same_field():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        phantom(folder / "p", "--patients", 1)
        scan = scan_of(folder / "p")
        labels = []
        for stride in (1, 2):
            network(folder / "net.onnx", stride=stride, size=(160, 160))
            mitral("segment", folder / "net.onnx", scan, "-o", folder / "m.nii", "--keep-islands")
            labels.append(np.asarray(nibabel.load(folder / "m.nii").dataobj) > 0)
        dice = 2 * (labels[0] & labels[1]).sum() / (labels[0].sum() + labels[1].sum())
        assert dice > 0.85, dice  # half a pixel of shift and half the resolution, not another field of view


def test_largest_component_and_overlay_and_4d():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        phantom(folder / "p", "--patients", 1)
        scan = scan_of(folder / "p")
        network(folder / "net.onnx")
        call = ["segment", folder / "net.onnx"]
        mitral(*call, scan, "-o", folder / "one.nii", "--overlay", folder / "one.png")
        mitral(*call, scan, "-o", folder / "all.nii", "--keep-islands")
        one, everything = (np.asarray(nibabel.load(folder / f"{name}.nii").dataobj) for name in ("one", "all"))
        for label in (1, 2, 3):
            assert 0 < (one == label).sum() <= (everything == label).sum()
            assert ((one != label) | (everything == label)).all()
        assert (one > 0).sum() < (everything > 0).sum()
        assert (folder / "one.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        # Two frames: each is segmented as if it were alone.
        image = nibabel.load(scan)
        data = np.asarray(image.dataobj)
        nibabel.Nifti1Image(np.stack([data, data[::-1]], -1), image.affine).to_filename(folder / "cine.nii")
        mitral(*call, folder / "cine.nii", "-o", folder / "cine_mask.nii")
        mitral(*call, folder / "cine.nii", "-o", folder / "frame_mask.nii", "--frame", 2)
        cine = np.asarray(nibabel.load(folder / "cine_mask.nii").dataobj)
        assert cine.shape == (*data.shape, 2) and np.array_equal(cine[..., 0], one)
        assert np.array_equal(np.asarray(nibabel.load(folder / "frame_mask.nii").dataobj), cine[..., 1])


def check_case(case, folder, root, rows):
    """One volume of the JSON against mitral segment and NumPy."""
    patient = case["patient"]
    info = dict(line.split(": ") for line in (root / patient / "Info.cfg").read_text().split("\n") if line)
    assert case["group"] == info["Group"]
    name = f"{patient}_frame{int(info[case['phase']]):02d}"
    mitral("segment", folder / "net.onnx", root / patient / f"{name}.nii.gz", "-o", folder / "m.nii")
    prediction = np.asarray(nibabel.load(folder / "m.nii").dataobj)
    truth = nibabel.load(root / patient / f"{name}_gt.nii.gz")
    reference, spacing = np.asarray(truth.dataobj), np.array(truth.header.get_zooms(), np.float64)
    for label, structure in ((1, "RV"), (2, "myocardium"), (3, "LV")):
        entry, a, b = case["structures"][structure], prediction == label, reference == label
        row = rows[patient, case["phase"], structure]
        assert (entry["in_prediction"], entry["in_reference"]) == (a.any(), b.any())
        assert np.isclose(entry["prediction_ml"], a.sum() * spacing.prod() / 1000)
        assert np.isclose(entry["reference_ml"], b.sum() * spacing.prod() / 1000)
        if a.any() and b.any():
            got = [entry["dice"], entry["hausdorff_mm"], entry["hausdorff95_mm"]]
            assert np.allclose(got, support.metrics(a, b, spacing), rtol=1e-9), (got, support.metrics(a, b, spacing))
            assert np.isclose(float(row["dice"]), got[0], rtol=1e-4)
        else:
            assert entry["dice"] is None and row["dice"] == "" and entry["hausdorff_mm"] is None


def test_evaluate_matches_numpy():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        phantom(folder / "p", "--patients", 4)
        network(folder / "net.onnx")
        table = mitral("evaluate", folder / "net.onnx", "--data", folder / "p", "--split", "training", "--json",
                             folder / "out.json", "--csv", folder / "out.csv", "--overlays", folder / "worst", "--worst", 2)
        assert "phantom" in table and "ejection fraction" in table
        result = json.loads((folder / "out.json").read_text())
        assert "phantom" in result["dataset"] and result["split"] == "training" and result["volumes"] == 6
        with open(folder / "out.csv", encoding="utf-8", newline="") as stream:
            rows = {(r["patient"], r["phase"], r["structure"]): r for r in csv.DictReader(stream)}
        assert len(rows) == 18 and len(list((folder / "worst").glob("0?_patient*.png"))) == 2
        for case in result["cases"]:
            check_case(case, folder, folder / "p" / "training", rows)
        volumes = {(c["patient"], c["phase"]): c["structures"] for c in result["cases"]}
        difference = []
        for patient in sorted({c["patient"] for c in result["cases"]}):
            ed, es = volumes[patient, "ED"]["LV"], volumes[patient, "ES"]["LV"]
            ours, truth = (100 * (1 - es[side] / ed[side]) for side in ("prediction_ml", "reference_ml"))
            difference.append(ours - truth)
        fraction = result["ejection_fraction_percent"]["LV"]
        assert fraction["n"] == 3 and np.isclose(fraction["bias"], np.mean(difference))
        assert np.isclose(fraction["upper"], np.mean(difference) + 1.96 * np.std(difference, ddof=1))
        dice = [c["structures"]["RV"]["dice"] for c in result["cases"] if c["phase"] == "ES"]
        summary = result["structures"]["RV"]["ES"]["dice"]
        assert summary["n"] == 3 and np.isclose(summary["mean"], np.mean(dice)) and np.isclose(summary["sd"], np.std(dice, ddof=1))
        # --json alone: JSON on standard output and nothing else.
        printed = json.loads(mitral("evaluate", "--json", folder / "net.onnx", "--data", folder / "p", "--split",
                                          "training"))
        assert printed["structures"] == result["structures"]


def test_missing_structure_is_counted_not_averaged():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        phantom(folder / "p", "--patients", 1)
        network(folder / "net.onnx", slopes=np.float32([0, 4, 2, -50]))
        label = next((folder / "p").glob("training/*/*_frame01_gt.nii.gz"))
        image = nibabel.load(label)
        data = np.asarray(image.dataobj).copy()
        data[data == 1] = 0
        nibabel.Nifti1Image(data, image.affine, image.header).to_filename(label)
        result = json.loads(mitral("evaluate", folder / "net.onnx", "--data", folder / "p", "--split", "training",
                                         "--json"))
        right = result["structures"]["RV"]["all"]
        assert right["missing_in_reference"] == 1 and right["missing_in_prediction"] == 0 and right["dice"]["n"] == 1


def test_class_names_in_another_order():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        phantom(folder / "p", "--patients", 1)
        network(folder / "net.onnx")
        network(folder / "named.onnx", {"mitral.labels": "background,LV,myocardium,RV"})
        call = ["--data", folder / "p", "--split", "training", "--json"]
        plain = json.loads(mitral("evaluate", folder / "net.onnx", *call))
        named = json.loads(mitral("evaluate", folder / "named.onnx", *call))
        for a, b in zip(plain["cases"], named["cases"], strict=True):
            assert a["structures"]["RV"]["prediction_ml"] == b["structures"]["LV"]["prediction_ml"]


def test_labels_whose_axes_are_others():
    """Matched by index all the same, as others do it, but said."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        network(folder / "net.onnx")
        turned = np.diag([1.4, 1.4, 8, 1])[:, [1, 0, 2, 3]]
        for case, affine, said in (("same", np.diag([1.4, 1.4, 8, 1]), None), ("moved", np.diag([1.4, 1.4, 8, 1]) + np.eye(4, k=3), None),
                                   ("mirrored", np.diag([-1.4, 1.4, 8, 1]), "LAS and its image's RAS"), ("turned", turned, "ARS and its image's RAS")):
            for form in ("sform", "qform"):
                data = folder / case / form
                data.mkdir(parents=True)
                for name, kind, header in (("i.nii.gz", np.float32, np.diag([1.4, 1.4, 8, 1])), ("l.nii.gz", np.uint8, affine)):
                    image = nibabel.Nifti1Image(np.ones((40, 40, 2), kind), header)
                    image.set_sform(header, code=form == "sform")
                    image.set_qform(header, code=form == "qform")
                    image.to_filename(data / name)
                (data / "dataset.json").write_text(json.dumps({"labels": ["background", "RV", "myocardium", "LV"],
                                                               "testing": [{"image": "i.nii.gz", "label": "l.nii.gz"}]}))
                done = subprocess.run([support.MITRAL, "evaluate", folder / "net.onnx", "--data", data], capture_output=True, text=True, check=True)
                assert (f"l.nii.gz: its axes are {said}" in done.stderr) if said else done.stderr == "", (case, form, done.stderr)


def test_refusals():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        phantom(folder / "p", "--patients", 1)
        scan = scan_of(folder / "p")
        network(folder / "net.onnx")
        mask = folder / "mask.nii.gz"

        def refused(words, *arguments):
            message = mitral(*arguments, code=1)
            assert message.count("\n") == 1 and message.startswith(f"mitral {arguments[0]}: ") and words in message, message
            assert not mask.exists()

        refused("No such file", "segment", folder / "net.onnx", folder / "none.nii.gz", "-o", mask)
        refused("NIfTI", "segment", folder / "net.onnx", folder / "net.onnx", "-o", mask)
        refused("frame from 1 to 1", "segment", folder / "net.onnx", scan, "-o", mask, "--frame", 2)
        refused("ending in .nii", "segment", folder / "net.onnx", scan, "-o", folder / "mask.png")
        message = mitral("segment", folder / "net.onnx", scan, "-o", mask, "--overlay", folder / "picture.jpg", code=64)
        assert "expected a name ending in .png" in message and not mask.exists(), message
        refused("none/mask.nii", "segment", folder / "net.onnx", scan, "-o", folder / "none" / "mask.nii")
        refused("none/picture.png", "segment", folder / "net.onnx", scan, "-o", mask, "--overlay", folder / "none" / "picture.png")
        before = scan.read_bytes()
        (folder / "link.nii.gz").symlink_to(scan)
        for same in (scan, folder / "link.nii.gz"):
            refused("found the same", "segment", folder / "net.onnx", scan, "-o", same)
        assert scan.read_bytes() == before, "a scan was overwritten by its mask"
        for wrong in (["x", "--seed", "18446744073709551616"], ["x", "--seed", " -1"], [""]):
            assert "expected" in mitral("phantom", *wrong, "--patients", 1, code=64)
        flat = folder / "plane"
        flat.mkdir()
        for name, kind in (("i.nii.gz", np.float32), ("l.nii.gz", np.uint8)):
            nibabel.Nifti1Image(np.ones((40, 40), kind), np.eye(4)).to_filename(flat / name)
        (flat / "dataset.json").write_text(json.dumps({"labels": ["background", "RV", "myocardium", "LV"],
                                                       "testing": [{"image": "i.nii.gz", "label": "l.nii.gz"}]}))
        refused("i.nii.gz: metrics: pixdim[3]", "evaluate", folder / "net.onnx", "--data", flat)
        (folder / "cut.nii.gz").write_bytes(scan.read_bytes()[:5000])
        refused("voxels", "segment", folder / "net.onnx", folder / "cut.nii.gz", "-o", mask)
        image = nibabel.load(scan)
        image.header["pixdim"][1] = 0
        nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header).to_filename(folder / "flat.nii")
        broken = bytearray((folder / "flat.nii").read_bytes())
        broken[80:84] = bytes(4)
        (folder / "flat.nii").write_bytes(broken)
        refused("flat.nii: scan: pixdim[1]", "segment", folder / "net.onnx", folder / "flat.nii", "-o", mask)
        network(folder / "bad.onnx", {"mitral.spacing": "wide"})
        refused("mitral.spacing", "segment", folder / "bad.onnx", scan, "-o", mask)
        network(folder / "bad.onnx", {"mitral.labels": "a,b,c"})
        refused("4", "segment", folder / "bad.onnx", scan, "-o", mask)
        network(folder / "bad.onnx", batch=2)
        refused("batch", "segment", folder / "bad.onnx", scan, "-o", mask)
        network(folder / "bad.onnx", slopes=np.float32([np.nan, 1, 1, 1]))
        refused("finite", "segment", folder / "bad.onnx", scan, "-o", mask)
        refused("testing", "evaluate", folder / "net.onnx", "--data", folder / "p")
        refused("expected a dataset folder", "evaluate", folder / "net.onnx", "--data", folder / "none")
        for option, found in (("--json", "none/a.json"), ("--csv", "none/a.csv"), ("--overlays", "net.onnx")):  # before anything is measured
            refused(found, "evaluate", folder / "net.onnx", "--data", folder / "p", "--split", "training", option, folder / found)


support.main(globals())
