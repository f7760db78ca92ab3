"""The vector that a head classifies, by hand from what it is pooled of."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
import reference

from vivit_jax import models
from vivit_jax.models import blocks, pools
from vivit_jax.models import family as families

DRAW = np.random.default_rng(0)
FAMILIES = {  # and the encoder whose output is pooled
  'joint': ('Transformer', {'layers': 1}),
  'factorised_encoder': (
    'TemporalTransformer',
    {'spatial_layers': 1, 'temporal_layers': 1},
  ),
  'factorised_self_attention': ('Transformer', {'layers': 1}),
  'factorised_dot_product': ('Transformer', {'layers': 1}),
}


def random_like(tree):
  return jax.tree.map(
    lambda x: (0.5 * DRAW.normal(size=x.shape)).astype(np.float32), tree
  )


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
  shapes = jax.eval_shape(pool.init, jax.random.key(0), encoded)
  params = random_like(shapes.get('params', {}))
  with jax.default_matmul_precision('highest'):
    found = pool.apply({'params': params}, encoded)
  expected = pooled(name, read, summary, params)
  assert found.shape == (2, 12)
  np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
  ('family', 'pool'),
  [(name, pool) for name in FAMILIES for pool in families.get(name).pools],
)
def test_models_pool_the_output_of_their_last_encoder(family, pool):
  encoder, own = FAMILIES[family]
  config = reference.flat_config(
    family,
    pool=pool,
    heads={'label': 3},
    tubelet=(2, 8, 8),
    **reference.SIZE | own,
  )
  model = models.build(config)
  video = DRAW.normal(size=(2, 6, 16, 16, 3)).astype(np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), video)
  params = random_like(shapes['params'])
  outputs = {}

  def spy(next_call, arguments, keywords, context):
    out = next_call(*arguments, **keywords)
    module = context.module
    if isinstance(module, blocks.Encoder) and context.method_name == '__call__':
      outputs[module.name] = np.asarray(out, np.float64)
    return out

  with jax.default_matmul_precision('highest'):
    with blocks.nn.intercept_methods(spy):
      found = model.apply({'params': params}, video, features=True).pre_logits
  x = outputs[encoder]
  tokens = 3 if encoder == 'TemporalTransformer' else 3 * 2 * 2
  assert x.shape[1] == tokens + (pool == 'token')
  assert ('MAPHead_0' in params) == (pool == 'attention')
  expected = pooled(pool, x, x[:, 0], params)
  np.testing.assert_allclose(found, expected, atol=1e-5)
