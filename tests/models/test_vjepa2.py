"""V-JEPA 2 equals transformers and the official code."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
import reference

from vivit_jax import models
from vivit_jax.checkpoints import load
from vivit_jax.errors import UserError
from vivit_jax.models import blocks, builder
from vivit_jax.models.family import ModelConfig
from vivit_jax.models.vjepa2 import network

NAME = 'vjepa2'
# The official code alone gives the outputs for the last one.
CLIPS = ['', '_frames10', '_frames1', '_crop40', '_frames4_crop16x32']


@functools.cache
def fixture():
  return load.load(reference.FIXTURES / NAME), reference.golden(NAME)


def with_pool(config, **keys):
  pool = dataclasses.replace(config.attention_pool, **keys)
  return dataclasses.replace(config, attention_pool=pool)


def outputs(config, params, video, **more):
  """Returns the features; with `more`, also captured outputs."""

  @jax.jit
  def apply(params, video):
    with jax.default_matmul_precision('highest'):
      return models.build(config).apply(
        {'params': params}, video, features=True, **more
      )

  return apply(params, video)


@pytest.mark.parametrize('clip', CLIPS)
def test_features_and_logits_are_the_official_ones(clip):
  loaded, golden = fixture()
  config, video = loaded.config.model, golden[f'video{clip}']
  found = outputs(config, loaded.params, video)
  reference.assert_close(found.tokens, golden[f'features_official{clip}'])
  head = loaded.params['output_projection']
  logits = plain.dense(found.pre_logits, head)
  reference.assert_close(logits, golden[f'logits_official{clip}'])


@pytest.mark.parametrize('clip', ['', '_crop40'])
def test_transformers_pool_has_another_epsilon(clip):
  loaded, golden = fixture()
  config = with_pool(loaded.config.model, epsilon=1e-6)
  found, captured = outputs(
    config,
    loaded.params,
    golden[f'video{clip}'],
    capture_intermediates=lambda x, _: isinstance(x, network.Block),
    mutable='intermediates',
  )
  reference.assert_close(found.tokens, golden[f'features{clip}'])
  reference.assert_close(found.pre_logits, golden[f'pooled{clip}'])
  head = loaded.params['output_projection']
  logits = plain.dense(found.pre_logits, head)
  reference.assert_close(logits, golden[f'logits{clip}'])
  official = golden[f'logits_official{clip}']
  assert np.abs(logits - official).max() > 1e-4 * np.abs(official).max()
  if not clip:
    blocks = captured['intermediates']['Transformer']
    for number in (0, 1):
      x = reference.tokens(blocks[f'encoderblock_{number}'])
      reference.assert_close(x, golden[f'hidden_{number + 1}'])


def test_bfloat16_is_close():
  loaded, golden = fixture()
  config = dataclasses.replace(loaded.config.model, dtype='bfloat16')
  found = outputs(config, loaded.params, golden['video'])
  assert found.tokens.dtype == jnp.bfloat16
  reference.assert_close(found.tokens, golden['features'], 0.03)
  reference.assert_close(found.pre_logits, golden['pooled'], 0.03)


@pytest.mark.parametrize('size, encoder, pooler, linear', [
  ('L', 303_885_312, 49_336_320, 178_350),
  ('H', 631_648_000, 77_071_360, 222_894),
  ('g', 1_012_173_952, 93_249_024, 245_166),
])  # fmt: skip
def test_parameters_are_the_official_ones(size, encoder, pooler, linear):
  config = ModelConfig(NAME, size, heads={'label': 174}, scan=True)
  shapes = builder.shapes(config, 2, (32, 32))

  def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))

  assert count(shapes.pop('output_projection')) == linear
  assert count(shapes.pop('attention_pool')) == pooler
  assert count(shapes) == encoder


# Rotary positions.


def turned(x_d, position):
  """Returns one head's query or key with its position, channel by channel."""
  d = len(x_d)
  third = 2 * (d // 3 // 2)
  y = np.array(x_d, np.float64)
  for axis in range(3):
    for channel in range(third):
      index = axis * third + channel
      frequency = 10_000 ** (-(channel % (third // 2)) / (third // 2))
      angle = position[axis] * frequency
      other = -x_d[index + 1] if channel % 2 == 0 else x_d[index - 1]
      y[index] = x_d[index] * np.cos(angle) + other * np.sin(angle)
  return y


@pytest.mark.parametrize('width', [20, 64, 80, 15])
def test_rotation_by_hand(width):
  grid = 2, 3, 4
  x = np.random.default_rng(0).normal(size=(1, 24, 2, width))
  found = network.rotated(jnp.asarray(x, jnp.float32), grid)
  for n, position in enumerate(np.ndindex(grid)):
    for head in range(2):
      expected = turned(x[0, n, head], position)
      np.testing.assert_allclose(found[0, n, head], expected, atol=2e-6)


def test_angles_of_bfloat16_are_not_rounded():
  """Position 30 would be off by 0.1 radians."""
  x = np.ones((1, 33, 1, 6), np.float32)
  found = network.rotated(jnp.asarray(x, jnp.bfloat16), (33, 1, 1))
  assert found.dtype == jnp.bfloat16
  expected = np.cos(np.arange(33)) - np.sin(np.arange(33))
  np.testing.assert_allclose(
    np.asarray(found[0, :, 0, 0], np.float32), expected, atol=5e-3
  )


# Small models of our own.

SMALL = {
  'tubelet': (2, 4, 4), 'layers': 3, 'width': 32, 'attention_heads': 2,
  'mlp_width': 24,
}  # fmt: skip
VIDEO = np.random.default_rng(2).normal(size=(2, 4, 8, 12, 3))
VIDEO = VIDEO.astype(np.float32)


def built(options=None, **keys):
  """Returns a small model's config, and random parameters for VIDEO."""
  options = SMALL | (options or {})
  config = ModelConfig(NAME, heads={'label': 3}, options=options, **keys)
  config = with_pool(config, blocks=1)
  return config, plain.parameters(models.build(config), VIDEO)


def test_every_computation_gives_the_same_gradient():
  config, params = built()

  def gradient(**keys):
    model = models.build(dataclasses.replace(config, **keys))

    def loss(params):
      return (model.apply({'params': params}, VIDEO)['label'] ** 2).sum()

    with jax.default_matmul_precision('highest'):
      return jax.jit(jax.grad(loss))(params)

  expected = gradient(attention='plain')
  largest = max(np.abs(x).max() for x in jax.tree.leaves(expected))
  for keys in (
    {'attention': 'chunked', 'remat': 'dots'},
    {'attention': 'flax', 'remat': 'full'},
  ):
    found = gradient(**keys)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
      np.testing.assert_allclose(x, y, atol=1e-5 * largest)


def test_stacked_blocks_give_the_same_features():
  config, params = built()
  found = outputs(
    dataclasses.replace(config, scan=True),
    models.stacking.stack(params),
    VIDEO,
  )
  reference.assert_close(
    found.tokens, outputs(config, params, VIDEO).tokens, 1e-5
  )


def test_tokens_of_several_blocks_are_pooled_together():
  config, params = built(pool='mean')
  several = dataclasses.replace(
    config,
    options=dataclasses.replace(config.options, features_of=(0, 2)),
  )
  found, captured = outputs(
    several,
    params,
    VIDEO,
    capture_intermediates=lambda x, _: isinstance(x, blocks.EncoderBlock),
    mutable='intermediates',
  )
  captured = captured['intermediates']['Transformer']
  norm = params['Transformer']['encoder_norm']
  expected = [
    plain.norm(reference.tokens(captured[f'encoderblock_{n}']), norm)
    for n in (0, 2)
  ]
  reference.assert_close(found.pre_logits, np.concatenate(expected, 1).mean(1))
  reference.assert_close(found.tokens, expected[1].reshape(found.tokens.shape))
  assert np.abs(expected[0].mean(1) - expected[1].mean(1)).max() > 0.1


def test_clips_of_a_video_are_encoded_apart_and_pooled_together():
  config, params = built(pool='mean')
  both = np.concatenate([VIDEO, VIDEO[::-1, ::-1]], axis=1)
  joined = outputs(dataclasses.replace(config, clips=2), params, both)
  apart = [outputs(config, params, x) for x in (VIDEO, VIDEO[::-1, ::-1])]
  tokens = np.concatenate([x.tokens for x in apart], axis=1)
  reference.assert_close(joined.tokens, tokens, 1e-5)
  expected = (apart[0].pre_logits + apart[1].pre_logits) / 2
  reference.assert_close(joined.pre_logits, expected, 1e-5)
  one = outputs(config, params, both)
  assert np.abs(one.tokens - tokens).max() > 0.03


@pytest.mark.parametrize('keys, options, name', [
  ({}, {'features_of': (1, 3)}, 'features_of'),
  ({'scan': True}, {'features_of': (1,)}, 'scan'),
  ({}, {'width': 33}, 'width'),
])  # fmt: skip
def test_configs_that_cannot_be_built(keys, options, name):
  config = ModelConfig(NAME, options=SMALL | options, **keys)
  with pytest.raises(UserError, match=name):
    models.build(config)


def test_layers_of_parameters():
  config, params = built()
  find, last = builder.layer_of(config)
  assert last == 4
  for name, layer in {
    'embedding/kernel': 0,
    'Transformer/encoderblock_0/LayerNorm_0/scale': 1,
    'Transformer/encoderblock_2/MlpBlock_0/Dense_0/bias': 3,
    'Transformer/encoder_norm/scale': 4,
    'attention_pool/block_0/LayerNorm_0/scale': 4,
    'attention_pool/probe': 4,
    'output_projection/bias': 4,
  }.items():
    assert find(name) == layer


def test_initial_weights_of_the_pool_are_smaller_in_later_blocks():
  config, _ = built(options={'width': 64})
  config = with_pool(config, blocks=3)
  params = jax.jit(models.build(config).init)(jax.random.key(0), VIDEO)
  pool = params['params']['attention_pool']
  for block, factor in ((pool['block_0'], 2), (pool['block_2'], 6), (pool, 6)):
    kernels = [block['MlpBlock_0']['Dense_1']['kernel']]
    if block is not pool:
      kernels.append(block['MultiHeadDotProductAttention_0']['out']['kernel'])
    for kernel in kernels:
      assert np.std(kernel) == pytest.approx(0.02 / factor**0.5, rel=0.05)
    first = block['MlpBlock_0']['Dense_0']['kernel']
    assert np.std(first) == pytest.approx(0.02, rel=0.05)
