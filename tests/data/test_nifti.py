"""The NIfTI reader against nibabel: on the scans of nibabel's own tests, which others wrote, and on what nibabel writes."""

import pathlib
import tempfile

import nibabel
import numpy as np

import support

SCANS = sorted((pathlib.Path(nibabel.__file__).parent / "tests" / "data").glob("*.nii*"))


def dump(path, folder):
    """Geometry and voxels as the reader has them, and the volume as it writes it."""
    words = support.call(support.TOOLS / "nifti_dump", path, folder / "voxels", folder / "copy.nii.gz").split()
    return [int(w) for w in words[:4]], [float(w) for w in words[4:8]], np.fromfile(folder / "voxels", np.float32)


def check(path, folder):
    # CIFTI-2 files are NIfTI-2 files whose last two axes nibabel turns into its own.
    image = nibabel.Nifti2Image.from_filename(path) if ".dconn" in path.name else nibabel.load(path)
    expected = image.get_fdata().astype(np.float32).ravel(order="F")
    size, spacing, voxels = dump(path, folder)
    shape = list(image.shape) + [1] * (4 - image.ndim)
    assert size == shape[:3] + [int(np.prod(shape[3:]))], (size, image.shape)
    assert np.array_equal(voxels, expected, equal_nan=True), f"{path.name}: voxels differ"
    zooms = [abs(float(z)) for z in image.header.get_zooms()[:3]]
    assert np.allclose(spacing[:len(zooms)], zooms, rtol=1e-6), (spacing, zooms)
    copy = nibabel.load(folder / "copy.nii.gz")
    assert np.array_equal(copy.get_fdata().astype(np.float32).ravel(order="F"), expected, equal_nan=True)
    # Headers hold float32: a quaternion's real part is only good to the square root of its precision.
    if image.header["qform_code"] > 0 or image.header["sform_code"] > 0:
        assert np.allclose(copy.affine, image.affine, rtol=1e-4, atol=1e-3), f"{path.name}: orientation differs"


def test_scans_of_others():
    assert len(SCANS) >= 8, SCANS
    with tempfile.TemporaryDirectory() as folder:
        for path in SCANS:
            check(path, pathlib.Path(folder))


def test_every_kind():
    generator = np.random.default_rng(3)
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for cls in (nibabel.Nifti1Image, nibabel.Nifti2Image):
            for order in "<>":
                for kind in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"):
                    for ending in (".nii", ".nii.gz"):
                        array = generator.integers(0, 100, (5, 4, 3, 2)).astype(np.dtype(kind).newbyteorder(order))
                        header = cls.header_class(endianness=order)
                        header.set_data_dtype(array.dtype)
                        affine = np.array([[0, 1.5, 0.1, 3], [-1.25, 0, 0, -20], [0, 0.2, 8, 7], [0, 0, 0, 1]])
                        image = cls(array, affine, header)
                        image.set_qform(affine, 1, strip_shears=True)
                        if kind == "i2":
                            image.header.set_slope_inter(0.1, -7)
                        path = folder / ("scan" + ending)
                        image.to_filename(path)
                        check(path, folder)
                        count += 1
    assert count == 80


def test_not_nifti():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for path in sorted((pathlib.Path(nibabel.__file__).parent / "tests" / "data").iterdir()):
            if path.is_file() and ".nii" not in path.name:
                message = support.call(support.TOOLS / "nifti_dump", path, folder / "voxels", code=1)
                assert message.count("\n") == 1 and "expected" in message, message


support.main(globals())
