#!/usr/bin/env python3
"""Turns the protos of the installed onnx package into C.

usage: generate_proto.py PROTOC_C OUTPUT_FOLDER [DEPFILE]

The package ships two of them; onnx-ml.proto is the complete one (maps, opaque types) and what every exporter writes.
It is copied to OUTPUT_FOLDER/onnx.proto, so that the C files are called onnx.pb-c.c and onnx.pb-c.h whatever the
package calls its own file; so is onnx-data.proto (sequences, optionals and maps in files), which imports it. DEPFILE tells ninja to run this again when another onnx is installed.
"""

import importlib.util
import pathlib
import shutil
import subprocess
import sys


def package_folder():
    """The folder of the installed package, found without importing it."""
    spec = importlib.util.find_spec("onnx")
    if spec is None or spec.origin is None:
        sys.exit("generate_proto.py: the Python package onnx is not installed for " + sys.executable)
    return pathlib.Path(spec.origin).parent


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    protoc_c, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    source = package_folder() / "onnx-ml.proto"
    if not source.is_file():
        sys.exit(f"generate_proto.py: expected {source}, found nothing")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, folder / "onnx.proto")
    data = (source.parent / "onnx-data.proto").read_text(encoding="utf-8").replace("onnx/onnx-ml.proto", "onnx.proto")
    (folder / "onnx-data.proto").write_text(data, encoding="utf-8")
    for name in ("onnx.proto", "onnx-data.proto"):
        subprocess.run([protoc_c, f"--proto_path={folder}", f"--c_out={folder}", str(folder / name)], check=True)
    if len(sys.argv) == 4:
        escaped = str(source).replace(" ", "\\ ")
        pathlib.Path(sys.argv[3]).write_text(f"{folder}/onnx.pb-c.c: {escaped}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
