"""Model 2 against outputs of the reference implementation (tests/fixtures)."""

import pathlib

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization

from vivit_jax import models
from vivit_jax.models import FactorisedEncoder

FIXTURES = pathlib.Path(__file__).parents[1] / 'fixtures'
FULL_SIZE = (1, 32, 224, 224, 3)


def reference_parameters(name: str) -> dict:
  raw = serialization.msgpack_restore(
    (FIXTURES / name / 'checkpoint').read_bytes()
  )
  target = raw['optimizer']['target']
  return target.get('params', target)


@pytest.mark.parametrize(
  'name, temporal_layers',
  [('model2_factorised_encoder', 2), ('model2_average_pooled', 0)],
)
def test_logits_are_those_of_the_reference(name, temporal_layers):
  golden = np.load(FIXTURES / name / 'golden.npz', allow_pickle=False)
  model = FactorisedEncoder(
    heads={'label': 11},
    width=48,
    attention_heads=4,
    mlp=96,
    spatial_layers=3,
    temporal_layers=temporal_layers,
    tubelet=(2, 16, 16),
  )
  params = reference_parameters(name)
  ours = jax.eval_shape(model.init, jax.random.key(0), golden['video'])
  shapes = jax.tree.map(jnp.shape, ours['params'])
  assert flax.traverse_util.flatten_dict(
    shapes
  ) == flax.traverse_util.flatten_dict(jax.tree.map(jnp.shape, params))
  with jax.default_matmul_precision('highest'):
    logits = model.apply({'params': params}, golden['video'])['label']
  scale = np.abs(golden['logits']).max()
  np.testing.assert_allclose(logits, golden['logits'], atol=2e-5 * scale)


@pytest.mark.parametrize(
  'size, temporal_layers, count',
  [  # Paper, tables 2 and 6, exact by the reference code.
    ('B', 4, 115_062_928),
    ('B', 0, 86_696_080),
    ('L', 4, 354_903_440),
    ('L', 24, 606_827_920),
  ],
)
def test_parameter_counts_are_exact(size, temporal_layers, count):
  model = models.build(
    family='factorised_encoder',
    size=size,
    heads={'label': 400},
    tubelet=(2, 16, 16),
    temporal_layers=temporal_layers,
  )
  video = jax.ShapeDtypeStruct(FULL_SIZE, jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), video)
  assert sum(x.size for x in jax.tree.leaves(shapes['params'])) == count
