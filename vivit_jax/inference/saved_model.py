"""A function of jax as a TensorFlow SavedModel."""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from jax.experimental import jax2tf


def write(
  folder: pathlib.Path,
  classify: Callable,
  leaves: Sequence[np.ndarray],
  shape: tuple[int, ...],
  platforms: Sequence[str],
) -> None:
  """Writes a SavedModel whose default signature takes `video`.

  Parameters are variables, which lie in files of their own and may be of any
  size.

  Args:
    folder: to write into.
    classify, leaves: of `exported.classifier`.
    shape: of one clip.
    platforms: 'cpu', 'cuda', 'rocm', 'tpu'.
  """
  converted = jax2tf.convert(
    classify,
    polymorphic_shapes=[None, '(b, ...)'],
    native_serialization_platforms=tuple(platforms),
    with_gradient=False,
  )
  module = tf.Module()
  module.parameters_of_model = [
    tf.Variable(x, trainable=False, name=f'parameter_{place}')
    for place, x in enumerate(leaves)
  ]
  signature = tf.TensorSpec((None, *shape), tf.uint8, name='video')

  @tf.function(input_signature=[signature], autograph=False)
  def call(video):
    return converted(list(module.parameters_of_model), video)

  module.call = call
  tf.saved_model.save(module, str(folder), signatures=call)
