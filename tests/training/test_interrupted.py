"""Ctrl-C at any time: while the teacher's outputs are cached, in a validation, in the figures behind the last step."""

import os
import re
import signal
import subprocess
import time

from support import MITRAL, Folder, call, main

FOLDER = Folder()


def same(a, b):
    return (FOLDER / a).read_bytes() == (FOLDER / b).read_bytes()


def interrupt_when(command, reached):
    """Starts a command and interrupts it once `reached` says so; its exit code and what it said."""
    process = subprocess.Popen([str(c) for c in command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while process.poll() is None and not reached():
        time.sleep(0.0005)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    return process.returncode, error


def count_steps(log):
    return log.read_text().count("gradient_norm") if log.exists() else 0


def test_interrupted_validation_is_made_again():
    """Validations that are broken off, one after another, and then the figures at the end: the bits of a run that nobody touched."""
    def command(name, *options):
        return [MITRAL, "train", "--model", FOLDER / "student.onnx", "--data", FOLDER / "data", "--batch", 2, "--steps", 8, "--validate-every", 1,
                "--validation", 0.6, "--lr", 0.2, "--patience", 6, "--checkpoint", FOLDER / name, "-o", FOLDER / f"{name}.onnx", *options]

    call(*command("untouched"))
    run, log = FOLDER / "broken_off", FOLDER / "broken_off/log.jsonl"
    broken_off = 0
    for _ in range(40):
        before = count_steps(log)
        code, error = interrupt_when(command("broken_off", "--resume"), lambda before=before: count_steps(log) > before)
        if code == 0:
            break
        assert code == 130 and "--resume" in error.splitlines()[-1] and (run / "checkpoint.bin").exists(), error
        assert count_steps(log) > before or count_steps(log) == 8, "a run that is interrupted again and again does not get on"
        broken_off += b'"validation_due":true' in (run / "checkpoint.bin").read_bytes()
    assert code == 0 and broken_off > 1, f"exit {code}, {broken_off} validations were broken off"
    for _ in range(20):  # the validation behind the last step
        (FOLDER / "broken_off.onnx").unlink()
        (run / "result.json").unlink()
        code, error = interrupt_when(command("broken_off", "--resume"), lambda: (FOLDER / "broken_off.onnx").exists())
        if code:
            break
    assert code == 130 and "result.json was written; the same command with --resume writes it" in error and not (run / "result.json").exists(), error
    call(*command("broken_off", "--resume"))
    assert same("untouched.onnx", "broken_off.onnx"), "the resumed run has other weights"
    assert same("untouched/result.json", "broken_off/result.json")
    whole, pieces = ([re.sub(r'"seconds": [^}]*', "", line) for line in (FOLDER / name / "log.jsonl").read_text().splitlines()]
                     for name in ("untouched", "broken_off"))
    assert whole == pieces, "the log tells of other steps or validations"


def test_interrupt_while_the_teacher_is_cached():
    cache = FOLDER / "interrupted_cache"
    code, error = interrupt_when([MITRAL, "distill", "--teacher", FOLDER / "teacher.onnx", "--student", FOLDER / "student.onnx", "--data", FOLDER / "data",
                                  "--batch", 2, "--steps", 100000, "--no-augmentation", "--cache-teacher", cache, "--checkpoint", FOLDER / "not_begun",
                                  "-o", FOLDER / "never.onnx"], lambda: cache.exists() and any(cache.iterdir()))
    assert code == 130 and "interrupted before the first step" in error and "nothing was trained" in error, error
    assert not list(cache.iterdir()) and not (FOLDER / "not_begun").exists(), "something was left behind"


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main(globals())
