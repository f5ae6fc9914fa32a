"""Dice, Hausdorff distance and HD95 against their definitions (or medpy, where it is installed) on random blobs."""

import pathlib
import tempfile

import nibabel
import numpy as np

import support


def blobs(generator, shape, spacing):
    """A label map of three balls that may overlap, be cut by the border, or be missing."""
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1) * spacing
    extent = np.array(shape) * spacing
    labels = np.zeros(shape, np.uint8)
    for label in (1, 2, 3):
        if generator.random() < 0.15:
            continue
        centre, radius = generator.uniform(0.1, 0.9, 3) * extent, generator.uniform(0.1, 0.35) * extent.min()
        labels[((grid - centre) ** 2).sum(-1) < radius**2] = label
    return labels


def save(path, labels, spacing):
    nibabel.Nifti1Image(labels, np.diag([*spacing, 1])).to_filename(path)


def test_blobs():
    generator = np.random.default_rng(1)
    measured = missing = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for _ in range(25):
            shape = tuple(generator.integers([8, 8, 1], [40, 40, 12]))
            # As the header holds them.
            spacing = generator.uniform([0.7, 0.7, 5], [1.9, 1.9, 10]).astype(np.float32).astype(np.float64)
            prediction, reference = blobs(generator, shape, spacing), blobs(generator, shape, spacing)
            save(folder / "a.nii", prediction, spacing)
            save(folder / "b.nii", reference, spacing)
            lines = support.call(support.TOOLS / "metrics_dump", folder / "a.nii", folder / "b.nii", 4).splitlines()
            for label, line in zip((1, 2, 3), lines, strict=True):
                got = [float(w) for w in line.split()]
                a, b = prediction == label, reference == label
                assert got[:2] == [a.any(), b.any()], (got, a.any(), b.any())
                # The doubles of both sides are sums of few terms: 1e-9 is far above their rounding, far below a voxel.
                assert np.allclose(got[5:], [a.sum() * spacing.prod() / 1000, b.sum() * spacing.prod() / 1000], rtol=1e-9)
                if a.any() and b.any():
                    want = support.metrics(a, b, spacing)
                    assert np.allclose(got[2:5], want, rtol=1e-9, atol=1e-9), (got, want)
                    measured += 1
                else:
                    assert np.isnan(got[2:5]).all()
                    missing += 1
    assert measured > 25 and missing > 5, (measured, missing)


support.main(globals())
