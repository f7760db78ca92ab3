"""Views of a video: logits of each view, and subsets with fewer views."""

from collections.abc import Callable

import einops
import jax
import jax.numpy as jnp


def of_each_view(
  apply: Callable[..., dict[str, jax.Array]],
  video: jax.Array,
  frame_numbers: jax.Array | None = None,
  max_clips: int | None = None,
) -> dict[str, jax.Array]:
  """Applies a model to every view of every video.

  Args:
    apply: maps clips [n, T, H, W, 3] and frame numbers [n, T], or None, to
      logits [n, K] of each head.
    video: [b, V, T, H, W, 3], in the dtype and range that `apply` takes.
    frame_numbers: int [b, V, T], or None.
    max_clips: largest n; None for no limit.

  Returns:
    float32 [b, V, K] of each head.
  """
  clips = jax.tree.map(
    lambda x: einops.rearrange(x, 'b v ... -> (b v) ...'),
    (video, frame_numbers),
  )
  logits = in_parts(apply, clips, max_clips or len(clips[0]))
  return {
    head: einops.rearrange(
      x.astype(jnp.float32), '(b v) ... -> b v ...', v=video.shape[1]
    )
    for head, x in logits.items()
  }


def in_parts(
  apply: Callable[..., dict[str, jax.Array]],
  clips: tuple[jax.Array, jax.Array | None],
  max_clips: int,
) -> dict[str, jax.Array]:
  """Applies a model to arrays [n, ...], at most `max_clips` rows at a time.

  All parts have the same size, so that the model is compiled once. The last one
  is padded with zeros, and the logits of the padding are dropped.
  """
  count = len(clips[0])
  parts = -(-count // max_clips)
  if parts == 1:
    return apply(*clips)
  size = -(-count // parts)

  def split(x):
    padding = [(0, parts * size - count)] + [(0, 0)] * (x.ndim - 1)
    x = jnp.pad(x, padding)
    return einops.rearrange(x, '(part n) ... -> part n ...', part=parts)

  in_parts = jax.tree.map(split, clips)
  logits = jax.lax.map(lambda part: apply(*part), in_parts)
  return {
    head: einops.rearrange(x, 'part n ... -> (part n) ...')[:count]
    for head, x in logits.items()
  }


def counts(temporal: int, spatial: int) -> list[tuple[int, int]]:
  """Returns the pairs (t, s) of t x s views to score out of T x S views.

  t is 1 to T; s is 1 (the centre) and S.
  """
  return [(t, s) for s in sorted({1, spatial}) for t in range(1, temporal + 1)]


def some(temporal: int, spatial: int, t: int, s: int) -> list[int]:
  """Returns the indices of t x s evenly spaced views among T x S.

  In time, they approximate the views of an evaluation with t views: from the
  video's beginning to its end, or the middle one if t is 1. In space, they are
  the centre crop or all crops.

  Args:
    temporal, spatial: T and S; view = temporal index * S + spatial index.
    t: 1 to T.
    s: 1 or S.
  """
  if t == 1:
    times = [temporal // 2]
  else:
    # i (T - 1) / (t - 1), halves rounded up; exact, because in integers.
    steps = t - 1
    times = [(2 * i * (temporal - 1) + steps) // (2 * steps) for i in range(t)]
  crops = [spatial // 2] if s == 1 else range(spatial)
  return [time * spatial + crop for time in times for crop in crops]
