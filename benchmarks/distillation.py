#!/usr/bin/env python3
"""What the student learns from its teacher: methods and ablations over several seeds at equal budgets.

    distillation.py [--data ACDC] [--seeds N] [--only TEXT] [--minutes N] [--quick]

Without --data the data are a phantom (synthetic hearts) of the hard kind: shifted contrast, noise, ghosts, motion. The teacher has seen
the labels of all training patients, the student those of a few; of the others it sees the scans, with what the teacher says of them
(--unlabelled-share of each batch; 0: it does not see them). With --data a folder in ACDC's layout is used, all of its training patients are
labelled for both (--labelled N: N of them), and the last line is the row to set beside the paper's 91.26 %.

A step took 0.06 s for the student alone and 0.12 s with MAVKD on a core of its own: one to two minutes a student, an hour for all, ablations in three seeds, too. The methods come
first with --only "alone|logits|vector|CWD|FitNet|AT", the ablations with --only "MAVKD,".

Every finished run is kept in --work and skipped the next time; an interrupted one goes on where it was. Results so far are written after
each run: distillation.md, .json and two pictures in --results.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MITRAL = os.environ.get("MITRAL", str(ROOT / "build/mitral"))
STRUCTURES = ("RV", "myocardium", "LV")

# Weights of the terms: see docs/training.md. `student`: options of mitral create instead of the plain ones.
RUNS = {
    "student alone": {"options": ["--method", "none"]},
    "logits": {"options": ["--method", "logits"]},
    "vector": {"options": ["--method", "mavkd", "--map", "0"]},
    "vector + map (MAVKD)": {"options": ["--method", "mavkd"]},
    "CWD": {"options": ["--method", "cwd"]},
    "FitNet": {"options": ["--method", "fitnet"]},
    "AT": {"options": ["--method", "at"]},
    "MAVKD, dilations all 1": {"options": ["--method", "mavkd"], "student": {"dilations": "1,1,1,1"}},
    "MAVKD, no residual": {"options": ["--method", "mavkd"], "student": {"no-residual": True}},
    "MAVKD, doubling widths": {"options": ["--method", "mavkd"], "student": {"widths": "doubling"}},
}
ALONE, FULL = "student alone", "vector + map (MAVKD)"

PHANTOM = {"patients": 36, "labelled": 4, "size": 96, "student": "16,24,32,40,48", "doubling": "8,16,32,64,128", "teacher": "16,32,64,128,256", "batch": 8, "steps": 600,
           "teacher_steps": 400, "lr": 0.003, "teacher_lr": 0.002}
QUICK = dict(PHANTOM, patients=6, labelled=2, size=64, steps=6, teacher_steps=6)
REAL = {"labelled": 0, "size": 224, "student": "32,64,96,128,160", "doubling": "16,32,64,128,256", "teacher": "32,64,128,256,512", "batch": 8, "steps": 20000,
        "teacher_steps": 20000, "lr": 0.003, "teacher_lr": 0.002}


def mitral(*arguments, quiet=True):
    done = subprocess.run([MITRAL, *map(str, arguments)], check=False, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE if quiet else None)
    if done.returncode == 130:
        sys.exit(130)
    if done.returncode:
        sys.exit(f"mitral {' '.join(map(str, arguments))}\n{(done.stderr or '').strip()}")


# ---- data ----

def cases(folder, split, patients=None):
    """Entries of a dataset.json for the first `patients` of a split in ACDC's layout."""
    found = sorted(path for path in (folder / split).iterdir() if (path / "Info.cfg").exists())
    entries = []
    for path in found[:patients]:
        facts = dict(line.split(":", 1) for line in (path / "Info.cfg").read_text().splitlines() if ":" in line)
        for phase in ("ED", "ES"):
            stem = f"{split}/{path.name}/{path.name}_frame{int(facts[phase]):02d}"
            entries.append({"image": f"{stem}.nii.gz", "label": f"{stem}_gt.nii.gz", "patient": path.name, "phase": phase, "group": facts["Group"].strip()})
    return entries


def few_labelled(source, folder, patients):
    """The same folder with labels of a few training patients alone."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (source / "training").exists() and (source / "database").exists():  # as the published archive has it
        source = source / "database"
    for split in ("training", "testing"):
        if not (folder / split).exists():
            (folder / split).symlink_to((source / split).resolve())
    description = {"name": f"{patients} labelled patients", "labels": ["background", *STRUCTURES], "training": cases(source, "training", patients),
                   "testing": cases(source, "testing")}
    (folder / "dataset.json").write_text(json.dumps(description, indent=1))
    return folder


def prepare(settings, work, data):
    """(data for the teacher, data for the student)."""
    if data:
        return data, few_labelled(data, work / "labelled", settings["labelled"]) if settings["labelled"] else data
    folder = work / "phantom"
    if not (work / "phantom.done").exists():
        mitral("phantom", folder, "--patients", settings["patients"], "--hard", "--no-cine", "--seed", settings["phantom_seed"])
        (work / "phantom.done").touch()
    return folder, few_labelled(folder, work / "labelled", settings["labelled"])


# ---- runs ----

def threads(settings):
    return ["--threads", settings["threads"]] if settings["threads"] else []


def schedule(settings, rate, steps):
    return ["--steps", steps, "--batch", settings["batch"], "--optimizer", "adamw", "--lr", rate, "--schedule", "cosine", "--warmup", min(20, steps // 4),
            "--keep", "last", "--checkpoint-every", max(50, steps // 20), "--resume", *threads(settings)]


def finish(folder, train, model, data, settings):
    """Trains and evaluates unless it was done; returns the evaluation."""
    result = folder / "evaluation.json"
    if not result.exists():
        folder.mkdir(parents=True, exist_ok=True)
        mitral(*train, "--checkpoint", folder, "-o", model)
        mitral("evaluate", model, "--data", data, "--json", folder / "evaluating.json", *threads(settings))
        (folder / "evaluating.json").rename(result)
    return json.loads(result.read_text())


def train_teacher(settings, work, data):
    folder = work / "teacher"
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / "first.onnx"
    if not first.exists():
        mitral("create", "unet", "-o", first, "--widths", settings["teacher"], "--size", settings["size"], "--seed", 1)
    rest = schedule(settings, settings["teacher_lr"], settings["teacher_steps"])
    return finish(folder, ["train", "--model", first, "--data", data, *rest], folder / "teacher.onnx", data, settings)


def train_student(settings, work, all_data, data, name, seed):
    folder = work / "runs" / f"{''.join(c if c.isalnum() else '-' for c in name)}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    first, run = folder / "first.onnx", RUNS[name]
    if not first.exists():
        options = {"widths": settings["student"], **run.get("student", {})}
        options["widths"] = settings["doubling"] if options["widths"] == "doubling" else options["widths"]
        flags = [part for key, value in options.items() for part in ([f"--{key}"] if value is True else [f"--{key}", value])]
        mitral("create", "dpu-net", "-o", first, "--size", settings["size"], "--seed", seed, *flags)
    weights = ["--logits", settings["logits"], "--vector", settings["vector"], "--map", settings["map"], "--feature", settings["feature"],
               "--temperature", settings["temperature"]]
    if all_data != data and settings["unlabelled_share"] > 0 and "none" not in run["options"]:
        weights += ["--unlabelled", all_data, "--unlabelled-share", settings["unlabelled_share"]]
    train = ["distill", "--teacher", work / "teacher/teacher.onnx", "--student", first, "--data", data, *schedule(settings, settings["lr"], settings["steps"]),
             "--validation", settings["validation"], "--seed", seed, *weights, *run["options"]]
    return finish(folder, train, folder / "student.onnx", data, settings)


# ---- figures ----

def measure(evaluation):
    """Percent. A structure that is missing on one side counts as Dice 0 here, so that failures are not left out of the means."""
    by_structure = {name: [] for name in STRUCTURES}
    distances = []
    for case in evaluation["cases"]:
        for name, entry in case["structures"].items():
            if entry["in_prediction"] or entry["in_reference"]:
                by_structure.setdefault(name, []).append(100 * (entry["dice"] or 0))
                if entry["hausdorff95_mm"] is not None:
                    distances.append(entry["hausdorff95_mm"])
    means = {name: statistics.fmean(values) for name, values in by_structure.items() if values}
    return {"dice": statistics.fmean(v for values in by_structure.values() for v in values), "hd95": statistics.fmean(distances) if distances else math.nan, **means}


def spread(values, digits=2):
    if not values:
        return "–"
    return f"{statistics.fmean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else f"{values[0]:.{digits}f}"


def recovered(figures, teacher, name):
    """Share of the gap between the student alone and its teacher, of the means over the seeds that both have, in percent."""
    both = sorted(set(figures.get(ALONE, {})) & set(figures.get(name, {})))
    alone = [figures[ALONE][seed]["dice"] for seed in both]
    these = [figures[name][seed]["dice"] for seed in both]
    if not alone or not these or teacher["dice"] <= statistics.fmean(alone):
        return None
    return 100 * (statistics.fmean(these) - statistics.fmean(alone)) / (teacher["dice"] - statistics.fmean(alone))


def statement(figures, teacher):
    """What helps and what doesn't, from the figures."""
    alone = figures.get(ALONE, {})
    if not alone:
        return []
    gap = teacher["dice"] - statistics.fmean(f["dice"] for f in alone.values())
    lines = [f"The teacher is {gap:.2f} points of Dice above the student alone." if gap > 0
             else f"The teacher is no better than the student alone ({gap:.2f} points of Dice): there is no gap to recover."]
    for name in RUNS:
        both = sorted(set(figures.get(name, {})) & set(alone))
        if name == ALONE or not both:
            continue
        base = figures.get(FULL, {}) if RUNS[name].get("student") else alone
        both = [seed for seed in both if seed in base]
        if not both:
            continue
        gains = [figures[name][seed]["dice"] - base[seed]["dice"] for seed in both]
        mean, better = statistics.fmean(gains), sum(gain > 0 for gain in gains)
        against = "MAVKD with the plain network" if RUNS[name].get("student") else "the student alone"
        verdict = "helps" if better == len(gains) and mean > 0.5 else "hurts" if better == 0 and mean < -0.5 else "makes no clear difference"
        share = recovered(figures, teacher, name)
        lines.append(f"{name} {verdict}: {mean:+.2f} points against {against}, better in {better} of {len(gains)} seeds"
                     + (f"; {share:.0f} % of the gap recovered." if share is not None else "."))
    share = recovered(figures, teacher, FULL)
    if share is not None:
        lines.append(f"MAVKD recovers {share:.0f} % of the gap, {'at least' if share >= 50 else 'less than'} half of it.")
    return lines


def table(figures, teacher, settings, parameters):
    lines = ["| trained with | Dice, % | RV | myocardium | LV | HD95, mm | gap recovered | weights | seeds |", "|---|---|---|---|---|---|---|---|---|"]
    lines.append(f"| teacher | {teacher['dice']:.2f} | " + " | ".join(f"{teacher.get(s, math.nan):.2f}" for s in STRUCTURES)
                 + f" | {teacher['hd95']:.1f} | | {parameters.get('teacher', 0):,} | 1 |")
    for name in RUNS:
        found = list(figures.get(name, {}).values())
        if not found:
            continue
        share = recovered(figures, teacher, name)
        columns = [spread([f["dice"] for f in found]), *(spread([f[s] for f in found if s in f]) for s in STRUCTURES), spread([f["hd95"] for f in found], 1),
                   "" if share is None or name == ALONE else f"{share:.0f} %", f"{parameters.get(name, 0):,}", str(len(found))]
        lines.append(f"| {name} | " + " | ".join(columns) + " |")
    return lines


def count_parameters(path):
    text = subprocess.run([MITRAL, "inspect", path], check=False, capture_output=True, text=True).stdout
    words = text.split("\n", 1)[0].replace(",", "").split()
    return int(words[words.index("parameters") - 1]) if "parameters" in words else 0


def collect(work, seeds):
    figures, parameters = {}, {"teacher": count_parameters(work / "teacher/teacher.onnx")}
    for name in RUNS:
        for seed in range(seeds):
            folder = work / "runs" / f"{''.join(c if c.isalnum() else '-' for c in name)}-{seed}"
            if (folder / "evaluation.json").exists():
                figures.setdefault(name, {})[seed] = measure(json.loads((folder / "evaluation.json").read_text()))
                parameters.setdefault(name, count_parameters(folder / "student.onnx"))
    return figures, parameters


def write_results(settings, work, results, teacher, seeds, data):
    results.mkdir(parents=True, exist_ok=True)
    figures, parameters = collect(work, seeds)
    what = f"`{data}`" if data else f"phantom (synthetic hearts, the hard kind): {settings['patients']} patients, two thirds for training"
    labelled = "all training patients are labelled"
    if settings["labelled"]:
        labelled = f"the student has labels of {settings['labelled']} of them, the teacher of all"
        if settings["unlabelled_share"] > 0:
            labelled += (f". The others' scans, without labels, make {100 * settings['unlabelled_share']:.0f} % of each batch of a student with a teacher, "
                         "who learns from the teacher alone there")
    lines = ["# Distillation", "", f"Data: {what}; {labelled}. Measured on the testing patients in 3D on their own grid; mean ± SD over seeds; a structure that is "
             "missing on one side counts as 0.", "", f"Budget of each student: {settings['steps']} steps of {settings['batch']} images of {settings['size']}², AdamW "
             f"{settings['lr']}, cosine; the weights of the last step. Loss: {settings['logits']} × logits"
             f" + {settings['vector']} × vector + {settings['map']} × map, {settings['feature']} × CWD, FitNet, AT; τ {settings['temperature']}. Teacher: "
             f"{settings['teacher_steps']} steps.", "", *table(figures, teacher, settings, parameters), ""]
    lines += [f"- {line}" for line in statement(figures, teacher)]
    (results / "distillation.md").write_text("\n".join(lines) + "\n")
    (results / "distillation.json").write_text(json.dumps({"settings": settings, "teacher": teacher, "students": figures}, indent=1))
    try:
        draw(work, results, figures, teacher, seeds, settings["validation"] > 0)
    except ImportError:
        print("matplotlib is not installed: no pictures", file=sys.stderr)
    return lines, figures


# ---- pictures ----

def curve(folder, validated):
    """Validation Dice in percent; without validation the loss against the labels, means of twentieths of the run."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    if validated:
        found = [(entry["step"], 100 * entry["dice"]) for entry in entries if entry.get("dice") is not None]
        return [step for step, _ in found], [dice for _, dice in found]
    losses = [(entry["step"], entry["terms"]["cross-entropy"] + entry["terms"]["dice"]) for entry in entries if "terms" in entry]
    part = max(1, len(losses) // 20)
    groups = [losses[i:i + part] for i in range(0, len(losses) - part + 1, part)]
    return [group[-1][0] for group in groups], [statistics.fmean(loss for _, loss in group) for group in groups]


def draw(work, results, figures, teacher, seeds, validated):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(9, 5))
    for index, name in enumerate(name for name in RUNS if name in figures):
        curves = [curve(work / "runs" / f"{''.join(c if c.isalnum() else '-' for c in name)}-{seed}", validated)
                  for seed in range(seeds) if seed in figures[name]]
        length = min(len(steps) for steps, _ in curves)
        if length == 0:
            continue
        mean = [statistics.fmean(dices[i] for _, dices in curves) for i in range(length)]
        axis.plot(curves[0][0][:length], mean, label=name, color=f"C{index % 10}", linestyle="--" if RUNS[name].get("student") else "-")
    axis.set(xlabel="step", ylabel="Dice of the held-back labelled patients, %" if validated else "cross-entropy + Dice loss",
             title=("Validation" if validated else "Loss against the labels, augmented,") + " during training, mean over seeds")
    axis.grid(alpha=0.3)
    if axis.lines:
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(results / "distillation_curves.png", dpi=120)
    pyplot.close(figure)

    draw_dice(results / "distillation_dice.png", figures, teacher)


def draw_dice(path, figures, teacher):
    """A point each seed and their mean; no bars, since the axis does not begin at 0."""
    from matplotlib import pyplot

    names = [name for name in RUNS if name in figures]
    figure, axis = pyplot.subplots(figsize=(9, 0.45 * len(names) + 1.6))
    for index, name in enumerate(names):
        values, colour = [f["dice"] for f in figures[name].values()], "#5f6b76" if name == ALONE else "#2f7fb8"
        deviation = statistics.stdev(values) if len(values) > 1 else None
        axis.errorbar(statistics.fmean(values), index, xerr=deviation, fmt="D", markersize=8, color=colour, elinewidth=2)
        axis.plot(values, [index] * len(values), "k.", markersize=5)
    axis.axvline(teacher["dice"], color="#d55e00", label="teacher")
    axis.set(yticks=range(len(names)), yticklabels=names, xlabel="Dice on the testing patients, % (diamonds: mean ± SD; points: seeds)")
    axis.grid(axis="x", alpha=0.3)
    axis.invert_yaxis()
    axis.legend(loc="lower left")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


# ---- the command ----

def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=pathlib.Path, help="a folder in ACDC's layout [a phantom]")
    parser.add_argument("--work", type=pathlib.Path, help="where runs are kept [benchmarks/work/distillation…]")
    parser.add_argument("--results", type=pathlib.Path, help="where table and pictures go [benchmarks/results/distillation…]")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="runs whose name holds one of these texts, separated by |")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no run after so many")
    parser.add_argument("--quick", action="store_true", help="a few steps each, to see that everything works")
    for key in ("patients", "labelled", "size", "batch", "steps", "teacher-steps"):
        parser.add_argument(f"--{key}", type=int)
    for key in ("lr", "teacher-lr"):
        parser.add_argument(f"--{key}", type=float)
    for key in ("student", "teacher", "doubling"):
        parser.add_argument(f"--{key}", help="widths")
    parser.add_argument("--validation", type=float, default=0, help="share of the labelled patients that is held back for the curves")
    parser.add_argument("--logits", type=float, default=1)
    parser.add_argument("--vector", type=float, default=3)
    parser.add_argument("--map", type=float, default=3)
    parser.add_argument("--feature", type=float, default=3)
    parser.add_argument("--temperature", type=float, default=4)
    parser.add_argument("--unlabelled-share", type=float, default=0.5, help="part of each batch that are scans without labels, where the student has labels of a few")
    parser.add_argument("--phantom-seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


def choose(arguments):
    settings = dict(QUICK if arguments.quick else REAL if arguments.data else PHANTOM)
    fixed = ("patients", "labelled", "size", "batch", "steps", "teacher_steps", "lr", "teacher_lr", "student", "teacher", "doubling", "validation", "logits", "vector", "map",
             "feature", "temperature", "unlabelled_share", "phantom_seed", "threads")
    settings.update({key: getattr(arguments, key) for key in fixed if getattr(arguments, key, None) is not None})
    settings["data"] = str(arguments.data) if arguments.data else "phantom"
    return settings


def check_settings(work, settings):
    """Runs of other settings are not mixed; threads change nothing."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "settings.json"
    if path.exists():
        before = json.loads(path.read_text())
        for key, value in settings.items():
            if key != "threads" and before.get(key) != value:
                sys.exit(f"{work}: expected runs of these settings, found {key} {before.get(key)} there and {value} now; pass another --work")
    path.write_text(json.dumps(settings, indent=1))


def main():
    arguments = parse()
    settings = choose(arguments)
    suffix = "-quick" if arguments.quick else "-acdc" if arguments.data else ""
    work = arguments.work or ROOT / f"benchmarks/work/distillation{suffix}"
    results = arguments.results or ROOT / f"benchmarks/results/distillation{suffix}"
    seeds = min(arguments.seeds, 2) if arguments.quick else arguments.seeds
    check_settings(work, settings)
    start = time.monotonic()
    all_data, few = prepare(settings, work, arguments.data)
    teacher = measure(train_teacher(settings, work, all_data))
    print(f"teacher: Dice {teacher['dice']:.2f} %", flush=True)
    wanted = [name for name in RUNS if any(part in name for part in arguments.only.split("|"))]
    for seed in range(seeds):
        for name in wanted:
            if (time.monotonic() - start) / 60 > arguments.minutes:
                print("time is up; the same command goes on from here")
                break
            begun = time.monotonic()
            figures = measure(train_student(settings, work, all_data, few, name, seed))
            print(f"{name}, seed {seed}: Dice {figures['dice']:.2f} % ({time.monotonic() - begun:.0f} s)", flush=True)
            write_results(settings, work, results, teacher, seeds, arguments.data)
    lines, figures = write_results(settings, work, results, teacher, seeds, arguments.data)
    print("\n".join(lines))
    if arguments.data:
        print(f"\n| DPU-Net, MAVKD, our reading of the paper, {arguments.data} | {spread([f['dice'] for f in figures.get(FULL, {}).values()])} % |")
        print("| DPU-Net, the paper's own figure (ACDC) | 91.26 % |")


if __name__ == "__main__":
    main()
