"""The vector that a head classifies, by hand from what it is pooled of."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
import reference

from vivit_jax.models import blocks, pools
from vivit_jax.models.family import AttentionPool

DRAW = np.random.default_rng(0)


WIDTH, HEADS = 12, 3
OPTIONS = blocks.Options(attention_heads=HEADS, mlp=20)


def attended(query_D, x_ND, p, scale_d=1.0):
  """Returns the output of each head, concatenated: [D]."""
  query, key, value = (p[name] for name in ('query', 'key', 'value'))
  found = []
  for head in range(len(query['bias'])):
    q, k, v = (
      x @ one['kernel'][:, head] + one['bias'][head]
      for x, one in ((query_D, query), (x_ND, key), (x_ND, value))
    )
    scores = np.exp(k @ (q * scale_d) / math.sqrt(len(q)))
    found.append(scores / scores.sum() @ v)
  return np.concatenate(found)


def projected(query_D, x_ND, p, scale_d=1.0):
  """Returns `attended` after the output projection."""
  y = attended(query_D, x_ND, p, scale_d)
  return y @ p['out']['kernel'].reshape(len(y), -1) + p['out']['bias']


def big_vision(x_ND, p):
  x = projected(p['probe'][0, 0], x_ND, p['MultiHeadDotProductAttention_0'])
  return x + plain.mlp(plain.norm(x, p['LayerNorm_0']), p['MlpBlock_0'])


def videoprism(x_ND, p):
  scale = np.log1p(np.exp(p['per_dim_scale'])) / math.log(2)
  attention = p['MultiHeadDotProductAttention_0']
  x = projected(p['probe'][0, 0], x_ND, attention, scale)
  return plain.norm(x, p['LayerNorm_0'])


def video_text(x_ND, p):
  x = videoprism(x_ND, p)
  return x / np.linalg.norm(x)


def videoglue(x_ND, p):
  x = plain.norm(x_ND, p['LayerNorm_0'])
  return projected(p['probe'][0, 0], x, p['MultiHeadDotProductAttention_0'])


def vjepa(x_ND, p):
  for name in ('block_0', 'block_1'):
    block = p[name]
    attention = block['MultiHeadDotProductAttention_0']
    y = plain.norm(x_ND, block['LayerNorm_0'])
    x_ND = x_ND + np.stack([projected(one, y, attention) for one in y])
    y = plain.norm(x_ND, block['LayerNorm_1'])
    x_ND = x_ND + exact_mlp(y, block['MlpBlock_0'])
  probe = p['probe'][0, 0]
  z = probe + attended(probe, plain.norm(x_ND, p['LayerNorm_0']), p)
  return z + exact_mlp(plain.norm(z, p['LayerNorm_1']), p['MlpBlock_0'])


def exact_mlp(x, p):
  x = x @ p['Dense_0']['kernel'] + p['Dense_0']['bias']
  x = x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
  return x @ p['Dense_1']['kernel'] + p['Dense_1']['bias']


FORMS = {
  'big_vision': big_vision,
  'videoprism': videoprism,
  'video_text': video_text,
  'videoglue': videoglue,
  'vjepa': vjepa,
}


def pooled(name, x_BND, summary_BD, params):
  """Returns what a pool makes of a batch of tokens, in NumPy."""
  if name == 'token':
    return summary_BD
  if name == 'mean':
    return x_BND.mean(axis=1)
  if name == 'mean_norm':
    return plain.norm(x_BND.mean(axis=1), params['fc_norm'])
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  form = FORMS.get(name, big_vision)
  module = 'MAPHead_0' if form is big_vision else 'attention_pool'
  return np.stack([form(x, params[module]) for x in x_BND])


@pytest.mark.parametrize(
  ('name', 'per_frame'),
  [
    *((name, False) for name in ('token', 'mean', 'mean_norm', *FORMS)),
    ('videoglue', True),
  ],
)
@pytest.mark.parametrize('has_sequence', [False, True])
def test_pools_by_hand(name, has_sequence, per_frame):
  tokens = DRAW.normal(size=(2, 3, 2, 2, WIDTH)).astype(np.float32)
  summary = DRAW.normal(size=(2, 12)).astype(np.float32)
  sequence = DRAW.normal(size=(2, 3, 12)).astype(np.float32)
  read = sequence if has_sequence else tokens.reshape(2, 12, 12)
  if name in FORMS:
    own = {'vjepa': {'blocks': 2}, 'video_text': {'widening': 2, 'unit': True}}
    form = 'videoprism' if name == 'video_text' else name
    keys = {'per_frame': per_frame} | own.get(name, {})
    pool = pools.Attention(OPTIONS, AttentionPool(form, **keys))
  else:
    pool = pools.POOLS[name]()
  encoded = pools.Encoded(
    jnp.asarray(tokens),
    jnp.asarray(summary),
    jnp.asarray(sequence) if has_sequence else None,
  )
  params = plain.parameters(pool, encoded, scale=0.5)
  with jax.default_matmul_precision('highest'):
    found = jax.jit(pool.apply)({'params': params}, encoded)
  if per_frame:
    read = read.reshape(2, 3, -1, 12).mean(axis=2)
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
