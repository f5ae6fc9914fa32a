"""JAX functions by jax2onnx: jax_cases.py OUT writes them as cases with JAX's own outputs."""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from cases import write_case
from jax2onnx import to_onnx


def weights(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:])), jnp.float32)


def convolutional(x):
    """Two convolutions, one of them strided and one dilated, a pooling and a classifier."""
    layout = ("NCHW", "OIHW", "NCHW")
    x = jax.nn.relu(jax.lax.conv_general_dilated(x, weights(0, 8, 3, 3, 3), (2, 2), "SAME", dimension_numbers=layout))
    x = jax.nn.gelu(jax.lax.conv_general_dilated(x, weights(1, 12, 8, 3, 3), (1, 1), "SAME", rhs_dilation=(2, 2), dimension_numbers=layout))
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return jax.nn.softmax(x.mean((2, 3)) @ weights(2, 12, 5))


def attention(x):
    q, k, v = (x @ weights(i, 16, 16) for i in range(3))
    y = jax.nn.softmax(q @ k.transpose(0, 2, 1) / 4) @ v
    y = (y - y.mean(-1, keepdims=True)) / jnp.sqrt(y.var(-1, keepdims=True) + 1e-5)
    return jnp.tanh(x + y)


def main(folder):
    for function, shape in ((convolutional, (2, 3, 32, 32)), (attention, (2, 10, 16))):
        x = np.random.default_rng(9).standard_normal(shape).astype(np.float32)
        proto = to_onnx(function, [jax.ShapeDtypeStruct(shape, jnp.float32)], model_name=function.__name__)
        write_case(folder / function.__name__, proto, {proto.graph.input[0].name: x}, [np.asarray(function(x))])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
