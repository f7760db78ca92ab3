"""The vector that a head classifies, by hand from what it is pooled of."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
import reference

from vivit_jax.models import blocks, pools

DRAW = np.random.default_rng(0)


def attended(x_ND, p):
  """Returns the pool by attention of one clip's tokens [N, D]: [D]."""
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), p)
  weights = p['MultiHeadDotProductAttention_0']
  query, key, value, out = (
    weights[name] for name in ('query', 'key', 'value', 'out')
  )
  x = out['bias']
  for head in range(len(query['bias'])):
    asked = p['probe'][0, 0] @ query['kernel'][:, head] + query['bias'][head]
    keys = x_ND @ key['kernel'][:, head] + key['bias'][head]
    values = x_ND @ value['kernel'][:, head] + value['bias'][head]
    scores = np.exp(keys @ asked / math.sqrt(len(asked)))
    x = x + scores / scores.sum() @ values @ out['kernel'][head]
  return x + plain.mlp(plain.norm(x, p['LayerNorm_0']), p['MlpBlock_0'])


def pooled(name, x_BND, summary_BD, params):
  """Returns what a pool makes of a batch of tokens, in NumPy."""
  if name == 'token':
    return summary_BD
  if name == 'mean':
    return x_BND.mean(axis=1)
  return np.stack([attended(x, params['MAPHead_0']) for x in x_BND])


@pytest.mark.parametrize('name', pools.POOLS)
@pytest.mark.parametrize('has_sequence', [False, True])
def test_pools_by_hand(name, has_sequence):
  tokens = DRAW.normal(size=(2, 3, 2, 2, 12)).astype(np.float32)
  summary = DRAW.normal(size=(2, 12)).astype(np.float32)
  sequence = DRAW.normal(size=(2, 3, 12)).astype(np.float32)
  read = sequence if has_sequence else tokens.reshape(2, 12, 12)
  options = [blocks.Options(attention_heads=3, mlp=20)]
  pool = pools.POOLS[name](*options if name == 'attention' else [])
  encoded = pools.Encoded(
    jnp.asarray(tokens),
    jnp.asarray(summary),
    jnp.asarray(sequence) if has_sequence else None,
  )
  params = plain.parameters(pool, encoded, scale=0.5)
  with jax.default_matmul_precision('highest'):
    found = jax.jit(pool.apply)({'params': params}, encoded)
  expected = pooled(name, read, summary, params)
  assert found.shape == (2, 12)
  np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
  ('name', 'encoder', 'pool'),
  [
    ('model1_joint', 'Transformer', 'token'),
    ('model1_joint', 'Transformer', 'mean'),
    ('model2_factorised_encoder', 'TemporalTransformer', 'token'),
    ('model2_factorised_encoder', 'TemporalTransformer', 'attention'),
  ],
)
def test_models_pool_the_output_of_their_last_encoder(name, encoder, pool):
  layers = {'spatial_layers': 1, 'temporal_layers': 1}
  layers = {'layers': 1} if name == 'model1_joint' else layers
  model = reference.model(name, pool=pool, tubelet=(2, 8, 8), **layers)
  video = DRAW.normal(size=(2, 6, 16, 16, 3)).astype(np.float32)
  params = plain.parameters(model, video)

  def apply(params, video):
    return model.apply(
      {'params': params},
      video,
      features=True,
      capture_intermediates=lambda m, _: isinstance(m, blocks.Encoder),
      mutable='intermediates',
    )

  with jax.default_matmul_precision('highest'):
    found, state = jax.jit(apply)(params, video)
  outputs = reference.tokens(state['intermediates'][encoder])
  x = np.asarray(outputs, np.float64)
  tokens = 3 if encoder == 'TemporalTransformer' else 3 * 2 * 2
  assert x.shape[1] == tokens + (pool == 'token')
  assert ('MAPHead_0' in params) == (pool == 'attention')
  expected = pooled(pool, x, x[:, 0], params)
  np.testing.assert_allclose(found.pre_logits, expected, atol=1e-5)
