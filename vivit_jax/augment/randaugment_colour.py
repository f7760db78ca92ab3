"""RandAugment's colour operations, on the accelerator.

An operation takes a clip (float32 [T, H, W, 3], integer levels from 0 to 255)
and its row from `randaugment.draw` (float32 [4]), and returns a clip of integer
levels. Statistics are computed over the whole clip, as in the reference, so
that all frames change alike. The operations follow TensorFlow and Pillow; where
they differ, in Contrast, ours is Pillow's: it scales the distance from the mean
grey. TensorFlow's code puts the number of pixels in place of that mean.
"""

import jax
import jax.numpy as jnp

from vivit_jax.augment.boxes import box_mask
from vivit_jax.augment.colours import LUMA
from vivit_jax.augment.randaugment import COLOUR, GREY


def recolour(video: jax.Array, layers: jax.Array) -> jax.Array:
  """Applies each clip's colour operations, in the order drawn.

  Args:
    video: float32 [B, T, H, W, 3], integer levels in [0, 255].
    layers: float32 [B, layers, 4] from `randaugment.draw`. Geometric
      operations are skipped: the host has applied them.

  Returns:
    float32 [B, T, H, W, 3], integer levels in [0, 255].
  """
  branches = [_OPERATIONS[name] for name in COLOUR]

  def one_clip(clip_and_rows):
    def layer(clip, row):
      number = row[0].astype(jnp.int32)
      number = jnp.where(number < len(COLOUR), number, 0)
      return jax.lax.switch(number, branches, clip, row), None

    return jax.lax.scan(layer, *clip_and_rows)[0]

  # Clip by clip: a vmapped switch would compute every operation.
  return jax.lax.map(one_clip, (video, layers))


def identity(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Returns the clip unchanged."""
  del row
  return clip


def autocontrast(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Stretches each channel to the range from 0 to 255."""
  del row
  low = clip.min((0, 1, 2), keepdims=True)
  high = clip.max((0, 1, 2), keepdims=True)
  stretched = (clip - low) * (255.0 / jnp.maximum(high - low, 1.0))
  # + 1e-3: a rounding error must not turn an exact integer into the one below.
  return jnp.where(high > low, _integer_levels(stretched + 1e-3), clip)


def equalise(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Equalises the histogram of each channel."""
  del row

  def channel(x):
    levels = x.astype(jnp.int32).ravel()
    counts = jnp.bincount(levels, length=256)
    last = counts[levels.max()]
    step = (counts.sum() - last) // 255
    before = jnp.cumsum(counts) - counts
    lookup = (before + step // 2) // jnp.maximum(step, 1)
    new = jnp.clip(lookup, 0, 255)[levels].reshape(x.shape)
    return jnp.where(step > 0, new.astype(x.dtype), x)

  return jnp.stack([channel(clip[..., c]) for c in range(3)], axis=-1)


def invert(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Returns the negative."""
  del row
  return 255.0 - clip


def posterise(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Keeps the `row[1]` highest of 8 bits."""
  size = 2.0 ** (8 - row[1])
  return jnp.floor(clip / size) * size


def solarise(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Inverts levels of at least `row[1]`."""
  return jnp.where(clip < row[1], clip, 255.0 - clip)


def solarise_add(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Adds `row[1]` to levels below 128."""
  return jnp.where(clip < 128, _integer_levels(clip + row[1]), clip)


def colour(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Scales the distance from each pixel's grey by `row[1]`."""
  return _blend(_grey(clip), clip, row[1])


def contrast(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Scales the distance from the clip's mean grey by `row[1]`."""
  return _blend(jnp.round(_grey(clip).mean()), clip, row[1])


def brightness(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Multiplies levels by `row[1]`."""
  return _blend(jnp.zeros_like(clip), clip, row[1])


def sharpness(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Scales the distance from the blurred image by `row[1]`.

  The blur is a 3 x 3 mean with weight 5 at the centre. Pixels at the border
  are unchanged.
  """
  height, width = clip.shape[1:3]
  around = sum(
    clip[:, top : height - 2 + top, left : width - 2 + left]
    for top in range(3)
    for left in range(3)
  )
  blurred = _integer_levels((around + 4.0 * clip[:, 1:-1, 1:-1]) / 13.0 + 1e-3)
  inner = _blend(blurred, clip[:, 1:-1, 1:-1], row[1])
  return clip.at[:, 1:-1, 1:-1].set(inner)


def cut_out(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Fills a square with grey (Cutout, arXiv 1708.04552).

  Its centre is `row[2:]`, relative to height and width; its side is
  `2 row[1]`, relative to the shorter side. It is cut off at the edges.
  """
  height, width = clip.shape[1:3]
  half = jnp.round(row[1] * min(height, width))
  y, x = jnp.floor(row[2] * height), jnp.floor(row[3] * width)
  inside = box_mask((height, width), y - half, x - half, y + half, x + half)
  return jnp.where(inside[None, :, :, None], float(GREY), clip)


_OPERATIONS = {
  'Identity': identity,
  'AutoContrast': autocontrast,
  'Equalize': equalise,
  'Invert': invert,
  'Posterize': posterise,
  'Solarize': solarise,
  'SolarizeAdd': solarise_add,
  'Color': colour,
  'Contrast': contrast,
  'Brightness': brightness,
  'Sharpness': sharpness,
  'Cutout': cut_out,
}


def _integer_levels(x: jax.Array) -> jax.Array:
  """Clips to [0, 255] and rounds down, like a saturating cast to uint8."""
  return jnp.floor(jnp.clip(x, 0.0, 255.0))


def _grey(clip: jax.Array) -> jax.Array:
  """Returns the luma (ITU-R BT.601), rounded to integers, [T, H, W, 1]."""
  # No matrix product: an accelerator may compute it in lower precision.
  return jnp.round((clip * jnp.array(LUMA)).sum(-1, keepdims=True))


def _blend(start: jax.Array, clip: jax.Array, factor: jax.Array) -> jax.Array:
  """Interpolates from `start` to the clip; extrapolates for factors above 1."""
  return _integer_levels(start + factor * (clip - start))
