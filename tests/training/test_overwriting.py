"""What a command writes never replaces what it reads, nor is written twice to one file: refused before anything is lost."""

import json
import os

from support import MITRAL, Folder, call, main

FOLDER = Folder()


def refused(error, *paths):
    last = error.strip().splitlines()[-1]
    assert "expected another file to write to than" in last and all(str(path) in last for path in paths), last


def test_training():
    before = {name: (FOLDER / name).read_bytes() for name in ("student.onnx", "teacher.onnx")}
    output, log, run = FOLDER / "out.onnx", FOLDER / "log.jsonl", FOLDER / "run"
    (FOLDER / "link.onnx").symlink_to("teacher.onnx")
    (FOLDER / "configuration.json").write_text('{"steps": 1}')
    for options, path in ((["--log", FOLDER / "student.onnx"], "student.onnx"), (["--log", FOLDER / "link.onnx"], "teacher.onnx"),
                          (["--log", output], "out.onnx"), (["--log", FOLDER / "data/../out.onnx"], "out.onnx"), (["--log", FOLDER / "out.json"], "out.json"),
                          (["--log", FOLDER / "configuration.json", "--config", FOLDER / "configuration.json"], "configuration.json"),
                          (["--log", run / "checkpoint.bin", "--checkpoint", run], "checkpoint.bin"),
                          (["--log", run / "result.json", "--checkpoint", run], "result.json")):
        refused(FOLDER.distill("--steps", 1, "-o", output, *options, code=1), path)
        assert not output.exists() and not run.exists(), "the run began"
    for where in (run / "best.bin", run / "log.jsonl", run / "configuration.onnx"):
        refused(FOLDER.distill("--steps", 1, "-o", where, "--checkpoint", run, code=1), run)
    assert {name: (FOLDER / name).read_bytes() for name in before} == before and (FOLDER / "configuration.json").read_text() == '{"steps": 1}'
    # the run's own log by its name, its own configuration once more, and what keeps nothing
    FOLDER.distill("--steps", 1, "-o", output, "--checkpoint", run, "--log", run / "log.jsonl")
    FOLDER.distill("--config", FOLDER / "out.json", "--checkpoint", FOLDER / "again", "--log", log, "-o", output)
    FOLDER.distill("--steps", 1, "-o", output, "--log", "/dev/null")
    assert log.read_text().count("gradient_norm") == 1


def test_evaluation():
    (FOLDER / "evaluated.onnx").write_bytes((FOLDER / "student.onnx").read_bytes())
    model, data, there = FOLDER / "evaluated.onnx", FOLDER / "data", FOLDER / "there"
    image = sorted((data / "training").rglob("*frame01.nii.gz"))[0]
    before, scan = model.read_bytes(), image.read_bytes()
    there.write_text("")
    base = [MITRAL, "evaluate", model, "--data", data, "--split", "training"]
    for options, path in ((["--csv", model], model), ([f"--json={model}"], model), (["--csv", image], image), ([f"--json={image}"], image),
                          ([f"--json={there}", "--csv", there], there), ([f"--json={FOLDER / 'new'}", "--csv", FOLDER / "new"], FOLDER / "new"),
                          (["--csv", FOLDER / "new", "--overlays", FOLDER / "new"], FOLDER / "new")):
        refused(call(*base, *options, code=1), path)
    assert model.read_bytes() == before and image.read_bytes() == scan and not (FOLDER / "new").exists()
    call(*base, "--json=/dev/null", "--csv", "/dev/null")
    call(*base, f"--json={FOLDER / 'figures.json'}", "--csv", FOLDER / "figures.csv")
    assert json.loads((FOLDER / "figures.json").read_text()) and (FOLDER / "figures.csv").read_text()


def test_report():
    run = FOLDER / "reported"
    FOLDER.distill("--steps", 1, "--checkpoint", run, "-o", FOLDER / "reported.onnx")
    call(MITRAL, "evaluate", FOLDER / "reported.onnx", "--data", FOLDER / "data", "--split", "training", "--json", run / "evaluation.json")
    files = [path for path in run.rglob("*") if path.is_file()] + [FOLDER / "student.onnx", FOLDER / "reported.onnx"]
    assert {"log.jsonl", "checkpoint.bin", "result.json", "evaluation.json", "1_worst.png"} <= {path.name for path in files}
    for path in files:
        before = path.read_bytes()
        refused(call(MITRAL, "report", run, "-o", path, code=1), path)
        assert path.read_bytes() == before
    call(MITRAL, "report", run, "-o", run / "report.html")
    call(MITRAL, "report", run, "-o", run / "report.html")


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main(globals())
