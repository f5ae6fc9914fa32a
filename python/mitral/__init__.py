"""mitral from Python: a thin layer over the C library (include/mitral.h) for NumPy arrays.

    import mitral
    plan = mitral.compile("student.onnx", shapes={"image": (1, 1, 224, 224)})
    session = plan.session(threads=2)
    logits, = session.run({"image": array})

The library is found through MITRAL_LIBRARY, or as libmitral.so.0 where the system's loader looks. Outputs are copies.
A process forked after a run of several threads (multiprocessing's "fork") never returns from a run of several: GNU OpenMP waits there for threads
that fork does not copy. Use "spawn", or threads=1 either before the fork or after it.
"""

import ctypes
import operator
import os
import weakref
from collections.abc import Mapping

import numpy as np

MAX_RANK = 12
MOST_THREADS = 4096
_DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16,
           11: np.float64, 12: np.uint32, 13: np.uint64, 14: np.complex64, 15: np.complex128}
_NUMBERS = {np.dtype(v): k for k, v in _DTYPES.items()}
PRECISIONS = {"f32": 0, "bf16": 1}


class Error(RuntimeError):
    """A call of the library failed; the message says what was expected and what was found."""


class _Tensor(ctypes.Structure):
    _fields_ = [("dtype", ctypes.c_int32), ("rank", ctypes.c_int32), ("dims", ctypes.c_int64 * MAX_RANK), ("data", ctypes.c_void_p),
                ("layout", ctypes.c_int32), ("packing", ctypes.c_void_p)]


class _Value(ctypes.Structure):
    pass


_Value._fields_ = [("kind", ctypes.c_int32), ("count", ctypes.c_int32), ("tensor", _Tensor), ("items", ctypes.POINTER(_Value))]


class _Info(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("kind", ctypes.c_int32), ("dtype", ctypes.c_int32), ("rank", ctypes.c_int32),
                ("dims", ctypes.c_int64 * MAX_RANK), ("dim_names", ctypes.c_char_p * MAX_RANK)]


class _Shape(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("rank", ctypes.c_int32), ("dims", ctypes.c_int64 * MAX_RANK)]


class _CompileOptions(ctypes.Structure):
    _fields_ = [("shapes", ctypes.POINTER(_Shape)), ("shape_count", ctypes.c_size_t), ("precision", ctypes.c_int),
                ("interpret", ctypes.c_bool), ("tune", ctypes.c_bool), ("taps", ctypes.POINTER(ctypes.c_char_p)),
                ("tap_count", ctypes.c_size_t), ("dump_after", ctypes.c_char_p), ("stop_after", ctypes.c_char_p),
                ("dump", ctypes.c_void_p), ("dump_user", ctypes.c_void_p), ("threads", ctypes.c_int)]


class _SessionOptions(ctypes.Structure):
    _fields_ = [("threads", ctypes.c_int), ("keep_denormals", ctypes.c_bool), ("pin", ctypes.c_bool)]


def _load():
    if "OMP_WAIT_POLICY" not in os.environ:  # as cli/waiting.c says; without effect where OpenMP is in the process already
        os.environ.setdefault("GOMP_SPINCOUNT", "4000")
    library = ctypes.CDLL(os.environ.get("MITRAL_LIBRARY", "libmitral.so.0"))
    handle, out = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
    library.mitral_context_create.argtypes = [out, handle]
    library.mitral_context_message.argtypes = [handle]
    library.mitral_context_message.restype = ctypes.c_char_p
    library.mitral_model_load.argtypes = [out, handle, ctypes.c_char_p]
    library.mitral_compile.argtypes = [out, handle, handle, ctypes.POINTER(_CompileOptions)]
    library.mitral_plan_open.argtypes = [out, handle, ctypes.c_char_p]
    library.mitral_plan_save.argtypes = [handle, handle, ctypes.c_char_p]
    library.mitral_session_create.argtypes = [out, handle, handle, ctypes.POINTER(_SessionOptions)]
    library.mitral_session_run.argtypes = [handle, ctypes.POINTER(ctypes.POINTER(_Value)), ctypes.c_size_t,
                                           ctypes.POINTER(ctypes.POINTER(_Value)), ctypes.c_size_t]
    library.mitral_session_value.argtypes = [handle, ctypes.c_char_p]
    library.mitral_session_value.restype = ctypes.POINTER(_Value)
    for kind in ("input", "output"):
        getattr(library, f"mitral_plan_{kind}_count").argtypes = [handle]
        getattr(library, f"mitral_plan_{kind}_count").restype = ctypes.c_size_t
        getattr(library, f"mitral_plan_{kind}").argtypes = [handle, ctypes.c_size_t]
        getattr(library, f"mitral_plan_{kind}").restype = _Info
    for name in ("context", "model", "plan", "session"):
        getattr(library, f"mitral_{name}_destroy").argtypes = [out]
        getattr(library, f"mitral_{name}_destroy").restype = None
    return library


_library = None


def _lib():
    global _library
    if _library is None:
        _library = _load()
    return _library


class _Token:
    """Stands for one object of the library; whoever holds it keeps that object alive."""


def _destroy(destroy, pointer, *_used):
    destroy(ctypes.byref(pointer))


class _Handle:
    """Owns one object of the library, destroyed when neither this is left nor an object that uses it.

    Not by __del__: Python runs those of a reference cycle in any order. A finalizer waits in weakref's own list, outside of all cycles, with the
    tokens of what its object uses: so what is used is always destroyed after its users. At exit nothing is destroyed: a daemon thread
    may be inside a run, and the system takes the memory back."""

    kind = ""

    def __init__(self, pointer, *used):
        self._pointer, self._token = pointer, _Token()
        destroy = getattr(_lib(), f"mitral_{self.kind}_destroy")
        weakref.finalize(self._token, _destroy, destroy, pointer, *[other._token for other in used]).atexit = False

    @property
    def _handle(self):
        if not self._pointer:  # a __del__ of the same cycle may still call
            raise Error(f"expected a {self.kind} in use, found one that was collected already")
        return self._pointer


class _Context(_Handle):
    kind = "context"

    def __init__(self):
        handle = ctypes.c_void_p()
        if _lib().mitral_context_create(ctypes.byref(handle), None):
            raise MemoryError("mitral: a context could not be made")
        super().__init__(handle)

    def check(self, status):
        if status:
            raise Error(_lib().mitral_context_message(self._handle).decode("utf-8", "replace"))


def _chars(text):
    """Bytes for the C library, in which a string ends at the first NUL."""
    if b"\0" in text:
        raise Error(f"expected a path or name without NUL, found {text!r}")
    return text


def _threads(number):
    """A number of threads for the library's int, which ctypes would cut to 32 bits."""
    if not 0 <= operator.index(number) <= MOST_THREADS:
        raise Error(f"threads: expected 0 to {MOST_THREADS}, found {number}")
    return operator.index(number)


def _array(value):
    """The array of a tensor value, copied; lists for sequences, None for an empty optional, a dict for a map."""
    if value.kind == 1:
        return [_array(value.items[i]) for i in range(value.count)]
    if value.kind == 2:
        return _array(value.items[0]) if value.count else None
    if value.kind == 3:
        return dict(zip(_array(value.items[0]).tolist(), _array(value.items[1])))
    tensor = value.tensor
    if tensor.dtype not in _DTYPES:
        raise Error(f"NumPy has no element type for ONNX's {tensor.dtype}")
    shape = tuple(tensor.dims[: tensor.rank])
    dtype = np.dtype(_DTYPES[tensor.dtype])
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return np.zeros(shape, dtype)
    return np.frombuffer(ctypes.string_at(tensor.data, count * dtype.itemsize), dtype).reshape(shape).copy()


class Session(_Handle):
    """Runs a plan; belongs to one thread at a time."""

    kind = "session"

    def __init__(self, plan, threads=0, keep_denormals=False, pin=False):
        self._context, self._inputs = _Context(), plan.inputs
        self._outputs = len(plan.outputs)
        handle = ctypes.c_void_p()
        options = _SessionOptions(_threads(threads), keep_denormals, pin)
        self._context.check(_lib().mitral_session_create(ctypes.byref(handle), self._context._handle, plan._handle, ctypes.byref(options)))
        super().__init__(handle, self._context, plan)
        self._values = (_Value * max(1, len(self._inputs)))()
        self._in = (ctypes.POINTER(_Value) * max(1, len(self._inputs)))()
        self._out = (ctypes.POINTER(_Value) * max(1, self._outputs))()

    def run(self, inputs, copy=True):
        """inputs: arrays by name. Returns the outputs in the plan's order; with copy=False computes and returns nothing."""
        arrays = []
        if not isinstance(inputs, Mapping) or set(inputs) - set(self._inputs):
            found = ", ".join(map(str, inputs)) if isinstance(inputs, Mapping) else type(inputs).__name__
            raise Error(f"expected arrays by name ({', '.join(self._inputs)}), found {found}")
        for i, name in enumerate(self._inputs):
            if name not in inputs:
                raise Error(f"input '{name}': expected an array, found none")
            array = np.asarray(inputs[name], order="C") # a scalar stays one
            if not array.dtype.isnative:  # the other byte order, as in files of other machines
                array = array.astype(array.dtype.newbyteorder("="))
            if array.dtype not in _NUMBERS:
                raise Error(f"input '{name}': expected a numeric array, found {array.dtype}")
            if array.ndim > MAX_RANK:
                raise Error(f"input '{name}': expected at most {MAX_RANK} dimensions, found {array.ndim}")
            arrays.append(array)
            tensor = self._values[i].tensor
            tensor.dtype, tensor.rank, tensor.data = _NUMBERS[array.dtype], array.ndim, array.ctypes.data
            tensor.dims[: array.ndim] = array.shape
            self._in[i] = ctypes.pointer(self._values[i])
        self._context.check(_lib().mitral_session_run(self._handle, self._in, len(self._inputs), self._out, self._outputs))
        return [_array(self._out[i].contents) for i in range(self._outputs)] if copy else None

    def value(self, name):
        """A tap or output of the last run; None when there is none of that name."""
        found = _lib().mitral_session_value(self._handle, _chars(name.encode()))
        return _array(found.contents) if found else None


class Plan(_Handle):
    kind = "plan"

    def __init__(self, handle, context):
        super().__init__(handle, context)
        self._context = context
        lib = _lib()
        self.inputs = [lib.mitral_plan_input(handle, i).name.decode() for i in range(lib.mitral_plan_input_count(handle))]
        self.outputs = [lib.mitral_plan_output(handle, i).name.decode() for i in range(lib.mitral_plan_output_count(handle))]

    def session(self, threads=0, keep_denormals=False, pin=False):
        return Session(self, threads, keep_denormals, pin)

    def save(self, path):
        self._context.check(_lib().mitral_plan_save(self._context._handle, self._handle, _chars(os.fsencode(path))))


def load(path):
    """Opens a plan file."""
    context, handle = _Context(), ctypes.c_void_p()
    context.check(_lib().mitral_plan_open(ctypes.byref(handle), context._handle, _chars(os.fsencode(path))))
    return Plan(handle, context)


def compile(path, shapes=None, precision="f32", threads=0, interpret=False, tune=False, taps=()):
    """Compiles an ONNX file. shapes: by input name, for inputs with symbolic dimensions."""
    if precision not in PRECISIONS:
        raise Error(f"precision: expected {' or '.join(PRECISIONS)}, found {precision}")
    shapes = shapes or {}
    array = (_Shape * max(1, len(shapes)))()
    for entry, (name, dims) in zip(array, shapes.items()):
        if len(dims) > MAX_RANK or not all(0 <= size < 2**63 for size in dims):
            raise Error(f"shape of input '{name}': expected at most {MAX_RANK} sizes of 0 to 2^63 - 1, found {'x'.join(map(str, dims))}")
        entry.name, entry.rank = _chars(name.encode()), len(dims)
        entry.dims[: len(dims)] = dims
    names = (ctypes.c_char_p * max(1, len(taps)))(*[_chars(t.encode()) for t in taps])
    options = _CompileOptions(shapes=array, shape_count=len(shapes), precision=PRECISIONS[precision], interpret=interpret, tune=tune,
                              taps=names, tap_count=len(taps), threads=_threads(threads))
    context, model, handle = _Context(), ctypes.c_void_p(), ctypes.c_void_p()
    context.check(_lib().mitral_model_load(ctypes.byref(model), context._handle, _chars(os.fsencode(path))))
    try:  # nothing before it may raise with the model loaded
        context.check(_lib().mitral_compile(ctypes.byref(handle), context._handle, model, ctypes.byref(options)))
    finally:
        _lib().mitral_model_destroy(ctypes.byref(model))
    return Plan(handle, context)
