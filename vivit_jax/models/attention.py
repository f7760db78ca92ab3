"""Softmax attention of many heads, in the form that suits device and length.

All forms compute softmax(q k^T / sqrt(d)) v of each head, and differ in memory,
speed and rounding only. Softmax is in float32 whatever the inputs' precision.
"""

import dataclasses
import functools

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

# The values of the config key model.attention.
ATTENTIONS = ('auto', 'plain', 'chunked', 'cudnn')

# From this length on the scores of all pairs are more memory than caches hold:
# plain below, chunked above (benchmarks/RESULTS.md).
_LONG = 1024
_CHUNK = 256  # queries that are compared with all keys at a time


def attend(
  query: jax.Array, key: jax.Array, value: jax.Array, *, kind: str = 'auto'
) -> jax.Array:
  """Returns what each query takes from the values, [..., N, heads, d].

  Args:
    query, key, value: [..., N, heads, d], of one precision.
    kind: 'plain', the scores of all pairs at once; 'chunked', those of some
      queries at a time, in the backward pass computed again; 'cudnn', the fused
      kernel of NVIDIA's library, which wants bfloat16; 'auto', what suits.
  """
  if kind == 'auto':
    kind = _suited(query)
  batch = query.shape[:-3]
  query, key, value = (
    x.reshape(-1, *x.shape[-3:]) for x in (query, key, value)
  )
  if kind == 'cudnn':
    found = jax.nn.dot_product_attention(
      query, key, value, implementation='cudnn'
    )
  elif kind == 'chunked':
    found = _chunked(query, key, value)
  else:
    found = _plain(query, key, value)
  return found.reshape(*batch, *found.shape[1:])


def in_plain_form(model: nn.Module) -> nn.Module:
  """Returns the model with plain attention, of the same parameters.

  That any device computes, and whose products can be counted.
  """
  options = dataclasses.replace(model.options, attention='plain')
  return model.clone(options=options)


def _suited(query: jax.Array) -> str:
  """Returns the fastest form for the backend that is traced for."""
  length, _, width = query.shape[-3:]
  if jax.default_backend() == 'gpu' and query.dtype == jnp.bfloat16:
    if width % 8 == 0 and width <= 128:
      return 'cudnn'
  return 'chunked' if length >= _LONG else 'plain'


def _plain(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
  """Attends; [B, N, heads, d] all."""
  query = query * (query.shape[-1] ** -0.5)
  scores = jnp.einsum(
    'BnHd,BmHd->BHnm', query, key, preferred_element_type=jnp.float32
  )
  weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
  return jnp.einsum('BHnm,BmHd->BnHd', weights, value)


def _chunked(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
  """Attends, some queries after others; [B, N, heads, d] all.

  The last chunk is filled up with queries of zero, which are dropped. Memory
  is that of one chunk's scores, in the backward pass too (Rabe and Staats,
  arXiv 2112.05682, of which keys and values are not cut here).
  """
  length = query.shape[1]
  chunks = -(-length // _CHUNK)
  size = -(-length // chunks)
  query, key, value = (
    einops.rearrange(x, 'B n H d -> B H n d') for x in (query, key, value)
  )
  query = query * (query.shape[-1] ** -0.5)
  query = jnp.pad(query, ((0, 0), (0, 0), (0, chunks * size - length), (0, 0)))
  query = einops.rearrange(query, 'B H (c n) d -> c B H n d', c=chunks)

  @functools.partial(jax.checkpoint, prevent_cse=False)
  def attend_some(query):
    scores = jnp.einsum(
      'BHnd,BHmd->BHnm', query, key, preferred_element_type=jnp.float32
    )
    most = scores.max(axis=-1, keepdims=True)
    weights = jnp.exp(scores - jax.lax.stop_gradient(most))
    total = weights.sum(axis=-1, keepdims=True)
    # Divided after the product, where there are fewer numbers to divide.
    taken = jnp.einsum('BHnm,BHmd->BHnd', weights.astype(value.dtype), value)
    return (taken / total).astype(value.dtype)

  found = jax.lax.map(attend_some, query)
  return einops.rearrange(found, 'c B H n d -> B (c n) H d')[:, :length]
