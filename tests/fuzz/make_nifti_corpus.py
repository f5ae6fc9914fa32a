#!/usr/bin/env python3
"""Writes the seeds of fuzz_nifti, corpus/nifti: small volumes of every kind that the reader knows, and files that lie.

The files are part of the repository, so that tests need neither this script nor nibabel; files that fuzzing found are kept beside
them under other names (found-*).
"""

import gzip
import io
import pathlib
import struct

import nibabel
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent / "corpus" / "nifti"


def volume(dtype=np.int16, shape=(4, 3, 2), cls=nibabel.Nifti1Image, order="<", slope=None):
    array = (np.arange(np.prod(shape)) % 4).reshape(shape).astype(np.dtype(dtype).newbyteorder(order))
    header = cls.header_class(endianness=order)
    header.set_data_dtype(array.dtype)
    image = cls(array, np.diag([1.5, 1.25, 8, 1]), header)
    image.header.set_xyzt_units("mm", "sec")
    if slope:
        image.header.set_slope_inter(slope, 3)
    return image.to_bytes()


def patch(data, at, form, *values):
    out = bytearray(data)
    struct.pack_into("<" + form, out, at, *values)
    return bytes(out)


def packed(data):
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as stream:
        stream.write(data)
    return out.getvalue()


def files():
    plain = volume()
    made = {"plain": plain, "packed": packed(plain), "big_endian": volume(order=">"), "scaled": volume(slope=0.5),
            "frames": volume(shape=(4, 3, 2, 3)), "six": volume(shape=(2, 3, 1, 2, 1, 2)), "one": volume(shape=(5,)),
            "second": volume(cls=nibabel.Nifti2Image), "second_big": volume(cls=nibabel.Nifti2Image, order=">")}
    for kind in ("u1", "i1", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8"):
        made["type_" + kind] = volume(dtype=kind)
    made["cut_header"] = plain[:200]
    made["cut_voxels"] = plain[:-3]
    made["cut_packed"] = packed(plain)[:-12]
    made["empty"] = b""
    made["dims"] = patch(plain, 40, "8h", 7, *[32767] * 7)
    made["negative"] = patch(plain, 42, "h", -3)
    made["rank"] = patch(plain, 40, "h", 9)
    made["far"] = patch(plain, 108, "f", 1.6e7)
    made["farther"] = patch(plain, 108, "f", 1e30)
    made["nan_offset"] = patch(plain, 108, "f", float("nan"))
    made["nan_slope"] = patch(plain, 112, "2f", float("nan"), float("inf"))
    made["units"] = patch(plain, 123, "B", 255)
    made["claims"] = packed(patch(plain, 40, "4h", 3, 40, 40, 40))
    made["extension"] = patch(plain, 108, "f", 384)[:348] + b"\1\0\0\0" + struct.pack("<2i", 32, 6) + bytes(24) + plain[352:]
    made["floats"] = patch(volume(dtype="f4"), 352, "3f", float("nan"), float("inf"), 3e38)
    return made


if __name__ == "__main__":
    HERE.mkdir(parents=True, exist_ok=True)
    for name, data in files().items():
        (HERE / name).write_bytes(data)
