#!/usr/bin/env python3
"""benchmarks/compare and the tables of benchmarks/report.py, on made-up results."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("MITRAL_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(ROOT / "benchmarks"))
import report


def row(network, threads, group="general", **times):
    return {"network": network, "threads": threads, "precision": "f32", "group": group, "load_average": 0.1,
            "engines": {engine: {"median_ms": time} for engine, time in times.items()}}


def results(*rows):
    return {"machine": {"cpu": "some", "cores": 2, "versions": {"mitral": "0"}}, "rows": list(rows)}


def compare(old, new, *options):
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, content in (("old", old), ("new", new)):
            files.append(pathlib.Path(folder) / name)
            files[-1].write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        done = subprocess.run([sys.executable, ROOT / "benchmarks/compare", *files, *options], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr


class Compare(unittest.TestCase):
    def test_slower_machine_is_no_regression(self):
        status, out, _ = compare(results(row("a", 1, mitral=10, openvino=20)), results(row("a", 1, mitral=30, openvino=60)))
        self.assertEqual(status, 0)
        self.assertIn("same", out)

    def test_regression(self):
        old, new = results(row("a", 1, mitral=10, openvino=20), row("b", 1, mitral=5)), results(row("a", 1, mitral=12, openvino=20), row("b", 1, mitral=5))
        status, out, _ = compare(old, new)
        self.assertEqual(status, 1)
        self.assertEqual([line.split("|")[-2].strip() for line in out.splitlines()[2:4]], ["slower", "same"])
        self.assertEqual(compare(old, new, "--threshold", "25")[0], 0)

    def test_without_peer_times_are_compared(self):
        self.assertEqual(compare(results(row("a", 1, mitral=10)), results(row("a", 1, mitral=11)))[0], 1)
        self.assertEqual(compare(results(row("a", 1, mitral=10)), results(row("a", 1, mitral=9)))[0], 0)

    def test_nothing_to_compare(self):
        self.assertEqual(compare(results(row("a", 1, mitral=10)), results(row("b", 1, mitral=11)))[0], 2)
        status, _, message = compare("{", results())
        self.assertEqual(status, 2)
        self.assertIn("expected a results file", message)


class Goals(unittest.TestCase):
    def met(self, *rows):
        return {goal[0].split(",")[0]: goal[3] for goal in report.goals(results(*rows))}

    def test_dpu_net(self):
        self.assertTrue(self.met(row("dpu-net", 1, "own", mitral=10, openvino=22, onnxruntime=31))["DPU-Net f32 against OpenVINO"])
        found = self.met(row("dpu-net", 1, "own", mitral=10, openvino=22, onnxruntime=31), row("dpu-net", 2, "own", mitral=6, openvino=13, onnxruntime=20))
        self.assertFalse(found["DPU-Net f32 against OpenVINO"])
        self.assertTrue(found["DPU-Net f32 against ONNX Runtime"])
        self.assertFalse(found["DPU-Net f32"])

    def test_general(self):
        self.assertTrue(self.met(row("a", 1, mitral=10, openvino=16), row("b", 1, mitral=10, openvino=9.5))["general networks (2)"])
        self.assertFalse(self.met(row("a", 1, mitral=10, openvino=30), row("b", 1, mitral=10, openvino=8))["general networks (2)"])

    def test_text(self):
        told = report.text(results(row("dpu-net", 1, "own", mitral=10, openvino=22)))
        self.assertIn("| DPU-Net f32 against OpenVINO | ≥ 2.2× faster | 2.20 (1 thread) | yes |", told)

    def test_steps_of_what_was_missed(self):
        for openvino, shown in ((21, True), (23, False)):
            given = row("dpu-net", 1, "own", mitral=10, openvino=openvino)
            given["steps"] = ["  1.0 a step"]
            self.assertEqual(shown, "  1.0 a step" in report.text(results(given)))

    def test_unet_has_two_peers(self):
        goals = report.goals(results(row("unet", 1, "own", mitral=10, openvino=21, onnxruntime=22, ncnn=5)))
        self.assertEqual([("2.10 (1 thread)", True)], [goal[2:] for goal in goals if "teacher" in goal[0]])


if __name__ == "__main__":
    unittest.main()
