#!/usr/bin/env python3
"""Write the 2,033 cases of ONNX's own backend suite (onnx 1.23.2) to a folder.

    python3 tests/conformance/write_cases.py OUT      needs onnx and numpy

Each case is OUT/<suite>/<name>/{model.onnx, data.json (rtol, atol), test_data_set_*/{input,output}_*.pb}. The suites are node (1,884,
generated in process by the wheel), simple (23), pytorch-converted (82), pytorch-operator (35) and light (9 classic CNNs with
made-up weights). A case passes as in onnx's runner: same type and shape, |got - want| <= atol + rtol*|want|, strings equal.
"""
import os, sys, shutil, glob, json
import numpy as np
np.random.seed(0)
import onnx
from onnx import numpy_helper, TensorProto
out = sys.argv[1]
from onnx.backend.test.loader import load_model_tests, DATA_DIR
def wr(path, v, vi):
    t = vi.type
    with open(path, "wb") as f:
        if t.HasField("map_type"): p = numpy_helper.from_dict(v, vi.name)
        elif t.HasField("sequence_type"): p = numpy_helper.from_list(v, vi.name)
        elif t.HasField("optional_type"): p = numpy_helper.from_optional(v, vi.name)
        elif isinstance(v, TensorProto): p = v
        else: p = numpy_helper.from_array(np.asarray(v), vi.name)
        f.write(p.SerializeToString())
n = 0; bad = []
for c in load_model_tests(kind="node"):
    d = os.path.join(out, "node", c.name)
    shutil.rmtree(d, ignore_errors=True); os.makedirs(d)
    try:
        open(d + "/model.onnx", "wb").write(c.model.SerializeToString())
        json.dump({"rtol": c.rtol, "atol": c.atol}, open(d + "/data.json", "w"))
        for i, (ins, outs) in enumerate(c.data_sets):
            s = f"{d}/test_data_set_{i}"; os.makedirs(s)
            for j, v in enumerate(ins): wr(f"{s}/input_{j}.pb", v, c.model.graph.input[j])
            for j, v in enumerate(outs): wr(f"{s}/output_{j}.pb", v, c.model.graph.output[j])
        n += 1
    except Exception as e:
        bad.append((c.name, repr(e)))
print("node written", n, "bad", len(bad))
for b in bad: print(b)
for k in ("simple", "pytorch-converted", "pytorch-operator"):
    shutil.copytree(os.path.join(DATA_DIR, k), os.path.join(out, k), dirs_exist_ok=True)
    print(k, len([x for x in os.listdir(os.path.join(out,k)) if os.path.exists(os.path.join(out,k,x,'model.onnx'))]))
# light: model + precomputed outputs; input is arange/n in [0,1)
L = os.path.join(DATA_DIR, "light")
for m in sorted(glob.glob(L + "/light_*.onnx")):
    name = os.path.basename(m)[6:-5]
    d = os.path.join(out, "light", "test_" + name); s = d + "/test_data_set_0"
    os.makedirs(s, exist_ok=True)
    shutil.copy(m, d + "/model.onnx")
    g = onnx.load(m).graph
    init = {i.name for i in g.initializer}
    k = 0
    for x in g.input:
        if x.name in init: continue
        sh = tuple(q.dim_value if q.HasField("dim_value") else 1 for q in x.type.tensor_type.shape.dim)
        nn = int(np.prod(sh))
        a = (np.arange(nn).reshape(sh) / nn).astype(np.float32)
        open(f"{s}/input_{k}.pb", "wb").write(numpy_helper.from_array(a, x.name).SerializeToString()); k += 1
    for i, o in enumerate(sorted(glob.glob(f"{L}/light_{name}_output_*.pb"))):
        shutil.copy(o, f"{s}/output_{i}.pb")
    dj = os.path.join(DATA_DIR, "real", "test_" + name, "data.json")
    if os.path.exists(dj):
        j = json.load(open(dj)); json.dump({"rtol": j["rtol"], "atol": j["atol"]}, open(d + "/data.json", "w"))
    print("light", name, k, "inputs", len(glob.glob(s + "/output_*")), "outputs")
