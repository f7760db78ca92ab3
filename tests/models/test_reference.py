"""All four models against outputs of the reference implementation."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from vivit_jax.models import builder


@pytest.mark.parametrize('name', reference.MODELS)
def test_logits_are_those_of_the_reference(name):
  golden = reference.golden(name)
  model, params = reference.model(name), reference.parameters(name)
  ours = jax.eval_shape(model.init, jax.random.key(0), golden['video'])
  shapes = jax.tree.map(jnp.shape, ours['params'])
  assert flax.traverse_util.flatten_dict(
    shapes
  ) == flax.traverse_util.flatten_dict(jax.tree.map(jnp.shape, params))
  with jax.default_matmul_precision('highest'):
    logits = jax.jit(model.apply)({'params': params}, golden['video'])['label']
  scale = np.abs(golden['logits']).max()
  np.testing.assert_allclose(logits, golden['logits'], atol=2e-5 * scale)


@pytest.mark.parametrize(
  'family, size, changes, count',
  [  # Paper, tables 2 and 6, exact by the reference code.
    ('joint', 'B', {}, 88_954_000),
    ('joint', 'L', {}, 307_508_624),
    ('joint', 'H', {'tubelet': (2, 14, 14)}, 636_945_040),
    ('factorised_encoder', 'B', {}, 115_062_928),
    ('factorised_encoder', 'B', {'temporal_layers': 0}, 86_696_080),
    ('factorised_encoder', 'L', {}, 354_903_440),
    ('factorised_encoder', 'L', {'temporal_layers': 24}, 606_827_920),
    ('factorised_self_attention', 'B', {}, 117_319_312),
    ('factorised_dot_product', 'B', {}, 88_952_464),
  ],
)
def test_parameter_counts_are_exact(family, size, changes, count):
  """Of stacked layers, which are traced once."""
  config = reference.flat_config(
    family, size=size, heads={'label': 400}, scan=True, **changes
  )
  shapes = builder.shapes(config, 32, (224, 224))
  assert sum(x.size for x in jax.tree.leaves(shapes)) == count
