"""The Python layer: NumPy arrays in and out, one plan in several threads, and refusals that say what was expected and found."""

import contextlib
import gc
import pathlib
import subprocess
import sys
import tempfile
import threading

import numpy as np

import mitral
import support

FOLDER = pathlib.Path(tempfile.mkdtemp())
MODEL = FOLDER / "model.onnx"
IMAGE = np.random.default_rng(1).standard_normal((1, 1, 32, 32)).astype(np.float32)


def refused(words, function, *arguments, **options):
    try:
        function(*arguments, **options)
    except mitral.Error as error:
        assert words in str(error) and "\n" not in str(error), error
    else:
        raise AssertionError(f"expected an error with '{words}'")


def test_arrays():
    plan = mitral.compile(MODEL)
    session = plan.session(threads=1)
    expected, = session.run({"image": IMAGE})
    assert expected.shape == (1, 4, 32, 32) and np.isfinite(expected).all()
    other, = session.run({"image": -IMAGE})
    assert not np.array_equal(other, expected), "outputs are not copies"
    assert np.array_equal(plan.session(threads=np.int64(1)).run({"image": IMAGE})[0], expected)
    for array in (np.asfortranarray(IMAGE), np.repeat(IMAGE, 2, 3)[..., ::2], IMAGE.astype(">f4"), np.asfortranarray(IMAGE.astype(">f4"))):
        assert np.array_equal(session.run({"image": array})[0], expected)
    for batch in (3, 0, 1):
        found, = session.run({"image": np.repeat(IMAGE, batch, 0)})
        assert found.shape == (batch, 4, 32, 32) and all(np.array_equal(one, expected[0]) for one in found)
    path = FOLDER / "model.plan"
    mitral.compile(MODEL, shapes={"image": (1, 1, 32, 32)}).save(path)
    assert np.array_equal(mitral.load(path).session(threads=1).run({"image": IMAGE})[0], expected)


def test_one_plan_in_several_threads():
    plan = mitral.compile(MODEL)
    expected, = plan.session(threads=1).run({"image": IMAGE})
    wrong = []

    def work(number):
        session = plan.session(threads=1 + number % 2)
        for turn in range(10):
            found, = session.run({"image": np.repeat(IMAGE, 1 + (number + turn) % 3, 0)})
            wrong.extend((number, turn) for one in found if not np.array_equal(one, expected[0]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong


def test_refusals():
    plan = mitral.compile(MODEL)
    session = plan.session(threads=1)
    refused("expected float32[-1,1,32,32] (-1 is any size), found float64", session.run, {"image": IMAGE.astype(np.float64)})
    refused("found float32[1,1,31,32]", session.run, {"image": IMAGE[:, :, 1:]})
    refused("expected a numeric array", session.run, {"image": np.array(["a"])})
    for dtype in ([("a", ">f4")], ">U1", np.dtypes.StringDType()):
        refused("expected a numeric array", session.run, {"image": np.zeros(2, dtype)})
    refused("(-1 is any size), found float64", session.run, {"image": IMAGE.astype(">f8")})
    refused("expected arrays by name (image), found list", session.run, [IMAGE])
    refused("expected arrays by name (image), found image, mask", session.run, {"image": IMAGE, "mask": IMAGE})
    refused("input 'image': expected an array, found none", session.run, {})
    for threads in (-1, 4097, 2**32 + 1, 2**40, -(2**32) + 1):
        refused(f"threads: expected 0 to 4096, found {threads}", plan.session, threads=threads)
        refused(f"threads: expected 0 to 4096, found {threads}", mitral.compile, MODEL, threads=threads)
    refused("precision: expected f32 or bf16, found int8", mitral.compile, MODEL, precision="int8")
    refused("expected the name of an input (image), found 'picture'", mitral.compile, MODEL, shapes={"picture": (1, 1, 32, 32)})
    refused("expected 32 in dimension 2, found 16", mitral.compile, MODEL, shapes={"image": (1, 1, 16, 16)})
    for shape in ((1,) * 13, (-1, 1, 32, 32), (2**63, 1, 32, 32)):
        refused("shape of input 'image': expected at most 12 sizes of 0 to 2^63 - 1", mitral.compile, MODEL, shapes={"image": shape})
    refused("input 'image': expected at most 12 dimensions, found 13", session.run, {"image": np.zeros((1,) * 13, np.float32)})
    refused("No such file", mitral.load, FOLDER / "none.plan")
    for call in (mitral.load, mitral.compile, plan.save):
        refused("expected a path or name without NUL", call, f"{MODEL}\0.plan")
    refused("expected a path or name without NUL", mitral.compile, MODEL, taps=["image\0"])
    refused("expected a path or name without NUL", session.value, "image\0")
    assert session.run({"image": IMAGE})[0].shape == (1, 4, 32, 32), "a refusal spoils the session"


# Says at each destruction what is destroyed; the library's functions are looked up by these names.
WATCH = """
import os, mitral
def watch(kind, say):
    library, name = mitral._lib(), f"mitral_{kind}_destroy"
    destroy = getattr(library, name)
    def watched(pointer):
        say(kind)
        destroy(pointer)
    setattr(library, name, watched)
    return lambda: setattr(library, name, destroy)
"""


class Net:
    """Plan and session in one reference cycle, found by the collector in either order; with `asks`, it runs while it is collected."""

    def __init__(self, order, asks=None):
        self.asks = asks
        parts = {"plan": mitral.compile(MODEL)}
        parts["session"] = parts["plan"].session(threads=1)
        parts["plan"].owner = parts["session"].owner = self
        for name in order:
            setattr(self, name, parts[name])

    def __del__(self):
        if self.asks is not None:
            try:
                self.asks.append(self.session.run({"image": IMAGE})[0].shape)
            except mitral.Error as error:
                self.asks.append(str(error))


def test_cycles():
    names, destroyed, asked = {}, [], []
    exec(WATCH, names)
    with contextlib.ExitStack() as stack:
        for kind in ("context", "plan", "session"):
            stack.callback(names["watch"](kind, destroyed.append))
        for order in (("plan", "session"), ("session", "plan"), ("session",)):
            for asks in (None, asked):
                gc.collect()
                destroyed.clear()
                Net(order, asks)
                gc.collect()
                assert destroyed in ["session context plan context".split(), "session plan context context".split()], (order, destroyed)
        plan = mitral.compile(MODEL)
        session = plan.session(threads=1)
        destroyed.clear()
        del plan
        gc.collect()
        assert not destroyed and session.run({"image": IMAGE})[0].shape == (1, 4, 32, 32)
        del session
        assert destroyed[0] == "session" and sorted(destroyed) == ["context", "context", "plan", "session"], destroyed
    assert len(asked) == 3 and all("found one that was collected already" in str(answer) or answer == (1, 4, 32, 32) for answer in asked), asked


def test_exit():
    for order in ("PLAN, SESSION", "SESSION, PLAN"):
        for owner in ("", "PLAN.owner = SESSION.owner = run", "import gc; gc.disable(); run.own = run, PLAN, SESSION"):
            code = f"""{WATCH}
import numpy
for kind in ("plan", "session"):
    watch(kind, lambda kind, write=os.write: write(1, (kind + " ").encode()))
def run(): return SESSION.run({{"image": numpy.zeros((1, 1, 32, 32), numpy.float32)}}), PLAN
plan = mitral.compile({str(MODEL)!r})
{order} = (plan, plan.session(threads=2))[::{1 if order.startswith("PLAN") else -1}]
del plan
run()
{owner}
"""
            found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
            assert found.returncode == 0 and not found.stderr and not found.stdout.startswith("plan"), (code, found)


if __name__ == "__main__":
    subprocess.run([support.MITRAL, "create", "dpu-net", "--size", "32", "--widths", "4,8,8,8,8", "-o", MODEL], check=True)
    support.main(globals())
