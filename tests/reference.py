"""The reference's small networks (tests/fixtures), and ours like them."""

import pathlib

import numpy as np
from flax import serialization

from vivit_jax import models
from vivit_jax.models import layers

FIXTURES = pathlib.Path(__file__).parent / 'fixtures'
OPTIONS = layers.Options(attention_heads=4, mlp=96)
MODELS = {  # fixture -> family and what differs from the default
  'model1_joint': ('joint', {}),
  'model2_factorised_encoder': ('factorised_encoder', {'temporal_layers': 2}),
  'model2_average_pooled': ('factorised_encoder', {'temporal_layers': 0}),
  'model3_factorised_self_attention': (
    'factorised_self_attention',
    {'order': 'time_space', 'classifier': 'average'},
  ),
  'model4_factorised_dot_product': (
    'factorised_dot_product',
    {'order': 'time_space', 'classifier': 'average'},
  ),
}


def model(name: str, options=OPTIONS, **changes):
  family, own = MODELS[name]
  return models.FAMILIES[family](
    **{
      'heads': {'label': 11},
      'width': 48,
      'depth': 3,
      'options': options,
      'tubelet': (2, 16, 16),
    }
    | own
    | changes
  )


def parameters(name: str) -> dict:
  raw = serialization.msgpack_restore(
    (FIXTURES / name / 'checkpoint').read_bytes()
  )
  if 'optimizer' not in raw:
    return raw['params']
  target = raw['optimizer']['target']
  return target.get('params', target)


def golden(name: str) -> dict[str, np.ndarray]:
  with np.load(FIXTURES / name / 'golden.npz', allow_pickle=False) as arrays:
    return dict(arrays)
