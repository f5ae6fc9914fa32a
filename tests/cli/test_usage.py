"""Every command takes --threads, explains itself with an example, and answers wrong usage with one line and exit code 64."""

import os
import subprocess
import sys

MITRAL = os.environ.get("MITRAL", "build/mitral")


def run(*arguments):
    return subprocess.run([MITRAL, *arguments], capture_output=True, text=True, check=False)


def commands():
    lines = run("--help").stdout.splitlines()
    return [line.split()[0] for line in lines if line.startswith("  ")]


def check_line(done, start, *codes):
    assert done.returncode in codes, f"{done.args}: exit {done.returncode}, expected {codes}\n{done.stderr}"
    assert done.stdout == "", f"{done.args}: expected nothing on standard output, found {done.stdout!r}"
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith(start) and "expected" in lines[0] and "found" in lines[0], done.stderr


def main():
    names = commands()
    assert len(names) >= 13, names
    for name in names:
        done = run(name, "--help")
        assert done.returncode == 0 and f"mitral {name}" in done.stdout and "Example" in done.stdout and "--threads" in done.stdout, f"{name} --help: {done.stdout}"
        check_line(run(name, "--no-such-option"), f"mitral {name}: ", 64)
        check_line(run(name), f"mitral {name}: ", 64, 1)  # 1: options that may come from a configuration file too
    check_line(run("compile", "a.onnx", "-o"), "mitral compile: ", 64)
    check_line(run("compile", "a.onnx", "b.onnx", "-o", "c"), "mitral compile: ", 64)
    check_line(run("bench", "a.onnx", "--threads", "none"), "mitral bench: ", 64)
    check_line(run(), "mitral: ", 64)
    check_line(run("no-such-command"), "mitral: ", 64)
    print(f"{len(names)} commands")


if __name__ == "__main__":
    sys.exit(main())
