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


@dataclasses.dataclass(frozen=True)
class Program:
  """A model to export.

  Attributes:
    predictor: has the model, its parameters and its preprocessing.
    size: height and width of the frames; None: the model's crop.
    dtype: of the computation.
    batch: clips per call; None: any number.
    platforms: to lower it for, if the format has any.
    beside: whether StableHLO takes the parameters as an argument.
  """

  predictor: Predictor
  size: tuple[int, int] | None
  dtype: str
  batch: int | None
  platforms: Sequence[str]
  beside: bool

  @functools.cached_property
  def leaves(self) -> list[np.ndarray]:
    """The leaves of the parameters."""
    return [np.asarray(x) for x in jax.tree.leaves(self.predictor.params)]

  def inputs(self, batch: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the inputs by name, in order, for `batch` clips."""
    data = self.predictor.config.data
    clip = (batch, data.frames, *(self.size or data.crop), 3)
    shapes = {'video': jax.ShapeDtypeStruct(clip, jnp.uint8)}
    if self.predictor.model.reads_frame_numbers:
      shapes['frame_numbers'] = jax.ShapeDtypeStruct(clip[:2], jnp.int32)
    return shapes

  def on_inputs(self, *inputs: jax.Array) -> dict[str, jax.Array]:
    """Returns the probabilities, with the parameters as constants."""
    return self.classify(self.leaves, *inputs)

  def classify(
    self,
    leaves: Sequence[jax.Array],
    video: jax.Array,
    frame_BxT: jax.Array | None = None,
  ) -> dict[str, jax.Array]:
    """Returns float32 [b, K] for each head: softmax, or sigmoid if multi-label.

    Args:
      leaves: of the parameters.
      video: uint8 [b, T, H, W, 3].
      frame_BxT: frame numbers, int32 [b, T], for a model that reads them.
    """
    data = self.predictor.config.data
    # 'plain' attention runs on every platform.
    config = builder.with_attention(self.predictor.config.model, 'plain')
    model = builder.build(dataclasses.replace(config, dtype=self.dtype))
    tree = jax.tree.structure(self.predictor.params)
    if self.size is not None:
      video = centre_crop(self.size, data.crop, data.short_side)(video)
    logits = model.apply(
      {'params': jax.tree.unflatten(tree, leaves)},
      pixels.normalise(jnp.asarray(video, jnp.float32), *data.pixels),
      frame_BxT=frame_BxT,
    )
    return {
      head: jax.nn.sigmoid(x)
      if head in self.predictor.multi_label
      else jax.nn.softmax(x)
      for head, x in logits.items()
    }


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
