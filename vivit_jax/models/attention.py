"""Multi-head softmax attention in several implementations.

All compute softmax(q k^T / sqrt(d)) v per head and differ only in memory, speed
and rounding. The softmax is in float32 for inputs of any precision.
"""

import functools

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax.errors import UserError

# Values of the config key model.attention.
ATTENTIONS = ('auto', 'plain', 'chunked', 'cudnn', 'flax')
WITHOUT_CAP = ('cudnn', 'flax')  # those that cannot cap scores

# 'auto' uses 'chunked' from this many tokens on: the scores of all pairs exceed
# the caches. benchmarks/RESULTS.md has timings for Model 1, 3137 tokens.
CHUNKED_FROM = 1024
# Max scores per chunk. A CPU is fastest within its caches; an accelerator needs
# more work at a time.
_CHUNK_SCORES = {'cpu': 5 * 2**20}
_CHUNK_SCORES_DEFAULT = 2**26


def attend(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  *,
  kind: str = 'auto',
  bias: jax.Array | None = None,
  cap: float | None = None,
) -> jax.Array:
  """Returns the output of softmax attention, [..., N, heads, d].

  Args:
    query: [..., N, heads, d].
    key, value: [..., M, heads, d], of the same precision; usually M is N.
    kind: implementation.
      'plain': the scores of all pairs at once.
      'chunked': some heads or queries at a time, recomputed in the backward
        pass.
      'cudnn': NVIDIA's fused kernel, which requires bfloat16.
      'flax': `flax.linen.dot_product_attention`, as in the reference code.
      'auto': the fastest one for this backend, precision and length.
    bias: float32 [B, heads, N, M], added to the scores; only for 'plain', and
      with one axis B.
    cap: scores s become cap * tanh(s / cap), before the bias; not for 'cudnn'
      and 'flax'. None: scores are not capped.

  Raises:
    UserError: 'cudnn' elsewhere than on a GPU, or in another precision.
    ValueError: an unknown kind, or one without `cap`.
  """
  if kind not in ATTENTIONS:
    raise ValueError(f"attention is '{kind}'; it is one of {ATTENTIONS}")
  if kind == 'auto':
    kind = _fastest(query, capped=cap is not None)
  if cap is not None and kind in WITHOUT_CAP:
    raise ValueError(f"attention '{kind}' cannot cap scores")
  if kind == 'flax':
    out = nn.dot_product_attention(
      query, key, value, force_fp32_for_softmax=True
    )
    return out.astype(value.dtype)
  batch = query.shape[:-3]
  query, key, value = (
    x.reshape(-1, *x.shape[-3:]) for x in (query, key, value)
  )
  if kind == 'cudnn':
    device = jax.default_backend()
    if device != 'gpu' or query.dtype != jnp.bfloat16:
      raise UserError(
        "model.attention is 'cudnn', which needs a GPU and model.dtype "
        f"'bfloat16', not {device} and {query.dtype}: set it to 'auto'."
      )
    out = jax.nn.dot_product_attention(
      query, key, value, implementation='cudnn'
    )
  else:
    query, key, value = (
      einops.rearrange(x, 'B n H d -> B H n d') for x in (query, key, value)
    )
    if kind == 'chunked' and query.size:
      out = _chunked(query, key, value, cap)
    else:
      out = _attend_heads(query, key, value, bias, cap)
    out = einops.rearrange(out, 'B H n d -> B n H d')
  return out.reshape(*batch, *out.shape[1:])


def attend_windows(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  bias_HxNxN: jax.Array,
  region_WxN: np.ndarray,
  kind: str = 'auto',
) -> jax.Array:
  """Returns the output of attention within windows (Swin, arXiv 2103.14030).

  Args:
    query, key, value: [B W, N, heads, d]: W windows of N tokens in each clip.
    bias_HxNxN: float32, added to the scores of all windows.
    region_WxN: int; the scores of tokens in different regions get -100, as in
      the official code.
    kind: 'plain', or 'chunked': one window at a time, recomputed in the
      backward pass. 'auto': 'chunked' on a CPU, if its caches do not hold the
      scores of all windows; else 'plain'.
  """
  query, key, value = (
    einops.rearrange(x, '(B W) n H d -> W B H n d', W=len(region_WxN))
    for x in (query, key, value)
  )
  masked = bool((region_WxN != region_WxN[:, :1]).any())

  def attend_some(inputs):  # of one window, or of all
    query, key, value, region = inputs
    bias = bias_HxNxN
    if masked:
      same = region[..., :, None] == region[..., None, :]
      bias = jnp.where(same[..., None, None, :, :], bias, bias - 100.0)
    return _attend_heads(query, key, value, bias)

  inputs = query, key, value, jnp.asarray(region_WxN)
  if kind == 'auto' and jax.default_backend() == 'cpu':
    scores = query.size // query.shape[-1] * query.shape[-2]
    kind = 'chunked' if scores > _CHUNK_SCORES['cpu'] else 'plain'
  if kind == 'chunked':
    attend_one = jax.checkpoint(attend_some, prevent_cse=False)
    out = jax.lax.map(attend_one, inputs)
  else:
    out = attend_some(inputs)
  return einops.rearrange(out, 'W B H n d -> (B W) n H d')


def _fastest(query: jax.Array, capped: bool = False) -> str:
  """Returns the fastest implementation on the default backend."""
  length, _, width = query.shape[-3:]
  fused = jax.default_backend() == 'gpu' and query.dtype == jnp.bfloat16
  if fused and not capped:
    if width % 8 == 0 and width <= 128 and _is_ampere_or_later():
      return 'cudnn'
  return 'chunked' if length >= CHUNKED_FROM else 'plain'


def _is_ampere_or_later() -> bool:
  """Returns whether cuDNN's kernel supports the first GPU."""
  device = jax.local_devices()[0]
  try:
    return float(getattr(device, 'compute_capability', '')) >= 8.0
  except ValueError:  # AMD: 'gfx90a'
    return False


def _chunked(
  query: jax.Array, key: jax.Array, value: jax.Array, cap: float | None
) -> jax.Array:
  """Attends with some heads, or some queries of a head, at a time.

  In and out [B, heads, N, d]; key and value may have another N. Only the scores
  of one chunk are in memory, also in the backward pass (Rabe and Staats, arXiv
  2112.05682; here, keys and values are not chunked). Queries are padded with
  zeros to whole chunks.
  """
  batch, heads, length, _ = query.shape
  keys = key.shape[2]
  max_scores = _CHUNK_SCORES.get(jax.default_backend(), _CHUNK_SCORES_DEFAULT)
  chunks = -(-length * keys // max_scores)
  size = -(-length // chunks)
  together = _largest_divisor(batch * heads, max_scores // (size * keys))
  query, key, value = (
    x.reshape(-1, together, *x.shape[2:]) for x in (query, key, value)
  )
  attend_some = jax.checkpoint(
    functools.partial(_attend_heads, cap=cap), prevent_cse=False
  )

  def attend_group(inputs):
    query, key, value = inputs
    if chunks == 1:
      return attend_some(query, key, value)
    query = jnp.pad(query, ((0, 0), (0, chunks * size - length), (0, 0)))
    query = einops.rearrange(query, 'g (c n) d -> c g n d', c=chunks)
    out = jax.lax.map(lambda query: attend_some(query, key, value), query)
    return einops.rearrange(out, 'c g n d -> g (c n) d')[:, :length]

  out = jax.lax.map(attend_group, (query, key, value))
  return out.reshape(batch, heads, length, -1)


def _attend_heads(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  bias: jax.Array | None = None,
  cap: float | None = None,
) -> jax.Array:
  """Returns softmax(q k^T / sqrt(d) + bias) v; in and out [..., n, d].

  Heads precede tokens, which is faster on XLA's CPU backend. The softmax is
  normalised after the product with v, which has fewer entries.
  """
  scores = jnp.einsum(
    '...nd,...md->...nm',
    query * (query.shape[-1] ** -0.5),
    key,
    preferred_element_type=jnp.float32,
  )
  scores = capped(scores, cap)
  if bias is not None:
    scores = scores + bias
  maximum = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
  weights = jnp.exp(scores - maximum)
  summed = jnp.einsum(
    '...nm,...md->...nd',
    weights.astype(value.dtype),
    value,
    preferred_element_type=jnp.float32,
  )
  total = weights.sum(axis=-1, keepdims=True)
  return (summed / total).astype(value.dtype)


def capped(scores: jax.Array, cap: float | None) -> jax.Array:
  """Returns cap * tanh(scores / cap); the scores if cap is None."""
  return scores if cap is None else cap * jnp.tanh(scores / cap)


def _largest_divisor(number: int, limit: int) -> int:
  """Returns the largest divisor of a number up to `limit`; at least 1."""
  limit = max(min(number, limit), 1)
  return next(d for d in range(limit, 0, -1) if number % d == 0)
