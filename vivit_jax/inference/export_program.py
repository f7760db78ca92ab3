"""The function that is exported: preprocessing, model and probabilities."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax.data import sampling
from vivit_jax.inference.predictor import Predictor
from vivit_jax.models import builder, pixels

# Maps (leaves of the parameters, *inputs) to probabilities of each head.
Classifier = Callable[..., dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Program:
  """A model to export.

  Attributes:
    classify: its function, from `classifier`.
    leaves: of its parameters.
    heads: their names.
    dtype: of the computation.
    clip: (T, H, W, 3).
    batch: clips per call; None: any number.
    platforms: to lower it for, if the format has any.
    beside: whether StableHLO takes the parameters as an argument.
    numbered: whether it takes frame numbers too.
  """

  classify: Classifier
  leaves: Sequence[np.ndarray]
  heads: Sequence[str]
  dtype: str
  clip: tuple[int, ...]
  batch: int | None
  platforms: Sequence[str]
  beside: bool
  numbered: bool

  def on_inputs(self, *inputs: jax.Array) -> dict[str, jax.Array]:
    """Returns the probabilities, with the parameters as constants."""
    return self.classify(self.leaves, *inputs)

  def inputs(self, batch: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the inputs by name, in order, for `batch` clips."""
    shapes = {'video': jax.ShapeDtypeStruct((batch, *self.clip), jnp.uint8)}
    if self.numbered:
      frames = (batch, self.clip[0])
      shapes['frame_numbers'] = jax.ShapeDtypeStruct(frames, jnp.int32)
    return shapes


def classifier(
  predictor: Predictor,
  size: tuple[int, int] | None = None,
  dtype: str = 'float32',
) -> Classifier:
  """Returns the function to export.

  It maps the leaves of the parameters and videos, uint8 [b, T, H, W, 3], to
  float32 [b, K] for each head: softmax, or sigmoid for multi-label heads. For a
  model that reads them, a third argument has the frame numbers, int32 [b, T].

  Args:
    predictor: has the model and the preprocessing.
    size: height and width of the frames; None: the model's crop size.
    dtype: of the computation.
  """
  data = predictor.config.data
  # 'plain' attention runs on every platform.
  config = builder.with_attention(predictor.config.model, 'plain')
  model = builder.build(dataclasses.replace(config, dtype=dtype))
  tree = jax.tree.structure(predictor.params)
  resize = centre_crop(size or data.crop, data.crop, data.short_side)
  if size is None:
    resize = functools.partial(jnp.asarray, dtype=jnp.float32)

  def classify(leaves, video, frame_BxT=None):
    params = jax.tree.unflatten(tree, leaves)
    video = pixels.normalise(resize(video), *data.pixels)
    logits = model.apply({'params': params}, video, frame_BxT=frame_BxT)
    return {
      head: jax.nn.sigmoid(x)
      if head in predictor.multi_label
      else jax.nn.softmax(x)
      for head, x in logits.items()
    }

  return classify


def centre_crop(
  size: tuple[int, int], crop: tuple[int, int], short_side: int
) -> Callable[[jax.Array], jax.Array]:
  """Returns a function that resizes and crops frames as evaluation does.

  It maps uint8 [..., *size, 3] to integers in float32 [..., *crop, 3].
  `sampling.crop_and_resize` is linear along each axis, so it equals a product
  with one matrix per axis. OpenCV gives the matrix when it resizes an identity.
  """
  box = sampling.uniform_boxes(size, crop, short_side, 1)[0]
  shrinks = box.height > crop[0]
  method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  rows, columns = (
    cv2.resize(np.eye(n, dtype=np.float32), (n, m), interpolation=method)
    for n, m in zip((box.height, box.width), crop)
  )
  vertical = box.top, box.top + box.height
  horizontal = box.left, box.left + box.width

  def resize(video):
    part = jax.lax.slice_in_dim(video, *vertical, axis=-3)
    part = jax.lax.slice_in_dim(part, *horizontal, axis=-2)
    part = part.astype(jnp.float32)
    with jax.default_matmul_precision('highest'):
      part = jnp.einsum('hH,...HWC->...hWC', rows, part)
      part = jnp.einsum('wW,...hWC->...hwC', columns, part)
    return jnp.clip(jnp.round(part), 0, 255)

  return resize
