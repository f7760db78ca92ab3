"""Attention rollout equals known attention and an independent rollout."""

import functools

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from vivit_jax import models
from vivit_jax.errors import UserError
from vivit_jax.inference import rollout
from vivit_jax.models import attention, blocks, builder, stacking
from vivit_jax.models.rollout import attended
from vivit_jax.models.vjepa2 import network

T, H, W = 3, 2, 4  # of the grid of tokens
LAYERS = 2


def config_of(family, **changes):
  own = {'layers': LAYERS}
  if family == 'factorised_encoder':
    own = {'spatial_layers': LAYERS, 'temporal_layers': LAYERS}
  elif family == 'factorised_self_attention':
    own['temporal_init'] = 'random'
  own |= {'width': 32, 'attention_heads': 2, 'mlp_width': 48}
  common = {'size': 'S', 'heads': {'label': 3}, 'tubelet': (2, 4, 4)}
  return reference.flat_config(family, **common | own | changes)


def clips(count=2):
  shape = (count, T * 2, H * 4, W * 4, 3)
  return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def parameters(config):
  return parameters_of(config, clips())


def parameters_of(config, video):
  """Returns random parameters with attention far from uniform."""
  model, draw = models.build(config), np.random.default_rng(0)
  shapes = jax.eval_shape(model.init, jax.random.key(0), video)['params']

  def fill(path, x):
    keys = [step.key for step in path]
    sharp = {'query', 'key'} & set(keys) and keys[-1] == 'kernel'
    scale = 1 if keys[-1].startswith('cls') else 0.5 if sharp else 0.1
    noise = draw.normal(scale=scale, size=x.shape).astype(np.float32)
    return noise + (keys[-1] == 'scale')  # of a LayerNorm: about 1

  return jax.tree_util.tree_map_with_path(fill, shapes)


CASES = [
  ('joint', {}),
  ('joint', {'pool': 'mean'}),
  ('joint', {'embedding': 'uniform_frames'}),
  ('joint', {'dtype': 'bfloat16'}),
  ('factorised_encoder', {}),
  ('factorised_encoder', {'pool': 'mean'}),
  ('factorised_encoder', {'temporal_layers': 0}),
  ('factorised_self_attention', {}),
  ('factorised_self_attention', {'order': 'time_space'}),
  ('factorised_dot_product', {'order': 'time_space'}),
  ('videomae', {}),
  ('vjepa2', {'pool': 'mean', 'size': 'L'}),
]


# An independent rollout: full N x N matrices of the attention weights that the
# model computes, multiplied in the order of the layers.


def recorded_by(config, params, video, monkeypatch):
  """Returns the attention weights of each call, in order."""
  weights = []

  def attend(query, key, value, **_):
    scores = jnp.einsum(
      '...qhd,...khd->...hqk', query, key, precision='highest'
    )
    scores = scores.astype(jnp.float32) / np.sqrt(query.shape[-1])
    weights.append(nn.softmax(scores))
    y = jnp.einsum('...hqk,...khd->...qhd', weights[-1], value)
    return y.astype(value.dtype)

  @jax.jit
  def apply(params, video):
    models.build(config).apply({'params': params}, video)
    return weights

  with monkeypatch.context() as patch:
    # The functions that compute attention in flax, Model 4 and V-JEPA 2.
    patch.setattr(blocks, 'attend', attend)
    patch.setattr(attention, 'attend', attend)
    patch.setattr(network, 'attend', attend)
    found = apply(params, video)
  assert found
  return [np.asarray(x, np.float64) for x in found]


def over_grid(weights, axis):
  """Returns attention along one axis as a matrix over all tokens of a clip.

  Args:
    weights: [heads, sequences, N of a sequence, the same].
    axis: 'space', sequences are t; or 'time', sequences are s.
  """
  mean = weights.mean(axis=0)
  out = np.zeros((T, H * W, T, H * W))
  for number, matrix in enumerate(mean):
    if axis == 'space':
      out[number, :, number, :] = matrix
    else:
      out[:, number, :, number] = matrix
  return out.reshape(T * H * W, T * H * W)


def product(matrices):
  """Returns the rollout of layers, given in their order."""
  size = matrices[0].shape[0]
  steps = [0.5 * np.eye(size) + 0.5 * matrix for matrix in matrices]
  return functools.reduce(lambda done, step: step @ done, steps)


def read_out(matrix, pool):
  """Returns the share of the class token, and those of the tokens."""
  if pool == 'token':
    return matrix[0, 0], matrix[0, 1:]
  return 0.0, matrix.mean(axis=0)


def expected_rollout(config, weights, clip):
  """Returns attention [t, h, w] and the kept share, from all weights."""
  pool = builder.pool_of(config)
  if config.family in ('joint', 'videomae', 'vjepa2'):
    matrices = [layer[clip].mean(axis=0) for layer in weights]
    kept, shares = read_out(product(matrices), pool)
    return shares.reshape(T, H, W), kept
  if config.family == 'factorised_encoder':
    spatial, temporal = weights[:LAYERS], weights[LAYERS:]
    kept, time = 0.0, np.full(T, 1 / T)
    if temporal:
      layers = [layer[clip].mean(axis=0) for layer in temporal]
      kept, time = read_out(product(layers), pool)
    places = []
    for index in range(T):
      layers = [layer[clip * T + index].mean(axis=0) for layer in spatial]
      held, shares = read_out(product(layers), pool)
      kept += time[index] * held
      places.append(time[index] * shares.reshape(H, W))
    return np.stack(places), kept
  axes = config.options.order.split('_')
  matrices = []
  for layer in range(LAYERS):
    pair = []
    for axis, result in zip(axes, weights[2 * layer :]):
      if result.ndim == 4:  # sequences and batch in one axis
        result = einops.rearrange(result, '(B S) H q k -> B S H q k', B=2)
      apart = einops.rearrange(result, 'B S H q k -> B H S q k')
      pair.append(over_grid(apart[clip], axis))
    if config.family == 'factorised_dot_product':
      pair = [(pair[0] + pair[1]) / 2]
    matrices += pair
  shares = product(matrices).mean(axis=0)
  return shares.reshape(T, H, W), 0.0


@pytest.mark.parametrize('family, changes', CASES)
def test_rollout_is_the_product_of_full_matrices(family, changes, monkeypatch):
  config = config_of(family, **changes)
  params = parameters(config)
  result = rollout.attention_rollout(config)(params, clips())
  weights = recorded_by(config, params, clips(), monkeypatch)
  tolerance = 1e-2 if changes.get('dtype') else 2e-6
  for clip in range(2):
    expected, kept = expected_rollout(config, weights, clip)
    assert expected.max() > 1.5 * expected.min()  # somewhere in particular
    np.testing.assert_allclose(result.attention[clip], expected, atol=tolerance)
    np.testing.assert_allclose(result.kept[clip], kept, atol=tolerance)
    np.testing.assert_allclose(expected.sum() + kept, 1, atol=1e-6)


def even(params):
  """Returns the parameters with zero queries, so attention is uniform."""

  def still(path, x):
    return 0 * x if 'query' in [step.key for step in path] else x

  return jax.tree_util.tree_map_with_path(still, params)


@pytest.mark.parametrize(
  'family, changes, kept',
  [
    # The class token's row starts as [1, 0, ...]. Each layer halves its excess
    # over the uniform 1 / 25, or 1 / 9 in space and 1 / 4 in time.
    ('joint', {}, 1 / 25 + 24 / 25 / 4),
    (
      'factorised_encoder',
      {},
      1 - (1 - (1 / 9 + 8 / 9 / 4)) * (1 - (1 / 4 + 3 / 4 / 4)),
    ),
    ('factorised_encoder', {'temporal_layers': 0}, 1 / 9 + 8 / 9 / 4),
    ('joint', {'pool': 'mean'}, 0),
    ('factorised_encoder', {'pool': 'mean'}, 0),
    ('factorised_self_attention', {}, 0),
    ('factorised_dot_product', {}, 0),
  ],
)
def test_uniform_attention_has_a_uniform_rollout(family, changes, kept):
  config = config_of(family, **changes)
  result = rollout.attention_rollout(config)(even(parameters(config)), clips())
  np.testing.assert_allclose(result.kept, kept, rtol=1e-5)
  np.testing.assert_allclose(
    result.attention, (1 - kept) / (T * H * W), rtol=1e-5
  )


@pytest.mark.parametrize('rows', [1, 7, 1000])
def test_any_number_of_rows_at_a_time(rows, monkeypatch):
  config = config_of('joint')
  params = parameters(config)
  whole = rollout.attention_rollout(config)(params, clips())
  monkeypatch.setattr('vivit_jax.models.rollout.ROWS', rows)
  parts = rollout.attention_rollout(config)(params, clips())
  np.testing.assert_allclose(parts.attention, whole.attention, atol=1e-7)
  np.testing.assert_allclose(parts.kept, whole.kept, atol=1e-6)


def test_stacked_layers_are_the_same_model():
  params = parameters(config_of('joint'))
  plain = rollout.attention_rollout(config_of('joint'))(params, clips())
  config = config_of('joint', scan=True, remat='full')
  stacked = rollout.attention_rollout(config)(stacking.stack(params), clips())
  np.testing.assert_allclose(stacked.attention, plain.attention, atol=1e-7)


def test_no_full_attention_matrix_is_in_memory():
  """With N = 1025 tokens, the program has no array of N x N elements."""
  tokens = 1025
  row = jax.ShapeDtypeStruct((1, tokens), np.float32)
  vectors = jax.ShapeDtypeStruct((1, tokens, 2, 4), np.float32)
  memory = (
    jax.jit(attended).lower(row, vectors, vectors).compile().memory_analysis()
  )
  assert memory.temp_size_in_bytes < tokens * tokens * 4


@pytest.mark.parametrize('family, changes', [
  ('joint', {'pool': 'attention'}),
  ('vjepa2', {'size': 'L'}),
  ('joint', {'clips': 2}),
])  # fmt: skip
def test_what_has_no_rollout_is_refused(family, changes):
  config = config_of(family, **changes)
  with pytest.raises(UserError, match=r'model\.(pool|clips)'):
    rollout.attention_rollout(config)
