"""Random changes of clips on the accelerator, the same for a whole clip.

Every draw is keyed by (step's key, the example's place in the global batch),
so that neither the number of devices nor of processes changes it.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax import parallel
from vivit_jax.config import AugmentConfig
from vivit_jax.training.recolour import recolour

# Strengths of the colour jitter, those of the reference's input pipeline.
BRIGHTNESS = 32 / 255  # added, at most
CONTRAST = SATURATION = (0.6, 1.4)  # factors
HUE = 0.2  # of a turn, at most, either way
# Of random erasing: parts of the picture, and height by width.
ERASED_AREA = (0.02, 1 / 3)
ERASED_ASPECT = (0.3, 3.3)
_TRIES = 10  # boxes drawn until one fits, as in timm

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_RGB_TO_YIQ = np.array(
  [
    [0.299, 0.587, 0.114],
    [0.5959, -0.2746, -0.3213],
    [0.2115, -0.5227, 0.3112],
  ],
  np.float32,
)
_YIQ_TO_RGB = np.linalg.inv(_RGB_TO_YIQ)


def augment(
  video: jax.Array,
  key: jax.Array,
  place_B: jax.Array,
  config: AugmentConfig,
  randaugment: jax.Array | None = None,
) -> jax.Array:
  """Flips and recolours clips, each with the configured probability.

  In this order: flip, RandAugment's colour operations, colour jitter and drop.

  Args:
    video: uint8 [B, T, H, W, 3].
    key: this step's.
    place_B: int32 [B], places in the global batch.
    config: probabilities; those that are 0 cost nothing.
    randaugment: float32 [B, layers, 4], of `vivit_jax.randaugment.draw`, or
      None without it.

  Returns:
    float32 [B, T, H, W, 3] in [0, 255].
  """
  x = video.astype(jnp.float32)
  if config.flip:
    x = jax.vmap(_randomly(flip, config.flip, 0), (0, None, 0))(x, key, place_B)
  if randaugment is not None:
    x = recolour(x, randaugment)
  if config.colour_jitter or config.colour_drop:
    x = x / 255.0
    for index, (change, probability) in enumerate(
      [(jitter_colour, config.colour_jitter), (drop_colour, config.colour_drop)]
    ):
      if probability:
        x = jax.vmap(_randomly(change, probability, index + 1), (0, None, 0))(
          x, key, place_B
        )
    x = x * 255.0
  return x


def _randomly(change, probability: float, purpose: int):
  """Returns (clip, step's key, place) -> clip, changed with `probability`."""

  def apply(clip, key, place):
    key = jax.random.fold_in(jax.random.fold_in(key, purpose), place)
    whether, how = jax.random.split(key)
    changed = change(clip, how)
    return jnp.where(jax.random.bernoulli(whether, probability), changed, clip)

  return apply


def flip(clip: jax.Array, key: jax.Array | None = None) -> jax.Array:
  """Mirrors a clip [T, H, W, C] left to right."""
  del key
  return clip[:, :, ::-1]


def drop_colour(clip: jax.Array, key: jax.Array | None = None) -> jax.Array:
  """Makes a clip [T, H, W, 3] grey: its luma (ITU-R BT.601) in all channels."""
  del key
  return jnp.broadcast_to((clip @ _LUMA)[..., None], clip.shape)


def jitter_colour(clip: jax.Array, key: jax.Array) -> jax.Array:
  """Draws brightness, contrast, saturation and hue for a clip in [0, 1]."""
  low, high = zip((-BRIGHTNESS, BRIGHTNESS), CONTRAST, SATURATION, (-HUE, HUE))
  brightness, contrast, saturation, hue = jax.random.uniform(
    key, (4,), minval=jnp.array(low), maxval=jnp.array(high)
  )
  return change_colour(
    clip,
    brightness=brightness,
    contrast=contrast,
    saturation=saturation,
    hue=hue,
  )


def change_colour(
  clip: jax.Array,
  *,
  brightness: jax.Array | float = 0.0,
  contrast: jax.Array | float = 1.0,
  saturation: jax.Array | float = 1.0,
  hue: jax.Array | float = 0.0,
) -> jax.Array:
  """Changes the colours of a clip [T, H, W, 3] in [0, 1], and clips to it.

  Args:
    clip: RGB.
    brightness: added.
    contrast: factor of the distance to each frame's mean colour.
    saturation: factor of the distance to the pixel's own grey.
    hue: turns, in the chroma plane of YIQ.
  """
  clip = clip + brightness
  mean = clip.mean(axis=(1, 2), keepdims=True)
  clip = mean + (clip - mean) * contrast
  cos, sin = jnp.cos(2 * jnp.pi * hue), jnp.sin(2 * jnp.pi * hue)
  chroma = jnp.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
  chroma = chroma.at[1:, 1:].multiply(saturation)
  matrix = _YIQ_TO_RGB @ chroma @ _RGB_TO_YIQ
  return jnp.clip(clip @ matrix.T, 0.0, 1.0)


def randomly_erase(
  video: jax.Array, key: jax.Array, place_B: jax.Array, config: AugmentConfig
) -> jax.Array:
  """Fills a random box of clips, with probability `config.erasing`.

  Random erasing (Zhong et al., arXiv 1708.04896), the same box in all frames.

  Args:
    video: float [B, T, H, W, 3], normalised.
    key: this step's.
    place_B: int32 [B], places in the global batch.
    config: `erasing_fill` is 'noise', of mean 0 and deviation 1 in each pixel,
      or 'mean', the 0 of normalised pixels.
  """
  change = functools.partial(erase, fill=config.erasing_fill)
  change = _randomly(change, config.erasing, 3)
  return jax.vmap(change, (0, None, 0))(video, key, place_B)


def erase(clip: jax.Array, key: jax.Array, fill: str = 'noise') -> jax.Array:
  """Fills a random box of a clip [T, H, W, C], the same in all frames.

  The noise stands still over the clip as the box does. Areas are drawn evenly
  and aspects evenly in their logarithm, as in timm; a clip stays as it is where
  no box out of 10 fits into it.
  """
  where, noise = jax.random.split(key)
  inside_HxWx1 = _erased_box(where, clip.shape[1:3])[..., None]
  if fill == 'noise':
    filling = jax.random.normal(noise, clip.shape[1:], clip.dtype)
  else:
    filling = jnp.zeros(clip.shape[1:], clip.dtype)
  return jnp.where(inside_HxWx1, filling, clip)


def _erased_box(key: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Returns bool [H, W], true in the first box out of 10 that fits, if any."""
  height, width = size
  keys = jax.random.split(key, 4)
  draw = functools.partial(jax.random.uniform, shape=(_TRIES,))
  area = (
    height * width * draw(keys[0], minval=ERASED_AREA[0], maxval=ERASED_AREA[1])
  )
  low, high = (math.log(value) for value in ERASED_ASPECT)
  aspect = jnp.exp(draw(keys[1], minval=low, maxval=high))
  rows = jnp.round(jnp.sqrt(area * aspect))
  columns = jnp.round(jnp.sqrt(area / aspect))
  fits = (rows < height) & (columns < width)
  first = jnp.argmax(fits)
  rows, columns = rows[first], columns[first]
  top = jnp.floor(draw(keys[2])[0] * (height - rows + 1))
  left = jnp.floor(draw(keys[3])[0] * (width - columns + 1))
  return fits[first] & _box(size, top, left, top + rows, left + columns)


def _box(size: tuple[int, int], top, left, bottom, right) -> jax.Array:
  """Returns bool [H, W], true in a box; bottom and right lie outside it."""
  rows, columns = jnp.arange(size[0])[:, None], jnp.arange(size[1])
  inside = (rows >= top) & (rows < bottom)
  return inside & (columns >= left) & (columns < right)


def mix(
  video: jax.Array,
  targets: Any,
  key: jax.Array,
  config: AugmentConfig,
) -> tuple[jax.Array, Any, jax.Array]:
  """Mixes each example with its neighbour in the global batch.

  The whole batch gets mixup (Zhang et al., arXiv 1710.09412) or cutmix (Yun et
  al., arXiv 1905.04899), and one share of Beta(alpha, alpha); where both are
  on, cutmix with probability `config.cutmix_probability`, as in timm. Called
  inside a function mapped over devices.

  Args:
    video: float [B, T, H, W, 3].
    targets: tree of float [B, ...], what goes with the pixels.
    key: this step's; the same on all devices.
    config: alphas, `mixup` or `cutmix` being above 0.

  Returns:
    The mixed video and targets, and the share of its own that each example has
    kept: of cutmix, the exact part of its pixels.
  """
  if config.mixup:
    weight = share = jax.random.beta(key, config.mixup, config.mixup)
  if config.cutmix:
    own = cutmix_weights(
      jax.random.fold_in(key, 1), config.cutmix, video.shape[2:4]
    )
    if config.mixup:
      cut = jax.random.bernoulli(
        jax.random.fold_in(key, 2), config.cutmix_probability
      )
      weight, share = (
        jnp.where(cut, own, share),
        jnp.where(cut, own.mean(), share),
      )
    else:
      weight, share = own, own.mean()
    weight = weight[..., None]

  def mixed(x, weight):
    return weight * x + (1.0 - weight) * parallel.next_example(x)

  targets = jax.tree.map(lambda x: mixed(x, share), targets)
  return mixed(video, weight), targets, share


def cutmix_weights(
  key: jax.Array, alpha: float, size: tuple[int, int]
) -> jax.Array:
  """Returns float32 [H, W]: 1 where a picture stays, 0 where it is replaced.

  The box has the picture's proportions and a part of 1 - Beta(alpha, alpha) of
  its area; it is centred anywhere, and cut off at the edges.
  """
  keys = jax.random.split(key, 3)
  side = jnp.sqrt(1.0 - jax.random.beta(keys[0], alpha, alpha))
  sides = [jnp.floor(pixels * side) for pixels in size]
  centres = [
    jax.random.randint(k, (), 0, pixels) for k, pixels in zip(keys[1:], size)
  ]
  top, left = (c - jnp.floor(s / 2) for c, s in zip(centres, sides))
  inside = _box(size, top, left, top + sides[0], left + sides[1])
  return 1.0 - inside.astype(jnp.float32)
