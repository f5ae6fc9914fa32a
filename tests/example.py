"""The README shows examples/segment_slice.c as it is; the program, linked against the shared library, runs."""

import os
import pathlib
import subprocess
import sys
import tempfile

root = pathlib.Path(os.environ["MITRAL_SOURCE"])
program = (root / "examples/segment_slice.c").read_text()
assert program in (root / "README.md").read_text(), "README.md does not show examples/segment_slice.c as it is"
with tempfile.TemporaryDirectory() as folder:
    model = pathlib.Path(folder) / "student.onnx"
    subprocess.run([os.environ["MITRAL"], "create", "dpu-net", "-o", model], check=True)
    output = subprocess.run([sys.argv[1], model], check=True, capture_output=True, text=True).stdout
    counts = [int(line.split()[2]) for line in output.splitlines()]
    assert len(counts) == 4 and sum(counts) == 224 * 224, output
    failed = subprocess.run([sys.argv[1], "/no/such/file"], check=False, capture_output=True, text=True)
    assert failed.returncode == 1 and failed.stderr.startswith("segment_slice: "), failed
print("1 passed, 0 failed")
