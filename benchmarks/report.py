"""What the results of run.py look like: the goals with what was measured, tables, and a bar chart."""

import statistics

ENGINES = ("mitral", "openvino", "onnxruntime", "ncnn", "torch")
NAMES = {"mitral": "mitral", "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "ncnn": "ncnn", "torch": "PyTorch"}
COLOURS = {"mitral": "#d1495b", "openvino": "#30638e", "onnxruntime": "#66a182", "ncnn": "#8d6a9f", "torch": "#edae49"}


def times_of(row):
    return {engine: values["median_ms"] for engine, values in row["engines"].items() if "median_ms" in values}


def ratio(row, *among):
    """The time of the best peer (of those named, or of all) over mitral's: above 1, mitral is faster. None where one was not measured."""
    times = times_of(row)
    peers = [time for engine, time in times.items() if engine != "mitral" and (not among or engine in among)]
    return min(peers) / times["mitral"] if peers and "mitral" in times else None


GOAL_PACKAGES = ("rapidocr", "silero") # the goal names these; other packages' models are in the table


# ---- goals ------------------------------------------------------------------------------------------------------------------


def select(rows, network=None, precision="f32", group=None, threads=None):
    return [row for row in rows if (network is None or row["network"] == network) and row["precision"] == precision
            and (group is None or row.get("group") == group) and (threads is None or row["threads"] == threads)]


def threads_text(count):
    return f"{count} thread{'s' if count > 1 else ''}"


def ratio_goal(title, least, rows, *peers):
    """One goal that each of the rows has to reach."""
    found = [(row, ratio(row, *peers)) for row in rows]
    found = [(row, value) for row, value in found if value]
    if not found:
        return None
    told = ", ".join(f"{value:.2f} ({threads_text(row['threads'])})" for row, value in found)
    return title, f"≥ {least}× faster", told, all(value >= least for _, value in found)


def published_goal(rows):
    found = [(row["network"], row["threads"], ratio(row)) for row in rows if ratio(row)]
    if not found:
        return None
    worst = min(found, key=lambda each: each[2])
    return ("dilated-parallel networks of other shapes, against the best peer", "faster on each",
            f"{worst[2]:.2f} ({worst[0]}, {threads_text(worst[1])}) to {max(each[2] for each in found):.2f}", worst[2] > 1)


def general_goal(rows):
    values = {row["network"]: ratio(row) for row in rows if ratio(row)}
    if not values:
        return None
    mean, worst = statistics.geometric_mean(values.values()), min(values, key=values.get)
    return (f"general networks ({len(values)}), against the best peer", "geometric mean ≥ 1.2×, none below 0.9×",
            f"{mean:.2f}, least {values[worst]:.2f} ({worst})", mean >= 1.2 and values[worst] >= 0.9)


def cold_goals(rows):
    for row in rows:
        engines, at = row["engines"], threads_text(row["threads"])
        if "mitral" not in engines:
            continue
        own = engines["mitral"]
        for peer, share, told in (("onnxruntime", 1, "≤ ONNX Runtime's"), ("openvino", 5, "≤ 1/5 of OpenVINO's")):
            if peer in engines:
                yield (f"cold start of DPU-Net, {at}", told, f"{own['median_ms']:.0f} against {engines[peer]['median_ms']:.0f} ms",
                       own["median_ms"] * share <= engines[peer]["median_ms"])
        if "onnxruntime" in engines:
            yield (f"peak memory of that process, {at}", "≤ half of ONNX Runtime's",
                   f"{own['rss_mb']:.0f} against {engines['onnxruntime']['rss_mb']:.0f} MB", 2 * own["rss_mb"] <= engines["onnxruntime"]["rss_mb"])


def scaling_goal(rows):
    times = {row["threads"]: times_of(row).get("mitral") for row in select(rows, "dpu-net")}
    if not times.get(1) or not times.get(2):
        return None
    return "DPU-Net f32, 1 → 2 threads", "≥ 1.85×", f"{times[1] / times[2]:.2f}", times[1] / times[2] >= 1.85


def goals(results):
    rows = results["rows"]
    found = [ratio_goal("DPU-Net f32 against OpenVINO", 2.2, select(rows, "dpu-net"), "openvino"),
             ratio_goal("DPU-Net f32 against ONNX Runtime", 3.1, select(rows, "dpu-net"), "onnxruntime"),
             ratio_goal("teacher U-Net f32 against the better of OpenVINO and ONNX Runtime", 1.1, select(rows, "unet"), "openvino", "onnxruntime"),
             ratio_goal("DPU-Net bf16 against OpenVINO bf16", 1.5, select(rows, "dpu-net", "bf16"), "openvino"),
             ratio_goal("teacher bf16 against OpenVINO bf16", 1.0, select(rows, "unet", "bf16"), "openvino"),
             published_goal(select(rows, group="published")),
             general_goal(select(rows, group="general") + [row for row in select(rows, group="real") if row["network"].startswith(GOAL_PACKAGES)]),
             *cold_goals(results.get("cold", [])), scaling_goal(rows)]
    return [goal for goal in found if goal]


# ---- tables -----------------------------------------------------------------------------------------------------------------


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]


def cell(row, engine, key="median_ms", form="{:.2f}"):
    value = row["engines"].get(engine, {}).get(key)
    return form.format(value) if value is not None else "–"


def text(results):
    rows, machine = results["rows"], results["machine"]
    engines = [engine for engine in ENGINES if any(engine in row["engines"] for row in rows)]
    loads = [row["load_average"] for row in rows] or [0]
    lines = [f"{machine['cpu']}, {machine['cores']} cores; " + ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
             + f"; load average while measuring {min(loads):.1f} to {max(loads):.1f}", ""]
    lines += table(["work", "goal", "measured", "met"], [[*goal[:3], "yes" if goal[3] else "no"] for goal in goals(results)])
    lines += ["", "Median milliseconds of one run at batch 1 (smaller is better); ratio: best peer / mitral; difference: from ONNX Runtime, of the"
              " output's range.", ""]
    lines += table(["network", "precision", "threads", *engines, "ratio", "difference"],
                   [[row["network"], row["precision"], str(row["threads"]), *(cell(row, engine) for engine in engines),
                     f"{ratio(row):.2f}" if ratio(row) else "–", cell(row, "mitral", "difference", "{:.1e}")] for row in rows])
    lines += ["", "Open to first output (ms) and memory that this adds to a Python process (MB):", ""]
    found = []
    for row in rows:
        starts = [row["engines"].get(engine, {}) for engine in engines]
        found.append([row["network"], row["precision"], str(row["threads"]),
                      *(f"{each['load_ms'] + each['first_ms']:.1f}" if "load_ms" in each else "–" for each in starts),
                      *(cell(row, engine, "rss_added_mb", "{:.0f}") for engine in engines)])
    lines += table(["network", "precision", "threads", *(f"{engine} ms" for engine in engines), *(f"{engine} MB" for engine in engines)], found)
    if results.get("cold"):
        lines += ["", "Start of a process to its first output through the C interfaces (median ms), and the process's peak memory (MB):", ""]
        lines += table(["network", "threads", *(f"{e} {unit}" for unit in ("ms", "MB") for e in ENGINES[:3])],
                       [[row["network"], str(row["threads"]), *(cell(row, e, "median_ms", "{:.0f}") for e in ENGINES[:3]),
                         *(cell(row, e, "rss_mb", "{:.0f}") for e in ENGINES[:3])] for row in results["cold"]])
    missed = {(row["network"], row["precision"]) for row in rows if "steps" in row and any(
        not goal[3] for goal in goals({"rows": select(rows, row["network"], row["precision"])}))}
    for row in rows:
        if "steps" in row and (row["network"], row["precision"]) in missed:
            lines += ["", f"Where the time of {row['network']} {row['precision']} goes, {row['threads']} thread(s), since a goal of it was missed. 'roofline': the"
                      " part of the time that the machine's peak rates of arithmetic or of memory would take. Winograd's"
                      " products are fewer than the direct ones that are counted, so more than 100 % is possible.", "", "```", *row["steps"], "```"]
    return "\n".join(lines) + "\n"


def short_name(network):
    """Of package/file: the file's, unless it says nothing."""
    package, *_, file = [network, *network.split("/")]
    return package.split("/")[0] if file == "model" else file


def chart(results, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    machine = results["machine"]
    chosen = [row for row in results["rows"] if ratio(row)]
    engines = [engine for engine in ENGINES if any(engine in row["engines"] for row in chosen)]
    if not chosen:
        return
    figure, axes = pyplot.subplots(figsize=(10, 1.2 + 0.45 * len(chosen)))
    height = 0.8 / len(engines)
    for i, engine in enumerate(engines):
        values = [times_of(row).get(engine, 0) / times_of(row)["mitral"] for row in chosen]
        places = [y + (i - len(engines) / 2 + 0.5) * height for y in range(len(chosen))]
        axes.barh(places, values, height, label=NAMES[engine], color=COLOURS[engine])
    axes.set_yticks(range(len(chosen)), [f"{short_name(row['network'])}, {row['precision']}, {row['threads']} thread{'s' * (row['threads'] > 1)}" for row in chosen])
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.6)
    axes.set_xlabel("time of one run, mitral = 1 (smaller is better)")
    axes.xaxis.grid(True, color="0.9")
    axes.set_axisbelow(True)
    axes.set_title(f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}")
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
