"""Softmax attention of many heads, in the form that suits device and length.

All forms compute softmax(q k^T / sqrt(d)) v of each head, and differ in memory,
speed and rounding only. Softmax is in float32 whatever the inputs' precision.
"""

import functools
from collections.abc import Callable

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

# The values of the config key model.attention.
ATTENTIONS = ('auto', 'plain', 'blocked', 'chunked', 'cudnn', 'flax')

# From this length on, the scores of all pairs are more memory than caches hold:
# chunked. 3137 tokens, those of Model 1, are measured in benchmarks/RESULTS.md.
_LONG = 1024
# Between this length and that, XLA's CPU backend fuses attention to blocks of
# keys well, and that to all keys badly (jax 0.10): blocked. Below, plain.
_BADLY_FUSED = 257
_BLOCK = 100
# Scores computed at a time in the chunked form. A CPU is best within its
# caches; an accelerator wants more work at once.
_SCORES = {'cpu': 5 * 2**20}
_SCORES_ELSEWHERE = 2**26


def attend(
  query: jax.Array, key: jax.Array, value: jax.Array, *, kind: str = 'auto'
) -> jax.Array:
  """Returns what each query takes from the values, [..., N, heads, d].

  Args:
    query, key, value: [..., N, heads, d], of one precision.
    kind: 'plain', the scores of all pairs at once; 'blocked', the same, in
      blocks of keys where no derivative is asked for; 'chunked', those of some
      heads or queries at a time, in the backward pass computed again; 'cudnn',
      the fused kernel of NVIDIA's library, which wants bfloat16; 'flax', its
      `dot_product_attention`, the reference code's; 'auto', what suits.

  Raises:
    ValueError: another kind.
  """
  if kind not in ATTENTIONS:
    raise ValueError(f"attention is '{kind}'; it is one of {ATTENTIONS}")
  if kind == 'auto':
    kind = _suited(query)
  if kind == 'flax':
    found = nn.dot_product_attention(
      query, key, value, force_fp32_for_softmax=True
    )
    return found.astype(value.dtype)
  batch = query.shape[:-3]
  query, key, value = (
    x.reshape(-1, *x.shape[-3:]) for x in (query, key, value)
  )
  if kind == 'cudnn':
    found = jax.nn.dot_product_attention(
      query, key, value, implementation='cudnn'
    )
  elif kind == 'chunked' and query.size:
    found = _chunked(query, key, value)
  else:
    attend_heads = _attend_blocks if kind == 'blocked' else _attend_heads
    found = _plain(attend_heads, query, key, value)
  return found.reshape(*batch, *found.shape[1:])


def _suited(query: jax.Array) -> str:
  """Returns the fastest form for the backend that is traced for."""
  length, _, width = query.shape[-3:]
  if jax.default_backend() == 'gpu' and query.dtype == jnp.bfloat16:
    if width % 8 == 0 and width <= 128 and _is_ampere_or_later():
      return 'cudnn'
  if length >= _LONG:
    return 'chunked'
  badly_fused = jax.default_backend() == 'cpu' and length >= _BADLY_FUSED
  return 'blocked' if badly_fused else 'plain'


def _is_ampere_or_later() -> bool:
  """Returns whether the first GPU is one that cuDNN's kernel is written for."""
  device = jax.local_devices()[0]
  try:
    return float(getattr(device, 'compute_capability', '')) >= 8.0
  except ValueError:  # of AMD's: 'gfx90a'
    return False


def _plain(
  attend_heads: Callable[..., jax.Array],
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
) -> jax.Array:
  """Attends, all heads at once; [B, N, heads, d] all."""
  query, key, value = (
    einops.rearrange(x, 'B n H d -> B H n d') for x in (query, key, value)
  )
  found = attend_heads(query, key, value)
  return einops.rearrange(found, 'B H n d -> B n H d')


def _chunked(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
  """Attends, some heads after others, and some of their queries; see `_plain`.

  The last queries are filled up with zeros, which are dropped. Memory is that
  of the scores of one chunk, in the backward pass too (Rabe and Staats, arXiv
  2112.05682, of which keys and values are not cut here).
  """
  batch, length, heads, _ = query.shape
  most = _SCORES.get(jax.default_backend(), _SCORES_ELSEWHERE)
  chunks = -(-(length**2) // most)
  size = -(-length // chunks)
  together = _largest_divisor(batch * heads, most // (size * length))
  query, key, value = (
    einops.rearrange(x, 'B n H d -> (B H) n d').reshape(
      -1, together, length, x.shape[-1]
    )
    for x in (query, key, value)
  )
  attend_some = jax.checkpoint(_attend_heads, prevent_cse=False)

  def attend_group(inputs):
    query, key, value = inputs
    if chunks == 1:
      return attend_some(query, key, value)
    query = jnp.pad(query, ((0, 0), (0, chunks * size - length), (0, 0)))
    query = einops.rearrange(query, 'g (c n) d -> c g n d', c=chunks)
    found = jax.lax.map(lambda query: attend_some(query, key, value), query)
    return einops.rearrange(found, 'c g n d -> g (c n) d')[:, :length]

  found = jax.lax.map(attend_group, (query, key, value))
  found = found.reshape(batch, heads, length, -1)
  return einops.rearrange(found, 'B H n d -> B n H d')


def _attend_heads(
  query: jax.Array, key: jax.Array, value: jax.Array, *, blocks: int = 1
) -> jax.Array:
  """Attends within each head, [..., n, d]: softmax(q k^T / sqrt(d)) v.

  Heads come before tokens, which XLA's CPU backend computes faster, and the sum
  of softmax divides the product, where there are fewer numbers to divide.
  """
  keys, values = (jnp.array_split(x, blocks, axis=-2) for x in (key, value))
  query = query * (query.shape[-1] ** -0.5)
  scores = [
    jnp.einsum(
      '...nd,...md->...nm', query, some, preferred_element_type=jnp.float32
    )
    for some in keys
  ]
  most = [some.max(axis=-1, keepdims=True) for some in scores]
  most = jax.lax.stop_gradient(functools.reduce(jnp.maximum, most))
  weights = [jnp.exp(some - most) for some in scores]
  total = sum(some.sum(axis=-1, keepdims=True) for some in weights)
  taken = sum(
    jnp.einsum(
      '...nm,...md->...nd',
      weight.astype(value.dtype),
      some,
      preferred_element_type=jnp.float32,
    )
    for weight, some in zip(weights, values)
  )
  return (taken / total).astype(value.dtype)


@jax.custom_jvp
def _attend_blocks(
  query: jax.Array, key: jax.Array, value: jax.Array
) -> jax.Array:
  """Attends as `_attend_heads`; without derivatives, to blocks of keys."""
  blocks = -(-key.shape[-2] // _BLOCK)
  return _attend_heads(query, key, value, blocks=blocks)


_attend_blocks.defjvp(
  lambda primals, tangents: jax.jvp(_attend_heads, primals, tangents)
)


def _largest_divisor(number: int, most: int) -> int:
  """Returns the largest divisor up to `most`, and at least 1."""
  most = max(min(number, most), 1)
  return next(d for d in range(most, 0, -1) if number % d == 0)
