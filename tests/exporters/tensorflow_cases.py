"""Keras models by tf2onnx: tensorflow_cases.py OUT writes them as cases with TensorFlow's own outputs."""

import pathlib
import sys

import numpy as np
import tensorflow as tf
import tf2onnx
from cases import write_case
from tensorflow.keras import Model, Sequential, layers


def convolutional():
    """Strided, depthwise, dilated and transposed convolutions with batch normalization, as segmentation networks use them."""
    x = inputs = layers.Input((64, 64, 3))
    x = skip = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(x)))
    x = layers.ReLU(max_value=6.0)(layers.BatchNormalization()(layers.Conv2D(24, 3, strides=2, padding="same")(x)))
    x = layers.DepthwiseConv2D(5, padding="same")(x)
    x = layers.Add()([x, layers.Conv2D(24, 3, dilation_rate=2, padding="same", activation="swish")(x)])
    scale = layers.Dense(24, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    x = layers.Multiply()([x, layers.Reshape((1, 1, 24))(scale)])
    x = layers.Conv2DTranspose(16, 2, strides=2, padding="same")(x)
    x = layers.Concatenate()([x, skip])
    return Model(inputs, layers.Softmax()(layers.Conv2D(4, 1)(x))), (2, 64, 64, 3)


def recurrent():
    return Sequential([layers.Input((20, 12)), layers.Bidirectional(layers.LSTM(16, return_sequences=True)), layers.GRU(10),
                       layers.Dense(5, activation="softmax")]), (3, 20, 12)


def attention():
    x = inputs = layers.Input((18, 32))
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 8)(x, x))
    x = layers.LayerNormalization()(x + layers.Dense(32)(layers.Dense(64, activation="swish")(x)))
    return Model(inputs, layers.Dense(7)(layers.GlobalMaxPooling1D()(x))), (2, 18, 32)


def main(folder):
    for build in (convolutional, recurrent, attention):
        tf.keras.utils.set_random_seed(1)
        model, shape = build()
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        function = tf.function(lambda image, model=model: model(image, training=False))
        proto, _ = tf2onnx.convert.from_function(function, [tf.TensorSpec([None, *shape[1:]], tf.float32, name="x")], opset=17)
        write_case(folder / build.__name__, proto, {"x": x}, [model(x, training=False).numpy()])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
