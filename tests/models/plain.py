"""Models 3 and 4 in plain NumPy, from the paper's equations (section 3.3).

Written for the eye, with loops over sequences and heads; float64 throughout.
"""

import math

import jax
import numpy as np

from vivit_jax.models import stacking


def parameters(module, *inputs, scale=0.3, seed=0):
  """Returns random parameters, unstacked. To compile `init` takes longer."""
  shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
  draw = np.random.default_rng(seed)
  return jax.tree.map(
    lambda x: scale * draw.normal(size=x.shape).astype(np.float32),
    stacking.unstack(shapes.get('params', {})),
  )


def dense(x, p):
  return x @ p['kernel'] + p['bias']


def norm(x, p):
  centred = x - x.mean(-1, keepdims=True)
  variance = (centred**2).mean(-1, keepdims=True)
  return centred / np.sqrt(variance + 1e-6) * p['scale'] + p['bias']


def gelu(x):
  return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def mlp(x, p):
  return dense(gelu(dense(x, p['Dense_0'])), p['Dense_1'])


def one_head(x, p, head):
  """Returns one head's output for one sequence [N, D]: [N, d]."""
  query, key, value = (
    x @ p[name]['kernel'][:, head] + p[name]['bias'][head]
    for name in ('query', 'key', 'value')
  )
  scores = query @ key.T / math.sqrt(query.shape[-1])
  weights = np.exp(scores - scores.max(-1, keepdims=True))
  return weights / weights.sum(-1, keepdims=True) @ value


def along(x_tsD, axis, function):
  """Applies a function to every sequence of one axis of the grid."""
  if axis == 'space':
    return np.stack([function(row) for row in x_tsD])
  return np.stack([function(x_tsD[:, s]) for s in range(x_tsD.shape[1])], 1)


def attention(x, p, heads_of):
  """Returns attention over a grid; `heads_of` says which heads see an axis."""
  count = p['query']['kernel'].shape[1]
  outputs = [None] * count
  for axis, heads in heads_of.items():
    for head in heads:
      outputs[head] = along(x, axis, lambda row, h=head: one_head(row, p, h))
  kernel = p['out']['kernel']
  return sum(outputs[h] @ kernel[h] for h in range(count)) + p['out']['bias']


def self_attention_block(x, p, order):
  heads = range(
    p['MultiHeadDotProductAttention_space']['query']['bias'].shape[0]
  )
  for axis in order.split('_'):
    y = norm(x, p[f'LayerNorm_{axis}'])
    x = x + attention(
      y, p[f'MultiHeadDotProductAttention_{axis}'], {axis: heads}
    )
  return x + mlp(norm(x, p['LayerNorm_mlp']), p['MlpBlock'])


def dot_product_block(x, p, order):
  weights = p['MultiHeadDotProductAttention_0']
  heads = list(range(weights['query']['bias'].shape[0]))
  half = len(heads) // 2
  first, second = order.split('_')
  heads_of = {first: heads[:half], second: heads[half:]}
  x = x + attention(norm(x, p['LayerNorm_0']), weights, heads_of)
  return x + mlp(norm(x, p['LayerNorm_1']), p['MlpBlock_0'])


def logits(video, params, block, order):
  """Returns the logits [K] of one video [T, H, W, 3]."""
  p = _float64(params)
  kernel = p['embedding']['kernel']
  t, h, w = kernel.shape[:3]
  grid = [size // part for size, part in zip(video.shape, (t, h, w))]
  x = np.zeros((grid[0], grid[1] * grid[2], kernel.shape[-1]))
  for i, j, k in np.ndindex(*grid):
    tubelet = video[
      i * t : (i + 1) * t, j * h : (j + 1) * h, k * w : (k + 1) * w
    ]
    x[i, j * grid[2] + k] = np.tensordot(tubelet, kernel, 4)
  x += p['embedding']['bias']
  encoder = p['Transformer']
  x += encoder['posembed_input']['pos_embedding'].reshape(x.shape)
  layers = sum(name.startswith('encoderblock_') for name in encoder)
  for layer in range(layers):
    x = block(x, encoder[f'encoderblock_{layer}'], order)
  x = norm(x, encoder['encoder_norm']).mean(axis=(0, 1))
  return dense(x, p['output_projection'])


def _float64(tree):
  if isinstance(tree, dict):
    return {key: _float64(value) for key, value in tree.items()}
  return np.asarray(tree, np.float64)
