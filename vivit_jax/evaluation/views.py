"""Views of a video: a model's logits of each, and which ones fewer would be."""

from collections.abc import Callable

import einops
import jax
import jax.numpy as jnp


def of_each_view(
  apply: Callable[[jax.Array], dict[str, jax.Array]],
  video: jax.Array,
  most: int | None = None,
) -> dict[str, jax.Array]:
  """Applies a model to every view of every video.

  Args:
    apply: clips [n, T, H, W, 3] -> logits [n, K] of each head.
    video: [b, V, T, H, W, 3], in whatever unit `apply` takes.
    most: clips that it is given at once; None for all.

  Returns:
    float32 [b, V, K] of each head.
  """
  clips = einops.rearrange(video, 'b v t h w c -> (b v) t h w c')
  return {
    head: einops.rearrange(
      logits.astype(jnp.float32), '(b v) k -> b v k', v=video.shape[1]
    )
    for head, logits in _in_parts(apply, clips, most or len(clips)).items()
  }


def _in_parts(
  apply: Callable[[jax.Array], dict[str, jax.Array]],
  clips: jax.Array,
  most: int,
) -> dict[str, jax.Array]:
  """Applies a model to clips [n, ...], up to `most` of them at a time.

  The parts are of one size, so that they are compiled once: zeros fill them up,
  whose logits are dropped.
  """
  count = len(clips)
  parts = -(-count // most)
  if parts == 1:
    return apply(clips)
  size = -(-count // parts)
  lacking = [(0, parts * size - count)] + [(0, 0)] * (clips.ndim - 1)
  in_parts = einops.rearrange(
    jnp.pad(clips, lacking), '(part n) ... -> part n ...', part=parts
  )
  return {
    head: einops.rearrange(logits, 'part n k -> (part n) k')[:count]
    for head, logits in jax.lax.map(apply, in_parts).items()
  }


def counts(temporal: int, spatial: int) -> list[tuple[int, int]]:
  """Returns which numbers of views (t, s) a pass over T x S views can score.

  t from 1 to T; s is 1, the centre, or S.
  """
  return [(t, s) for s in sorted({1, spatial}) for t in range(1, temporal + 1)]


def some(temporal: int, spatial: int, t: int, s: int) -> list[int]:
  """Returns the places of t x s among T x S views, evenly spread.

  In time, of t views that were cut for themselves, from the video's beginning
  to its end, the nearest that there are (the later one of two as near); a
  single one is the middle. In space, the centre, or all.

  Args:
    temporal, spatial: T and S; the view at temporal * S + spatial.
    t: from 1 to T.
    s: 1 or S.
  """
  if t == 1:
    times = [temporal // 2]
  else:
    # i (T - 1) / (t - 1), rounded, halves up: in whole numbers, hence exact.
    steps = t - 1
    times = [(2 * i * (temporal - 1) + steps) // (2 * steps) for i in range(t)]
  places = [spatial // 2] if s == 1 else range(spatial)
  return [time * spatial + place for time in times for place in places]
