"""Whole runs of the commands: the same bits for the same seed, for any number of threads, after being killed and resumed; refusals
with both facts.
"""

import json
import os
import re
import resource
import signal
import subprocess
import time
import warnings

import nibabel
import numpy as np
import onnx
import onnxruntime
import torch

from support import MITRAL, SMALL, Folder, call, has_amx, main

FOLDER = Folder()
warnings.filterwarnings("ignore")  # the exporter remarks on every batch norm in training mode


def same(a, b):
    return (FOLDER / a).read_bytes() == (FOLDER / b).read_bytes()


def test_same_seed_same_bits_for_any_number_of_threads():
    for threads in (1, 2, 3):
        FOLDER.distill("--steps", 4, "--threads", threads, "-o", FOLDER / f"threads{threads}.onnx", "--ema", 0.9)
    assert same("threads1.onnx", "threads2.onnx"), "one and two threads give different weights"
    assert same("threads1.onnx", "threads3.onnx"), "one and three threads give different weights"
    FOLDER.distill("--steps", 4, "--threads", 2, "-o", FOLDER / "again.onnx", "--ema", 0.9)
    assert same("threads2.onnx", "again.onnx"), "a second run gives different weights"
    FOLDER.distill("--steps", 4, "--threads", 2, "-o", FOLDER / "other.onnx", "--ema", 0.9, "--seed", 1)
    assert not same("threads2.onnx", "other.onnx"), "another seed gives the same weights"


def test_dropout_and_strided_transposed_convolutions():
    """What is dropped follows from the seed and the step, also after kill -9; sums of transposed convolutions do not depend on the threads."""
    torch.manual_seed(0)
    nn, path = torch.nn, FOLDER / "dropping.onnx"
    module = nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.Dropout(0.3), nn.ReLU(),
                           nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 3, 1, 1))
    torch.onnx.export(module.train(), torch.zeros(2, 1, 64, 64), path, training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False,
                      dynamo=False, input_names=["image"], output_names=["logits"], dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}})

    def run(name, *options):
        call(MITRAL, "train", "--model", path, "--data", FOLDER / "data", "--batch", 3, "--accumulate", 2, "--steps", 6, "-o", FOLDER / name, *options)

    for threads in (1, 2, 3):
        run(f"dropping{threads}.onnx", "--threads", threads)
    assert same("dropping1.onnx", "dropping2.onnx") and same("dropping1.onnx", "dropping3.onnx"), "the weights depend on the threads or the run"
    run("dropping_other.onnx", "--seed", 1)
    assert not same("dropping1.onnx", "dropping_other.onnx")
    options = ["--checkpoint", FOLDER / "dropping", "--checkpoint-every", 1, "--resume"]
    command = [MITRAL, "train", "--model", path, "--data", FOLDER / "data", "--batch", 3, "--accumulate", 2, "--steps", 6, "-o",
               FOLDER / "dropping_killed.onnx", *options]
    process = subprocess.Popen([str(c) for c in command], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (FOLDER / "dropping/checkpoint.bin").exists():
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert not (FOLDER / "dropping_killed.onnx").exists(), "expected to kill a run before its end"
    run("dropping_killed.onnx", *options)
    assert same("dropping1.onnx", "dropping_killed.onnx"), "the resumed run has other weights"

    # what is written is for inference, and so is a teacher that was exported for training
    model = onnx.load(FOLDER / "dropping1.onnx")
    module.load_state_dict({i.name: torch.from_numpy(onnx.numpy_helper.to_array(i).copy()) for i in model.graph.initializer
                            if i.name in module.state_dict()}, strict=False)
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        want = module.eval()(x).numpy()
    for _ in range(2):
        found = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"image": x.numpy()})[0]
        assert np.abs(found - want).max() < 1e-4 * np.abs(want).max(), "the written network is not PyTorch's in inference"
    losses = []
    for teacher in (path, FOLDER / "dropping_teacher.onnx"):
        if teacher != path:
            call(MITRAL, "train", "--model", path, "--data", FOLDER / "data", "--batch", 2, "--steps", 1, "--lr", 0, "--freeze-norm", "-o", teacher)
        call(MITRAL, "distill", "--teacher", teacher, "--student", FOLDER / "student.onnx", "--data", FOLDER / "data", "--batch", 2, "--steps", 1,
             "--method", "logits", "-o", FOLDER / "taught.onnx", "--log", FOLDER / "taught.jsonl")
        losses.append(json.loads((FOLDER / "taught.jsonl").read_text().splitlines()[0])["terms"]["logits"])
    assert losses[0] == losses[1], f"a teacher in training mode teaches otherwise: {losses}"


def test_killed_and_resumed():
    """kill -9 somewhere in the middle, several times; then the end has the bits of a run that nobody touched."""
    options = ["--steps", 12, "--method", "logits", "--checkpoint-every", 2, "--validation", 0.3, "--validate-every", 4]
    FOLDER.distill(*options, "-o", FOLDER / "whole.onnx", "--checkpoint", FOLDER / "whole")
    command = [MITRAL, "distill", "--teacher", FOLDER / "teacher.onnx", "--student", FOLDER / "student.onnx", "--data", FOLDER / "data",
               "--batch", 2, *options, "-o", FOLDER / "killed.onnx", "--checkpoint", FOLDER / "killed", "--log", FOLDER / "killed.jsonl", "--resume"]
    checkpoint = FOLDER / "killed" / "checkpoint.bin"
    kills = 0
    for _ in range(3):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen([str(c) for c in command], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and (checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0) == before:
            time.sleep(0.005)
        time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills, "expected to kill a run before its end"
    call(*command)
    assert same("whole.onnx", "killed.onnx"), "the resumed run has other weights"
    steps = [json.loads(line)["step"] for line in (FOLDER / "killed.jsonl").read_text().splitlines() if "loss" in line]
    assert steps == list(range(1, 13)), f"log holds steps {steps}"
    assert json.loads((FOLDER / "killed/result.json").read_text()) == json.loads((FOLDER / "whole/result.json").read_text())
    assert not list((FOLDER / "killed").glob("*.tmp*")), "a file was left beside the checkpoint"


def test_best_weights_are_kept():
    """The written weights are those of the best validation: a run that ends at that step ends with the same ones. With and without a folder."""
    options = ["--method", "none", "--lr", 0.2, "--schedule", "constant", "--validate-every", 1]
    for seed in range(8):  # until the best is not the last
        run = FOLDER / f"best{seed}"
        FOLDER.distill(*options, "--steps", 8, "--seed", seed, "--checkpoint", run, "-o", FOLDER / "best.onnx")
        result = json.loads((run / "result.json").read_text())
        dices = {line["step"]: line["dice"] for line in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if "dice" in line}
        assert list(dices) == list(range(1, 9))
        best = max(dices, key=lambda step: (dices[step], -step))
        assert (result["best_step"], result["kept_step"]) == (best, best), result
        assert abs(result["dice"] - dices[best]) < 1e-8, "the figures are not those of the written weights"
        if best < 8:
            break
    else:
        raise AssertionError("expected a run whose last validation is not its best")
    same_seed = [*options, "--seed", seed]
    FOLDER.distill(*same_seed, "--steps", 8, "-o", FOLDER / "best_in_memory.onnx")
    assert same("best.onnx", "best_in_memory.onnx"), "without a folder other weights are kept"
    FOLDER.distill(*same_seed, "--steps", best, "--keep", "last", "-o", FOLDER / "shorter.onnx")
    assert same("best.onnx", "shorter.onnx"), "the kept weights are not those of the best step"
    FOLDER.distill(*same_seed, "--steps", 8, "--keep", "last", "-o", FOLDER / "last.onnx")
    assert not same("best.onnx", "last.onnx"), "--keep last writes the best weights"
    assert result["training_patients"] and len(result["validation_patients"]) == 1
    assert not set(result["training_patients"]) & set(result["validation_patients"]), "a patient is on both sides"


def test_early_stop():
    """Nothing gets better at rate 0, so that training stops after `patience` validations without a better one."""
    run = FOLDER / "patience"
    FOLDER.distill("--method", "none", "--lr", 0, "--momentum", 0, "--freeze-norm", "--steps", 50, "--validate-every", 1, "--patience", 3,
                   "--checkpoint", run, "-o", FOLDER / "patience.onnx")
    result = json.loads((run / "result.json").read_text())
    assert (result["steps"], result["best_step"]) == (4, 1), result


def test_interrupt_writes_a_checkpoint():
    command = [MITRAL, "train", "--model", FOLDER / "student.onnx", "--data", FOLDER / "data", "--batch", 2, "--steps", 100000,
               "-o", FOLDER / "interrupted.onnx", "--checkpoint", FOLDER / "interrupted", "--log", FOLDER / "interrupted.jsonl"]
    process = subprocess.Popen([str(c) for c in command], stderr=subprocess.PIPE, text=True)
    log = FOLDER / "interrupted.jsonl"
    while process.poll() is None and (not log.exists() or not log.read_text()):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130, f"exit {process.returncode}"
    assert "--resume goes on" in error and (FOLDER / "interrupted" / "checkpoint.bin").exists(), error
    assert not (FOLDER / "interrupted.onnx").exists(), "an unfinished run wrote a model"


def test_full_disk():
    """A checkpoint that does not fit leaves the one before as it was, says so, and the run goes on from it when there is room again."""
    def limit():  # RLIMIT_FSIZE stands for a full disk: write() fails, as with ENOSPC
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = ["--method", "none", "--validation", 0, "--steps", 12, "--checkpoint-every", 2, "-o", FOLDER / "full.onnx", "--checkpoint", FOLDER / "full"]
    FOLDER.distill(*command)
    expected = (FOLDER / "full.onnx").read_bytes()
    checkpoint, log = FOLDER / "full/checkpoint.bin", FOLDER / "full/log.jsonl"
    (FOLDER / "full.onnx").unlink()
    checkpoint.unlink()
    arguments = [str(a) for a in [MITRAL, "distill", "--teacher", FOLDER / "teacher.onnx", "--student", FOLDER / "student.onnx", "--data", FOLDER / "data",
                                  "--batch", 2, *command, "--resume"]]
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert checkpoint.stat().st_size > 100_000
    before = checkpoint.read_bytes()
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 1 and "checkpoint.bin" in done.stderr and "still holds step" in done.stderr, done.stderr
    assert checkpoint.read_bytes() == before and not (FOLDER / "full.onnx").exists()
    assert not [path for path in checkpoint.parent.iterdir() if "tmp" in path.name], "a piece of the checkpoint was left behind"
    call(*arguments)
    assert (FOLDER / "full.onnx").read_bytes() == expected, "the run ends with other weights after the disk was full"
    assert log.exists()


def test_checkpoint_of_another_run_or_damaged():
    FOLDER.distill("--steps", 2, "--method", "none", "-o", FOLDER / "a.onnx", "--checkpoint", FOLDER / "a")
    before = (FOLDER / "a/checkpoint.bin").read_bytes()
    error = FOLDER.distill("--steps", 3, "--method", "none", "-o", FOLDER / "a.onnx", "--checkpoint", FOLDER / "a", code=1)
    assert "expected a folder without a run, or --resume" in error, error
    assert (FOLDER / "a/checkpoint.bin").read_bytes() == before, "another run took the folder"
    error = FOLDER.distill("--steps", 2, "--method", "none", "--lr", 0.5, "-o", FOLDER / "a.onnx", "--checkpoint", FOLDER / "a", "--resume", code=1)
    assert "lr 0.01 there and 0.5 now" in error, error
    path = FOLDER / "a" / "checkpoint.bin"
    bytes_ = bytearray(path.read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    path.write_bytes(bytes_)
    error = FOLDER.distill("--steps", 2, "--method", "none", "-o", FOLDER / "a.onnx", "--checkpoint", FOLDER / "a", "--resume", code=1)
    assert "truncated or altered" in error, error
    path.write_bytes(bytes_[:100])
    error = FOLDER.distill("--steps", 2, "--method", "none", "-o", FOLDER / "a.onnx", "--checkpoint", FOLDER / "a", "--resume", code=1)
    assert "truncated or altered" in error, error
    FOLDER.distill("--steps", 2, "--method", "none", "-o", FOLDER / "fresh.onnx", "--checkpoint", FOLDER / "empty", "--resume")
    assert same("a.onnx", "fresh.onnx"), "--resume without a checkpoint does not start at step 0"


def test_misfits_are_refused_with_both_facts():
    call(MITRAL, "create", "unet", "-o", FOLDER / "three.onnx", *SMALL, "--classes", 3)
    call(MITRAL, "create", "unet", "-o", FOLDER / "large.onnx", "--widths", "8,16,24,32,40", "--size", 96)
    base = ["--student", FOLDER / "student.onnx", "--data", FOLDER / "data", "-o", FOLDER / "never.onnx", "--batch", 2, "--steps", 1,
            "--checkpoint", FOLDER / "refused"]
    cases = {
        ("three.onnx",): ("same classes, found 3 in", "4 in"),
        ("large.onnx",): ("64", "96"),
        ("teacher.onnx", "--taps", "dec0=nothing"): ("nothing", "teacher"),
        ("teacher.onnx", "--taps", "nowhere=dec0"): ("nowhere", "student"),
        ("teacher.onnx", "--scale-weights", "1,2"): ("5", "2"),
        ("teacher.onnx", "--class-weights", "1,2"): ("4", "2"),
        ("missing.onnx",): ("missing.onnx",),
    }
    for (teacher, *options), facts in cases.items():
        error = call(MITRAL, "distill", "--teacher", FOLDER / teacher, *base, *options, code=1)
        last = error.strip().splitlines()[-1]
        assert all(fact in last for fact in facts), f"{teacher} {options}: {last}"
        assert not (FOLDER / "never.onnx").exists()
        assert not (FOLDER / "refused").exists(), "a refused run leaves its folder"


def test_output_that_cannot_be_written_is_refused_before_the_first_step():
    for where, command in ((FOLDER / "nowhere/student.onnx", "distill"), (FOLDER / "data", "train")):
        error = FOLDER.distill("--steps", 1_000_000, "--log", FOLDER / "unwritten.jsonl", "-o", where, code=1, command=command)
        assert len(error.strip().splitlines()) == 1 and str(where) in error, error
        assert not (FOLDER / "unwritten.jsonl").exists(), "the run began"
    FOLDER.distill("--steps", 1, "--method", "none", "--checkpoint", FOLDER / "made", "-o", FOLDER / "made/student.onnx")
    for name in ("student.onnx", "teacher.onnx"): # nor over what it learns from, by whatever name
        before, link = (FOLDER / name).read_bytes(), FOLDER / f"to-{name}"
        link.symlink_to(name)
        error = FOLDER.distill("--steps", 1, "-o", link, code=1)
        assert "expected another file to write to" in error and (FOLDER / name).read_bytes() == before, error


def test_loss_that_is_no_number_stops():
    error = FOLDER.distill("--steps", 50, "--lr", 1e30, "--method", "none", "--checkpoint", FOLDER / "nan", "--checkpoint-every", 1,
                           "-o", FOLDER / "nan.onnx", code=1)
    last = error.strip().splitlines()[-1]
    assert "finite loss" in last and "term" in last and "checkpoint" in last, last
    assert not (FOLDER / "nan.onnx").exists()


def test_bfloat16_is_refused_without_its_arithmetic():
    before = os.environ.get("MITRAL_ISA")
    os.environ["MITRAL_ISA"] = "avx2"
    try:
        error = FOLDER.distill("--steps", 1, "--precision", "bf16", "-o", FOLDER / "never.onnx", code=2)
    finally:
        del os.environ["MITRAL_ISA"]
        os.environ.update({"MITRAL_ISA": before} if before else {})
    assert "without AMX, found bf16" in error and len(error.strip().splitlines()) == 1, error
    assert not (FOLDER / "never.onnx").exists()


def test_bfloat16():
    """The same bits for any number of threads and after an interruption; other bits than float32's; written down, and read back."""
    if not has_amx():
        return
    options = ["--steps", 4, "--precision", "bf16", "--validation", 0]
    for threads in (1, 2, 3):
        FOLDER.distill(*options, "--threads", threads, "-o", FOLDER / f"bf16-{threads}.onnx", "--checkpoint", FOLDER / f"bf16-{threads}")
    assert same("bf16-1.onnx", "bf16-2.onnx") and same("bf16-1.onnx", "bf16-3.onnx"), "the weights depend on the number of threads"
    FOLDER.distill("--steps", 4, "--validation", 0, "-o", FOLDER / "f32.onnx")
    assert not same("bf16-1.onnx", "f32.onnx"), "nothing was rounded"
    command = [MITRAL, "distill", "--config", FOLDER / "bf16-1/configuration.json", "--checkpoint", FOLDER / "bf16-killed", "-o", FOLDER / "bf16-killed.onnx",
               "--checkpoint-every", 1, "--resume"]
    process = subprocess.Popen([str(c) for c in command], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (FOLDER / "bf16-killed/checkpoint.bin").exists():
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert not (FOLDER / "bf16-killed.onnx").exists(), "expected to kill a run before its end"
    error = call(*command, "--precision", "f32", code=1)
    assert "precision" in error, error
    call(*command)
    assert same("bf16-1.onnx", "bf16-killed.onnx"), "the resumed run has other weights"


def test_configuration_file():
    (FOLDER / "config.json").write_text(json.dumps({"steps": 2, "lr": 0.02, "method": "cwd", "class-weights": [1, 2, 2, 2], "nesterov": True}))
    FOLDER.distill("--lr", 0.03, "--config", FOLDER / "config.json", "-o", FOLDER / "configured.onnx")
    written = json.loads((FOLDER / "configured.json").read_text())
    assert (written["steps"], written["lr"], written["method"], written["nesterov"]) == (2, 0.03, "cwd", True)
    FOLDER.distill("--nesterov=false", "--config", FOLDER / "config.json", "-o", FOLDER / "configured.onnx")
    assert json.loads((FOLDER / "configured.json").read_text())["nesterov"] is False, "a flag does not win over a switch of the file"
    for text, word in (('{"stepz": 2}', "stepz"), ('{"steps": 2} {"lr": broken', "nothing behind the object of options, found something at byte 13")):
        (FOLDER / "config.json").write_text(text)
        assert word in FOLDER.distill("--config", FOLDER / "config.json", "-o", FOLDER / "configured.onnx", code=1)


def test_configuration_of_train():
    """Its own names, and no teacher."""
    options = {"model": str(FOLDER / "student.onnx"), "data": str(FOLDER / "data"), "steps": 1, "batch": 2}
    (FOLDER / "train.json").write_text(json.dumps(options))
    call(MITRAL, "train", "--config", FOLDER / "train.json", "-o", FOLDER / "configured.onnx")
    (FOLDER / "train.json").write_text(json.dumps(options | {"teacher": str(FOLDER / "teacher.onnx")}))
    assert "expected no teacher" in call(MITRAL, "train", "--config", FOLDER / "train.json", "-o", FOLDER / "configured.onnx", code=1)


def test_configuration_of_a_run_makes_the_same_run():
    """configuration.json, read back, gives the same bits."""
    options = ["--steps", 4, "--method", "mavkd", "--optimizer", "adamw", "--lr", 0.00123456789, "--clip", 0.7, "--ema", 0.9, "--seed", 5, "--class-weights",
               "0.3,1,2,1.5", "--rotation", 12.5, "--taps", "dec1=dec1,dec0=dec0", "--scale-weights", "0.3,0.7"]
    FOLDER.distill(*options, "--checkpoint", FOLDER / "first", "-o", FOLDER / "first.onnx")
    call(MITRAL, "distill", "--config", FOLDER / "first/configuration.json", "--checkpoint", FOLDER / "second", "-o", FOLDER / "second.onnx")
    assert same("first.onnx", "second.onnx"), "the configuration that was written makes another run"
    first, second = (json.loads((FOLDER / f"{name}/configuration.json").read_text()) for name in ("first", "second"))
    assert {key for key in first if first[key] != second[key]} == {"checkpoint", "output"}


def test_cached_teacher():
    """The same weights as with a teacher that runs at each step, made once, shared by seeds, and not believed when it is damaged."""
    options = ["--steps", 30, "--no-augmentation", "--validation", 0.3]
    for seed, cache in ((0, "cache"), (1, "cache")):
        FOLDER.distill(*options, "--seed", seed, "--cache-teacher", FOLDER / cache, "-o", FOLDER / f"cached{seed}.onnx")
    files = list((FOLDER / "cache").iterdir())
    assert len(files) == 1, f"expected one file for both seeds, found {files}"
    FOLDER.distill(*options, "-o", FOLDER / "uncached.onnx")
    assert same("cached0.onnx", "uncached.onnx"), "the cached outputs give other weights"
    bytes_ = files[0].read_bytes()
    for damage in (bytes_[:1000], b"".join([bytes_[:-5], bytes([bytes_[-5] ^ 64]), bytes_[-4:]]), bytes_ + b"\0"):
        files[0].write_bytes(damage)
        made = files[0].stat().st_mtime_ns
        FOLDER.distill(*options, "--cache-teacher", FOLDER / "cache", "-o", FOLDER / "mended.onnx")
        assert files[0].read_bytes() == bytes_ and files[0].stat().st_mtime_ns != made and same("cached0.onnx", "mended.onnx")
    FOLDER.distill(*options, "--checkpoint", FOLDER / "with_cache", "-o", FOLDER / "in_run.onnx")
    assert list((FOLDER / "with_cache").glob("teacher-*.cache")), "nothing was cached in the run's folder"
    FOLDER.distill(*options, "--checkpoint", FOLDER / "without_cache", "--cache-limit", 1, "-o", FOLDER / "in_run.onnx")
    assert not list((FOLDER / "without_cache").glob("teacher-*.cache")), "the limit was not kept"
    error = FOLDER.distill(*options, "--cache-teacher", FOLDER / "small", "--cache-limit", 1, "-o", FOLDER / "never.onnx", code=1)
    assert "1 MB" in error and "found" in error, error
    error = FOLDER.distill("--steps", 2, "--cache-teacher", FOLDER / "small", "-o", FOLDER / "never.onnx", code=1)
    assert "no-augmentation" in error, error


def terms(log):
    return [line["terms"] for line in map(json.loads, (FOLDER / log).read_text().splitlines()) if "terms" in line]


def test_scans_without_labels():
    """They take part in what is learnt from the teacher alone: the labels' terms are those of a batch that lacks them."""
    folder = FOLDER / "scans"
    call(MITRAL, "phantom", folder, "--patients", 2, "--seed", 7)
    for label in folder.rglob("*_gt.nii.gz"):
        label.unlink()
    still = ["--steps", 5, "--lr", 0, "--freeze-norm", "--method", "logits"]
    FOLDER.distill(*still, "--unlabelled", folder, "--unlabelled-share", 0.6, "--batch", 5, "--log", FOLDER / "mixed.jsonl", "-o", FOLDER / "mixed.onnx",
                   "--no-augmentation")
    FOLDER.distill(*still, "--log", FOLDER / "labelled.jsonl", "-o", FOLDER / "labelled.onnx", "--no-augmentation")
    for step, (mixed, labelled) in enumerate(zip(terms("mixed.jsonl"), terms("labelled.jsonl"), strict=True)):
        for name in ("cross-entropy", "dice"):  # the same slices, float sums in another order
            assert abs(mixed[name] - labelled[name]) < 1e-5 * abs(labelled[name]), f"step {step}: {name} {mixed[name]}, expected {labelled[name]}"
        assert abs(mixed["logits"] - labelled["logits"]) > 1e-5 * labelled["logits"], "the scans without labels do not reach the teacher's term"
    options = ["--steps", 4, "--batch", 4, "--unlabelled", folder, "--checkpoint-every", 2]
    for threads in (1, 2):
        FOLDER.distill(*options, "--threads", threads, "-o", FOLDER / f"scans{threads}.onnx", "--checkpoint", FOLDER / f"scans{threads}")
    assert same("scans1.onnx", "scans2.onnx"), "one and two threads give different weights"
    result = json.loads((FOLDER / "scans1/result.json").read_text())
    call(MITRAL, "report", FOLDER / "scans1", "-o", FOLDER / "scans.html")
    assert f"Without labels, learnt from the teacher alone: {result['unlabelled_slices']:.0f} slices" in (FOLDER / "scans.html").read_text()
    assert result["unlabelled_slices"] > 0 and len(result["training_patients"]) + len(result["validation_patients"]) == 2, result
    FOLDER.distill(*options, "--no-augmentation", "-o", FOLDER / "scans_running.onnx")
    FOLDER.distill(*options, "--no-augmentation", "--cache-teacher", FOLDER / "scans_cache", "-o", FOLDER / "scans_cached.onnx")
    assert same("scans_running.onnx", "scans_cached.onnx"), "the cached outputs give other weights"
    for more, fact in ((["--method", "none"], "method none"), (["--batch", 1], "found 1"), (["--unlabelled-share", 0], "from about 0.25 to 0.75, found 0"),
                       (["--unlabelled-share", 1], "from about 0.25 to 0.75, found 1"), (["--unlabelled", FOLDER / "data"], "found none")):
        error = FOLDER.distill(*options, *more, "-o", FOLDER / "never.onnx", code=1)
        assert "nlabelled" in error and fact in error or "does not hold, found none" in error, error


def test_report_is_one_page():
    """Every part is there, and nothing is fetched from elsewhere."""
    run = FOLDER / "reported"
    FOLDER.distill("--steps", 6, "--validate-every", 2, "--checkpoint", run, "-o", FOLDER / "reported.onnx")
    call(MITRAL, "evaluate", FOLDER / "reported.onnx", "--data", FOLDER / "data", "--json", run / "evaluation.json")
    call(MITRAL, "report", run, "-o", FOLDER / "report.html")
    page = (FOLDER / "report.html").read_text()
    result = json.loads((run / "result.json").read_text())
    for part in ("<h2>Curves", "<h2>Dice by structure", "<h2>Examples", "<h2>Evaluation", "<h2>Configuration", "validate-every", "myocardium",
                 f"{100 * result['dice']:.2f} %", *result["validation_patients"]):
        assert part in page, f"the page lacks {part}"
    assert page.count("<svg") == 4 and page.count("data:image/png;base64,") == 2, "expected four charts, and pictures of ED and ES"
    assert "Without labels" not in page
    assert "http" not in page and "<script" not in page and "src=\"data:" in page
    assert "damaged" not in page
    log = (run / "log.jsonl").read_bytes().splitlines(keepends=True)
    (run / "log.jsonl").write_bytes(b"".join([log[0], b"\0{\n", b'{"step": 2, "loss\n', *log[1:], b'{"st']))
    call(MITRAL, "report", run, "-o", FOLDER / "report.html")
    assert (FOLDER / "report.html").read_text() == page.replace("<h2>Data", "<p>Lines of the log that are damaged, and left out here: 2.</p>\n<h2>Data")
    (run / "evaluation.json").write_text('{"model": "student.onnx"')
    error = call(MITRAL, "report", run, "-o", FOLDER / "never.html", code=1)
    assert error == f"mitral report: {run}/evaluation.json: expected JSON of mitral evaluate, found something else\n", error
    error = call(MITRAL, "report", FOLDER / "data", "-o", FOLDER / "never.html", code=1)
    assert "configuration.json" in error and not (FOLDER / "never.html").exists()


def test_any_folder_with_a_description():
    """Classes in another order are matched by name; other numbers of classes and other grids are refused with both facts."""
    folder = FOLDER / "described"
    folder.mkdir()
    cases = []
    for patient in sorted((FOLDER / "data/training").iterdir()):
        label = sorted(patient.glob("*_frame01_gt.nii.gz"))[0]
        image = label.with_name(label.name.replace("_gt", ""))
        data = np.asarray(nibabel.load(label).dataobj)
        nibabel.Nifti1Image(np.choose(data, [0, 3, 2, 1]).astype(np.uint8), nibabel.load(label).affine).to_filename(folder / label.name)
        (folder / image.name).write_bytes(image.read_bytes())
        cases.append({"image": image.name, "label": label.name, "patient": patient.name})
    plain = {"name": "plain", "labels": ["background", "RV", "myocardium", "LV"], "training": [
        {"image": f"data/training/{c['patient']}/{c['image']}", "label": f"data/training/{c['patient']}/{c['label']}", "patient": c["patient"]} for c in cases]}
    description = {"name": "reordered", "labels": ["background", "LV", "myocardium", "RV"], "training": cases}
    (FOLDER / "dataset.json").write_text(json.dumps(plain))
    (folder / "dataset.json").write_text(json.dumps(description))
    options = ["--model", FOLDER / "student.onnx", "--batch", 2, "--steps", 3]
    call(MITRAL, "train", *options, "--data", FOLDER.path, "-o", FOLDER / "plain.onnx")
    call(MITRAL, "train", *options, "--data", folder, "-o", FOLDER / "reordered.onnx")
    assert same("plain.onnx", "reordered.onnx"), "classes were not matched by name"
    for case in cases:  # nothing but background and the left ventricle
        label = nibabel.load(folder / case["label"])
        data = np.asarray(label.dataobj)
        nibabel.Nifti1Image(np.where(data == 1, data, 0).astype(np.uint8), label.affine).to_filename(folder / f"few_{case['label']}")
    (folder / "dataset.json").write_text(json.dumps(description | {"training": [case | {"label": f"few_{case['label']}"} for case in cases]}))
    model = onnx.load(FOLDER / "student.onnx")  # made never to answer RV
    head = [node for node in model.graph.node if node.op_type == "Conv"][-1]
    bias = next(i for i in model.graph.initializer if i.name == head.input[2])
    bias.CopyFrom(onnx.numpy_helper.from_array(np.float32([0, -1000, 0, 0]), bias.name))
    onnx.save(model, FOLDER / "few.onnx")
    done = subprocess.run([MITRAL, "train", "--model", FOLDER / "few.onnx", "--batch", "2", "--steps", "1", "--data", folder, "-o",
                           FOLDER / "few_trained.onnx"], capture_output=True, text=True, check=True)
    assert "(RV in no case, " in done.stderr and "nan" not in done.stderr, done.stderr
    (folder / "dataset.json").write_text(json.dumps(description | {"labels": ["background", "a", "b", "c", "d"]}))
    error = call(MITRAL, "train", *options, "--data", folder, "-o", FOLDER / "never.onnx", code=1)
    assert "4 classes" in error and "found 5" in error, error
    (folder / "dataset.json").write_text(json.dumps(description | {"labels": ["background", "heart"]}))
    call(MITRAL, "create", "dpu-net", "-o", FOLDER / "two.onnx", *SMALL, "--classes", 2)
    error = call(MITRAL, "train", "--model", FOLDER / "two.onnx", "--data", folder, "-o", FOLDER / "never.onnx", code=1)
    assert cases[0]["label"] in error and "label" in error, error
    (folder / "dataset.json").write_text(json.dumps(description))
    wrong = nibabel.load(folder / cases[0]["label"])
    nibabel.Nifti1Image(np.asarray(wrong.dataobj)[1:], wrong.affine).to_filename(folder / cases[0]["label"])
    error = call(MITRAL, "train", *options, "--data", folder, "-o", FOLDER / "never.onnx", code=1)
    assert "expected the geometry of its image" in error and cases[0]["label"] in error, error
    assert not (FOLDER / "never.onnx").exists()


def test_teacher_of_a_fixed_batch():
    """A teacher that takes any number of images sees them one by one; one exported for a batch sees it whole, and says the same."""
    model = onnx.load(FOLDER / "teacher.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, FOLDER / "pair.onnx")
    terms = []
    for teacher in ("teacher.onnx", "pair.onnx"):
        FOLDER.distill("--teacher", FOLDER / teacher, "--steps", 1, "--method", "mavkd", "-o", FOLDER / "taught.onnx", "--log", FOLDER / "taught.jsonl")
        terms.append(json.loads((FOLDER / "taught.jsonl").read_text().splitlines()[0])["terms"])
    assert len(terms[0]) > 2 and terms[0].keys() == terms[1].keys(), terms
    assert all(abs(terms[0][name] - terms[1][name]) < 1e-5 * abs(terms[1][name]) for name in terms[0]), terms


def test_bench_times_training_steps():
    text = call(MITRAL, "bench", FOLDER / "student.onnx", "--train", "--teacher", FOLDER / "teacher.onnx", "--batch", 2, "--repeat", 3, "--json")
    timing = json.loads(text)
    assert timing["step_ms"] > timing["teacher_ms"] > 0 and timing["peak_rss_mb"] > 0, timing
    profiled = json.loads(call(MITRAL, "bench", FOLDER / "student.onnx", "--train", "--batch", 2, "--repeat", 3, "--json", "--profile"))
    plain = json.loads(call(MITRAL, "bench", FOLDER / "student.onnx", "--train", "--batch", 2, "--repeat", 3, "--json"))
    assert profiled["peak_rss_mb"] < plain["peak_rss_mb"] + 100, f"the memory of measuring the machine counts: {profiled}, {plain}"
    error = call(MITRAL, "bench", FOLDER / "student.onnx", "--train", "--method", "fitnet", code=64)
    assert "fitnet: expected a teacher" in error, error


def test_gradients_take_the_memory_of_what_is_not_read_again():
    call(MITRAL, "create", "dpu-net", "-o", FOLDER / "full.onnx")
    timing = json.loads(call(MITRAL, "bench", FOLDER / "full.onnx", "--train", "--batch", 1, "--repeat", 1, "--json", "--memory", "low"))
    assert timing["arena_mb"] < 105, timing


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main(globals())
