"""The Python layer: NumPy arrays in and out, one plan in several threads, and refusals that say what was expected and found."""

import pathlib
import subprocess
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
    session = mitral.compile(MODEL).session(threads=1)
    expected, = session.run({"image": IMAGE})
    assert expected.shape == (1, 4, 32, 32) and np.isfinite(expected).all()
    other, = session.run({"image": -IMAGE})
    assert not np.array_equal(other, expected), "outputs are not copies"
    for array in (np.asfortranarray(IMAGE), np.repeat(IMAGE, 2, 3)[..., ::2]):
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
    refused("expected arrays by name (image), found list", session.run, [IMAGE])
    refused("expected arrays by name (image), found image, mask", session.run, {"image": IMAGE, "mask": IMAGE})
    refused("input 'image': expected an array, found none", session.run, {})
    refused("threads: expected at most 4096, found 100000", plan.session, threads=100000)
    refused("threads: expected at most 4096, found 100000", mitral.compile, MODEL, threads=100000)
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


if __name__ == "__main__":
    subprocess.run([support.MITRAL, "create", "dpu-net", "--size", "32", "--widths", "4,8,8,8,8", "-o", MODEL], check=True)
    support.main(globals())
