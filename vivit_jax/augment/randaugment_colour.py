"""RandAugment's colour operations, on the accelerator.

Each takes a clip, float32 [T, H, W, 3] of whole levels 0 to 255, and a row of
`randaugment.draw`, float32 [4], and gives whole levels again. Statistics are
of the whole clip, as in the reference, so that frames change alike. What each
does is said by TensorFlow and Pillow; Contrast moves away from the clip's mean
grey as in Pillow, where TensorFlow's code takes the number of pixels for it.
"""

import jax
import jax.numpy as jnp

from vivit_jax.augment.boxes import box_mask
from vivit_jax.augment.colours import LUMA
from vivit_jax.augment.randaugment import COLOUR, GREY


def recolour(video: jax.Array, layers: jax.Array) -> jax.Array:
  """Applies each clip's colour operations, in their order.

  Args:
    video: float32 [B, T, H, W, 3], whole levels in [0, 255].
    layers: float32 [B, n, 4], of `randaugment.draw`; geometric operations, made
      on the host, change nothing here.

  Returns:
    float32 [B, T, H, W, 3], whole levels in [0, 255].
  """
  branches = [_OPERATIONS[name] for name in COLOUR]

  def one_clip(clip_and_rows):
    def layer(clip, row):
      number = row[0].astype(jnp.int32)
      number = jnp.where(number < len(COLOUR), number, 0)
      return jax.lax.switch(number, branches, clip, row), None

    return jax.lax.scan(layer, *clip_and_rows)[0]

  # One clip after the other: a vmapped switch would compute every operation.
  return jax.lax.map(one_clip, (video, layers))


def identity(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Changes nothing."""
  del row
  return clip


def autocontrast(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Stretches each channel's levels to 0 and 255."""
  del row
  low = clip.min((0, 1, 2), keepdims=True)
  high = clip.max((0, 1, 2), keepdims=True)
  stretched = (clip - low) * (255.0 / jnp.maximum(high - low, 1.0))
  # A whole product may come out just below itself.
  return jnp.where(high > low, _whole(stretched + 1e-3), clip)


def equalise(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Makes each channel's histogram even."""
  del row

  def channel(x):
    levels = x.astype(jnp.int32).ravel()
    counts = jnp.bincount(levels, length=256)
    last = counts[levels.max()]
    step = (counts.sum() - last) // 255
    before = jnp.cumsum(counts) - counts
    table = (before + step // 2) // jnp.maximum(step, 1)
    new = jnp.clip(table, 0, 255)[levels].reshape(x.shape)
    return jnp.where(step > 0, new.astype(x.dtype), x)

  return jnp.stack([channel(clip[..., c]) for c in range(3)], axis=-1)


def invert(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Makes a negative."""
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
  return jnp.where(clip < 128, _whole(clip + row[1]), clip)


def colour(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Moves pixels away from their own grey, by the factor `row[1]`."""
  return _blend(_grey(clip), clip, row[1])


def contrast(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Moves levels away from the clip's mean grey, by the factor `row[1]`."""
  return _blend(jnp.round(_grey(clip).mean()), clip, row[1])


def brightness(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Multiplies levels by `row[1]`."""
  return _blend(jnp.zeros_like(clip), clip, row[1])


def sharpness(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Moves pixels away from a smooth picture, by the factor `row[1]`.

  Smooth is the mean of 3 x 3 pixels, the middle one counted 5 times; the
  outermost pixels stay.
  """
  height, width = clip.shape[1:3]
  around = sum(
    clip[:, top : height - 2 + top, left : width - 2 + left]
    for top in range(3)
    for left in range(3)
  )
  smooth = _whole((around + 4.0 * clip[:, 1:-1, 1:-1]) / 13.0 + 1e-3)
  inner = _blend(smooth, clip[:, 1:-1, 1:-1], row[1])
  return clip.at[:, 1:-1, 1:-1].set(inner)


def cut_out(clip: jax.Array, row: jax.Array) -> jax.Array:
  """Makes a square grey, cut off at the edges (arXiv 1708.04552).

  It is round the point `row[2:]`, in parts of height and width, and `2 row[1]`
  of the shorter side wide.
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


def _whole(x: jax.Array) -> jax.Array:
  """Cuts levels to whole ones in 0 to 255, as a cast to uint8 would."""
  return jnp.floor(jnp.clip(x, 0.0, 255.0))


def _grey(clip: jax.Array) -> jax.Array:
  """Returns the luma (ITU-R BT.601), rounded, [T, H, W, 1]."""
  # No matrix product: an accelerator may make it with fewer bits.
  return jnp.round((clip * jnp.array(LUMA)).sum(-1, keepdims=True))


def _blend(start: jax.Array, clip: jax.Array, factor: jax.Array) -> jax.Array:
  """Goes from `start` towards the clip and, above 1, past it."""
  return _whole(start + factor * (clip - start))
