"""What is exported: uint8 frames to probabilities, preprocessing included."""

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


def classifier(
  predictor: Predictor, size: tuple[int, int] | None = None
) -> Callable[[Sequence[Any], jax.Array], dict[str, jax.Array]]:
  """Returns (leaves of the parameters, videos) -> probabilities.

  Videos are uint8 [b, T, H, W, 3]; probabilities float32 [b, K] of each head,
  which sum to 1, but of heads of many labels, each for itself.

  Args:
    predictor: whose parameters the leaves are of.
    size: height and width of the frames; None for the config's crop.
  """
  data = predictor.config.data
  # Of no platform's own kernel: the artefact is for several.
  config = builder.with_attention(predictor.config.model, 'plain')
  model = builder.build(config)
  tree = jax.tree.structure(predictor.params)
  fit = fitter(size or data.crop, data.crop, data.short_side)
  if size is None:
    fit = functools.partial(jnp.asarray, dtype=jnp.float32)

  def classify(leaves, video):
    params = jax.tree.unflatten(tree, leaves)
    video = pixels.normalise(fit(video), data.mean, data.std)
    logits = model.apply({'params': params}, video)
    return {
      head: jax.nn.sigmoid(x)
      if head in predictor.multi_label
      else jax.nn.softmax(x)
      for head, x in logits.items()
    }

  return classify


def fitter(
  size: tuple[int, int], crop: tuple[int, int], short_side: int
) -> Callable[[jax.Array], jax.Array]:
  """Returns a function that cuts the centre crop of frames as evaluation does.

  `sampling.crop_and_resize` is linear in either axis, so that it is a matrix
  for each, those that it makes of the identity; levels are rounded like its.

  Args:
    size: height and width of the frames.
    crop: of the result.
    short_side: of the frames after the resize, before the crop.

  Returns:
    uint8 [..., *size, 3] -> float32 [..., *crop, 3], whole levels.
  """
  box = sampling.uniform_boxes(size, crop, short_side, 1)[0]
  shrinks = box.height > crop[0]
  method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  rows, columns = (
    cv2.resize(np.eye(n, dtype=np.float32), (n, m), interpolation=method)
    for n, m in zip((box.height, box.width), crop)
  )

  def fit(video):
    part = video[
      ...,
      box.top : box.top + box.height,
      box.left : box.left + box.width,
      :,
    ].astype(jnp.float32)
    with jax.default_matmul_precision('highest'):
      part = jnp.einsum('hH,...HWC->...hWC', rows, part)
      part = jnp.einsum('wW,...hWC->...hwC', columns, part)
    return jnp.clip(jnp.round(part), 0, 255)

  return fit
