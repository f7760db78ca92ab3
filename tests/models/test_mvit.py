"""MViT equals the official code, and follows the papers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
import reference

from vivit_jax import models
from vivit_jax.checkpoints import load, names
from vivit_jax.errors import UserError
from vivit_jax.models import blocks, builder, table
from vivit_jax.models.family import ModelConfig
from vivit_jax.models.mvit import network, relative


@pytest.mark.parametrize('name, attention', [
  ('mvit_v1', 'plain'),
  ('mvit_v1_wide_kernels', 'plain'),
  ('mvit_v2', 'plain'),
  ('mvit_v2', 'chunked'),
])  # fmt: skip
def test_every_array_equals_the_official_code(name, attention):
  loaded, golden = load.load(reference.FIXTURES / name), reference.golden(name)
  config = dataclasses.replace(loaded.config.model, attention=attention)
  features, captured = outputs(config, loaded.params, golden['video'])
  head = loaded.params['output_projection']
  found = {'logits': plain.dense(features.pre_logits, head)}
  for block, output in captured['intermediates']['Transformer'].items():
    number = block.removeprefix('encoderblock_')
    cls, x = np.split(reference.tokens(output), [1], axis=1)
    found[f'block_{number}_cls'] = cls[:, 0]
    found[f'block_{number}'] = x.reshape(golden[f'block_{number}'].shape)
  assert found.keys() == {key for key in golden if key != 'video'}
  for key, value in found.items():
    reference.assert_close(value, golden[key], 2e-5)
  check_stages(features, golden, loaded, 2e-5)


def outputs(config, params, video):
  """Returns the features, and captured outputs of blocks."""

  @jax.jit
  def apply(params, video):
    with jax.default_matmul_precision('highest'):
      return models.build(config).apply(
        {'params': params},
        video,
        features=True,
        capture_intermediates=lambda x, _: isinstance(x, network.Block),
        mutable='intermediates',
      )

  return apply(params, video)


def check_stages(features, golden, loaded, share):
  """Asserts that a stage ends before the block that halves the grid."""
  options = loaded.config.model.options
  ends = [*options.stages, options.layers]
  for x, end in zip(features.stages, ends, strict=True):
    reference.assert_close(x, golden[f'block_{end - 1}'], share)
  norm = loaded.params['Transformer']['encoder_norm']
  expected = plain.norm(golden[f'block_{options.layers - 1}'], norm)
  reference.assert_close(features.tokens, expected, 2 * share)


def test_bfloat16_is_close():
  name = 'mvit_v2'
  loaded, golden = load.load(reference.FIXTURES / name), reference.golden(name)
  config = dataclasses.replace(loaded.config.model, dtype='bfloat16')
  features, _ = outputs(config, loaded.params, golden['video'])
  assert features.tokens.dtype == jnp.bfloat16
  check_stages(features, golden, loaded, 0.06)


# Parameters for 400 classes, and G multiply-adds, of the official models.
SIZES = [
  (1, 'B', 'cube', 16, 224, 36_610_672, 70.599),
  (1, 'B', 'cube_strided', 16, 224, 36_599_536, 70.518),
  (1, 'B', 'cube', 32, 224, 36_611_440, 169.958),
  (1, 'B24', None, 32, 224, 53_115_280, 235.776),
  (2, 'S', None, 16, 224, 34_537_744, 64.224),
  (2, 'B', None, 32, 224, 51_230_128, 224.473),
  pytest.param(
    2, 'L', None, 40, 312, 213_390_112, 2823.404, marks=pytest.mark.slow
  ),
]


@pytest.mark.parametrize('version, size, kernels, frames, crop, count, giga',
                         SIZES)  # fmt: skip
def test_sizes_are_the_official_ones(
  version, size, kernels, frames, crop, count, giga
):
  options = {'version': version, 'kernels': kernels}
  config = ModelConfig('mvit', size, heads={'label': 400}, options=options)
  case = table.Case('', config, frames, crop)
  assert table.parameters(case) == count
  assert table.products(case) == pytest.approx(giga, abs=0.002)


def test_174_classes():
  config = ModelConfig('mvit', 'S', heads={'label': 174})
  assert table.parameters(table.Case('', config, 16, 224)) == 34_363_950


# Relative positions.


@pytest.mark.parametrize('queries, keys, expected', [
  (2, 2, [[1, 0], [2, 1]]),
  (4, 2, [[2, 0], [3, 1], [4, 2], [5, 3]]),  # steps of 2 between keys
  (2, 4, [[3, 2, 1, 0], [5, 4, 3, 2]]),
  # A step of 1.5: i - 1.5 j + 1.5.
  (3, 2, [[1, 0], [2, 1], [3, 2]]),
])  # fmt: skip
def test_relative_index_by_hand(queries, keys, expected):
  np.testing.assert_array_equal(relative.index(queries, keys), expected)


def test_tables_of_another_length_are_interpolated():
  """3 rows for 5: centres at -0.2, 0.4, 1, 1.6, 2.2 of the old rows."""
  found = relative.rows(jnp.array([[0.0], [10.0], [30.0]]), 3, 3)
  of_distance = [0, 4, 10, 22, 30]
  expected = [[of_distance[i - j + 2] for j in range(3)] for i in range(3)]
  np.testing.assert_allclose(found[..., 0], expected, atol=1e-5)


# Small models of our own.

SMALL = {'layers': 3, 'width': 4, 'stages': (1,), 'attention_heads': 1}
VIDEO = np.random.default_rng(2).normal(size=(2, 5, 28, 18, 3))
VIDEO = VIDEO.astype(np.float32)


def built(version=2, layers=3, **keys):
  """Returns a small model and random parameters for VIDEO."""
  options = SMALL | {'version': version, 'layers': layers}
  config = ModelConfig('mvit', 'B', heads={'label': 3}, options=options, **keys)
  return config, plain.parameters(models.build(config), VIDEO)


def logits(config, params, video=VIDEO):
  with jax.default_matmul_precision('highest'):
    apply = jax.jit(models.build(config).apply)
    return apply({'params': params}, video)['label']


def transposed(name, value):
  """Returns a parameter for clips whose height and width are exchanged."""
  if name == 'embedding/kernel' or '/pool_' in name:
    return value.swapaxes(1, 2)
  if name.endswith('space_embedding'):  # 7 x 5
    return value.reshape(1, 7, 5, -1).swapaxes(1, 2).reshape(value.shape)
  return value


@pytest.mark.parametrize('version', [1, 2])
def test_height_and_width_are_treated_alike(version):
  """An odd clip that is no square, and its transpose, give equal logits."""
  config, params = built(version)
  flat = names.flatten(params)
  other = {name: transposed(name, value) for name, value in flat.items()}
  for name in flat:
    if name.endswith('rel_pos_h'):
      width = name.replace('_h', '_w')
      other[name], other[width] = flat[width], flat[name]
  found = logits(config, names.unflatten(other), VIDEO.swapaxes(2, 3))
  expected = logits(config, params)
  np.testing.assert_allclose(found, expected, atol=1e-4)
  assert np.abs(logits(config, params, VIDEO[:, ::-1]) - expected).max() > 1e-3


def test_every_computation_gives_the_same_gradient():
  config, params = built(layers=2)

  def gradient(**keys):
    model = models.build(dataclasses.replace(config, **keys))

    def loss(params):
      return (model.apply({'params': params}, VIDEO)['label'] ** 2).sum()

    with jax.default_matmul_precision('highest'):
      return jax.jit(jax.grad(loss))(params)

  found = gradient(attention='chunked', remat='stages')
  expected = gradient(attention='plain')
  largest = max(np.abs(x).max() for x in jax.tree.leaves(expected))
  for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    np.testing.assert_allclose(x, y, atol=2e-5 * largest, rtol=1e-3)


def test_stages_are_recomputed_as_a_whole():
  """One checkpoint for each stage, instead of for each block."""
  config, params = built()

  def checkpoints(remat):
    model = models.build(dataclasses.replace(config, remat=remat))
    traced = jax.make_jaxpr(model.apply)({'params': params}, VIDEO)
    kinds = [equation.primitive.name for equation in traced.jaxpr.eqns]
    return sum(kind.startswith('remat') for kind in kinds)

  found = [checkpoints(remat) for remat in ('none', 'stages', 'full')]
  assert found == [0, 2, 3]


def test_the_mean_pool_has_no_class_token():
  config, params = built(1, pool='mean')
  flat = names.flatten(params)
  assert not any('cls' in name for name in flat)
  model = models.build(config)
  found = jax.jit(
    lambda params: model.apply({'params': params}, VIDEO, features=True)
  )(params)
  assert found.tokens.shape == (2, 3, 4, 3, 8)
  average = found.tokens.mean(axis=(1, 2, 3))
  np.testing.assert_allclose(found.pre_logits, average, atol=1e-5)


@pytest.mark.parametrize('bias', [0.02, 0.0])
def test_the_initial_values_are_the_official_ones(bias):
  """But for the head, which is zero."""
  options = {'layers': 2, 'width': 96, 'stages': (1,), 'bias_init': bias}
  config = ModelConfig('mvit', heads={'label': 3}, options=options)
  video = np.zeros((1, 4, 32, 32, 3), np.float32)
  found = jax.jit(models.build(config).init)(jax.random.key(0), video)['params']
  limit = (3 * 3 * 7 * 7) ** -0.5
  for value in found.pop('embedding').values():
    assert np.abs(value).max() <= limit
    np.testing.assert_allclose(np.std(value), limit / 3**0.5, rtol=0.15)
  for name, value in names.flatten(found).items():
    if name.endswith('scale'):
      np.testing.assert_array_equal(value, 1)
    elif name.startswith('output_projection'):
      np.testing.assert_array_equal(value, 0)
    elif name.endswith('bias'):
      np.testing.assert_array_equal(value, np.float32(bias))
    else:  # 0.02, within four deviations of the estimate
      bound = 4 / (2 * value.size) ** 0.5
      np.testing.assert_allclose(np.std(value), 0.02, rtol=bound, err_msg=name)


def test_every_parameter_has_a_layer():
  config, params = built(1)
  layer_of, last = builder.layer_of(config)
  found = {name: layer_of(name) for name in names.flatten(params)}
  assert last == 4
  for name, layer in found.items():
    if name.startswith('Transformer/encoderblock_'):
      assert layer == int(name.removeprefix('Transformer/encoderblock_')[0]) + 1
    elif name.startswith(('output_projection', 'Transformer/encoder_norm')):
      assert layer == 4
    else:
      assert layer == 0


# Stochastic depth.


@pytest.fixture(scope='module')
def dropped():
  """A function of examples -> tokens; blocks 1 and 2 drop each branch."""
  keys = {'stochastic_depth': 0.75, 'depth_rates': 'reference'}
  config, params = built(**keys)

  def run(examples, frozen=()):
    model = models.build(config, frozen)

    @jax.jit
    def apply(params, examples):
      return model.apply(
        {'params': params},
        np.repeat(VIDEO[:1], 4, axis=0),
        train=True,
        example_B=examples,
        rngs={'stochastic_depth': jax.random.key(3)},
        features=True,
      ).stages

    return [np.asarray(x) for x in apply(params, jnp.array(examples))]

  return run


def test_draws_depend_on_the_place_in_the_global_batch(dropped):
  first, second = dropped([0, 1, 2, 3]), dropped([2, 3, 0, 1])
  np.testing.assert_array_equal(first[1], second[1][[2, 3, 0, 1]])
  assert len({x.tobytes() for x in first[1]}) > 1
  # With 'reference', nothing is dropped in the first block, the first stage.
  np.testing.assert_array_equal(first[0][0], first[0][1])


def test_frozen_blocks_keep_their_branches(dropped):
  frozen = {f'Transformer/encoderblock_{layer}' for layer in (1, 2)}
  _, last = dropped([0, 1, 2, 3], frozen)
  np.testing.assert_array_equal(last, last[:1].repeat(4, axis=0))


def test_without_branches_tokens_are_max_pooled(monkeypatch):
  """Of the block that starts the second stage of a v1."""

  def off(key, rates_L, branches, example_B):
    return jnp.zeros((rates_L.size, branches, example_B.size))

  monkeypatch.setattr(blocks, 'stochastic_depth', off)
  config, params = built(1, layers=2, stochastic_depth=0.5)
  model = models.build(config)
  found = jax.jit(
    lambda params: model.apply(
      {'params': params},
      VIDEO,
      train=True,
      example_B=jnp.arange(2),
      rngs={'stochastic_depth': jax.random.key(0)},
      features=True,
    )
  )(params)
  before, after = found.stages
  edges = ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0))
  padded = np.pad(before, edges, constant_values=-np.inf)
  expected = np.max(
    [
      padded[:, :, i : i + 7 : 2, j : j + 5 : 2]
      for i in range(3)
      for j in range(3)
    ],
    axis=0,
  )
  np.testing.assert_allclose(after, expected, atol=1e-6)


@pytest.mark.parametrize('keys, options, named', [
  ({'size': 'S'}, {'version': 1}, 'version'),
  ({'size': 'B24'}, {}, 'B24'),
  ({}, {'width': 5, 'attention_heads': 2}, 'width'),
  ({}, {'stages': (2, 1)}, 'stages'),
  ({}, {'stages': (24,)}, 'stages'),
  ({'attention': 'flax'}, {}, 'attention'),
  ({'scan': True}, {}, 'scan'),
])  # fmt: skip
def test_what_cannot_be_built_is_refused(keys, options, named):
  with pytest.raises(UserError, match=named):
    models.build(ModelConfig('mvit', options=options, **keys))
