"""Where a model looks: attention rollout, for all four families.

Abnar and Zuidema, arXiv 2005.00928: a layer passes on half of a token itself
and half of what it attends to, A' = 0.5 I + 0.5 mean over heads of A, and the
product over the layers says from which tokens the class token, or the average
that is read out, is made of. It follows attention alone: values, MLPs and norms
are left out, and it is of the clip, not of one of its classes.

Only one row of that product is asked for, so it is the row that is carried
backwards through the layers, r <- 0.5 r + 0.5 r A: no product of N x N matrices
is made, and of A no more than some rows at a time.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import einops
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax.models import base, stacking
from vivit_jax.models.factorised_dot_product import FactorisedDotProduct
from vivit_jax.models.factorised_encoder import FactorisedEncoder
from vivit_jax.models.factorised_self_attention import FactorisedSelfAttention

_ROWS = 256  # of A at a time

# Sequences along one axis of the grid, of tokens in one, and back.
_APART = {
  'space': 'B (t s) ... -> (B t) s ...',
  'time': 'B (t s) ... -> (B s) t ...',
}
_TOGETHER = {'space': '(B t) s -> B (t s)', 'time': '(B s) t -> B (t s)'}


@flax.struct.dataclass
class Rollout:
  """Where a model looks in each clip of a batch.

  Attributes:
    attention: float32 [B, t, h, w], the share of each token of the clip; with
      `kept` it sums to 1.
    kept: float32 [B], what stays with class tokens, which are of no place; 0
      for models without one.
  """

  attention: jax.Array
  kept: jax.Array

  @property
  def space(self) -> jax.Array:
    """Float32 [B, t, h, w], shares within a temporal index: [h, w] sum to 1."""
    return self.attention / self.attention.sum(axis=(2, 3), keepdims=True)

  @property
  def time(self) -> jax.Array:
    """Float32 [B, t], the share of each temporal index: [t] sum to 1."""
    shares = self.attention.sum(axis=(2, 3))
    return shares / shares.sum(axis=1, keepdims=True)


def attention_rollout(
  model: base.VideoTransformer, rows: int = _ROWS
) -> Callable[[Any, jax.Array], Rollout]:
  """Returns (parameters, videos) -> rollout, compiled once for a shape.

  Parameters are the model's, layers one by one or stacked; videos are float
  [B, T, H, W, 3], normalised (`pixels.normalise`). The attention is computed
  again in float32 from the queries and keys of the model's own forward pass.

  Args:
    model: of `models.build`.
    rows: of an attention matrix that are in memory at a time.
  """
  options = dataclasses.replace(model.options, scan=False, remat='none')
  model = model.clone(options=options)

  def rollout(params, video):
    _, state = model.apply(
      {'params': stacking.unstack(params)},
      video,
      features=True,
      capture_intermediates=_is_query_or_key,
      mutable='intermediates',
    )
    sizes = zip(video.shape[1:4], model.tubelet)
    grid = [size // part for size, part in sizes]
    carry = _Backwards(state['intermediates'], model, rows)
    with jax.default_matmul_precision('highest'):
      if isinstance(model, FactorisedEncoder):
        return carry.through_both_encoders(video.shape[0], *grid)
      return carry.through_one_encoder(video.shape[0], *grid)

  return jax.jit(rollout)


def _is_query_or_key(module: nn.Module, method: str) -> bool:
  return method == '__call__' and module.name in ('query', 'key')


def attended(
  row: jax.Array, query: jax.Array, key: jax.Array, rows: int = _ROWS
) -> jax.Array:
  """Returns row @ A, A the mean over heads of the softmax of scaled scores.

  Args:
    row: float32 [S, N], of each of S sequences.
    query, key: [S, N, heads, width of a head].
    rows: of A in memory at a time, of each sequence and head.
  """
  tokens, heads, width = query.shape[1:]
  rows = min(rows, tokens)
  missing = -tokens % rows  # tokens without a share change nothing
  row = jnp.pad(row, ((0, 0), (0, missing)))
  query = jnp.pad(
    query.astype(jnp.float32), ((0, 0), (0, missing), (0, 0), (0, 0))
  )
  key = key.astype(jnp.float32)

  def add_some(total, some):
    shares, queries = some
    scores = jnp.einsum('SnHd,SNHd->SHnN', queries, key) / jnp.sqrt(width)
    weights = jax.nn.softmax(scores, axis=-1)
    return total + jnp.einsum('Sn,SHnN->SN', shares, weights) / heads, None

  parts = (
    einops.rearrange(row, 'S (parts n) -> parts S n', n=rows),
    einops.rearrange(query, 'S (parts n) H d -> parts S n H d', n=rows),
  )
  start = jnp.zeros((key.shape[0], tokens), jnp.float32)
  return jax.lax.scan(add_some, start, parts)[0]


@dataclasses.dataclass(frozen=True)
class _Backwards:
  """Carries rows from what is read out to the tokens of a clip.

  Attributes:
    captured: queries and keys, nested as the model's modules are.
    model: with its layers one by one.
    rows: as of `attended`.
  """

  captured: Mapping[str, Any]
  model: base.VideoTransformer
  rows: int

  def through_one_encoder(self, batch: int, t: int, h: int, w: int) -> Rollout:
    """Returns the rollout of Models 1, 3 and 4."""
    row = self._read_out(batch, t * h * w)
    for block in self._blocks('Transformer', self.model.depth):
      if isinstance(self.model, FactorisedSelfAttention):
        for axis in reversed(self.model.order.split('_')):
          pair = _pair(block[f'MultiHeadDotProductAttention_{axis}'])
          row = _half(row, self._along(axis, t, row, pair))
      elif isinstance(self.model, FactorisedDotProduct):
        pair = _pair(block['MultiHeadDotProductAttention_0'])
        halves = zip(*(jnp.split(x, 2, axis=-2) for x in pair))
        seen = []
        for axis, half in zip(self.model.order.split('_'), halves):
          apart = [einops.rearrange(x, _APART[axis], t=t) for x in half]
          seen.append(self._along(axis, t, row, apart))
        row = _half(row, sum(seen) / len(seen))
      else:
        row = self._through_attention(row, block)
    kept, row = self._split(row)
    return Rollout(row.reshape(batch, t, h, w), kept)

  def through_both_encoders(
    self, batch: int, t: int, h: int, w: int
  ) -> Rollout:
    """Returns the rollout of Model 2: that of time, times those of space."""
    time, kept = jnp.full((batch, t), 1 / t), jnp.zeros(batch)
    if self.model.temporal_layers:
      row = self._read_out(batch, t)
      for block in self._blocks(
        'TemporalTransformer', self.model.temporal_layers
      ):
        row = self._through_attention(row, block)
      kept, time = self._split(row)
    row = self._read_out(batch * t, h * w)
    for block in self._blocks('SpatialTransformer', self.model.depth):
      row = self._through_attention(row, block)
    kept_of_index, space = self._split(row)
    space = space.reshape(batch, t, h, w)
    kept = kept + (time * kept_of_index.reshape(batch, t)).sum(axis=1)
    return Rollout(time[:, :, None, None] * space, kept)

  def _read_out(self, sequences: int, tokens: int) -> jax.Array:
    """Returns the row that the last layer is read with, [S, N]."""
    if self.model.classifier == 'token':
      return jnp.zeros((sequences, tokens + 1)).at[:, 0].set(1.0)
    return jnp.full((sequences, tokens), 1 / tokens)

  def _split(self, row: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns what the class token keeps [S], and the rest [S, N]."""
    if self.model.classifier == 'token':
      return row[:, 0], row[:, 1:]
    return jnp.zeros(len(row)), row

  def _blocks(self, encoder: str, count: int) -> list[Mapping[str, Any]]:
    """Returns what was captured in each block, the last one first."""
    blocks = self.captured[encoder]
    return [blocks[f'encoderblock_{n}'] for n in reversed(range(count))]

  def _through_attention(
    self, row: jax.Array, block: Mapping[str, Any]
  ) -> jax.Array:
    pair = _pair(block['MultiHeadDotProductAttention_0'])
    return _half(row, attended(row, *pair, self.rows))

  def _along(
    self, axis: str, t: int, row: jax.Array, pair: tuple[jax.Array, jax.Array]
  ) -> jax.Array:
    """Returns `attended` of attention along one axis of the grid, [B, N].

    Args:
      axis: 'space' or 'time'.
      t: of the grid.
      row: [B, N].
      pair: queries and keys of the sequences along the axis.
    """
    seen = attended(
      einops.rearrange(row, _APART[axis], t=t), *pair, rows=self.rows
    )
    return einops.rearrange(seen, _TOGETHER[axis], B=len(row))


def _pair(attention: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
  """Returns the captured queries and keys of one attention."""
  query, key = (attention[name]['__call__'][0] for name in ('query', 'key'))
  return query, key


def _half(row: jax.Array, seen: jax.Array) -> jax.Array:
  """A layer's residual connection, of which a token is the one half."""
  return 0.5 * row + 0.5 * seen
