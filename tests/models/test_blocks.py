"""Stochastic depth, embeddings and the independence of frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from vivit_jax import models
from vivit_jax.models import blocks, embeddings


def built(family, **keys):
  return models.build(reference.flat_config(family, **keys))


def test_tubelet_embedding_is_a_strided_convolution():
  draw = np.random.default_rng(0)
  video = draw.normal(size=(2, 4, 6, 8, 3)).astype(np.float32)
  module = embeddings.TubeletEmbedding(
    5, (2, 3, 4), kernel_init=jax.nn.initializers.normal(1.0)
  )
  params = module.init(jax.random.key(0), video)
  expected = jax.lax.conv_general_dilated(
    video,
    params['params']['kernel'],
    (2, 3, 4),
    'VALID',
    dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'),
    precision='highest',
  )
  with jax.default_matmul_precision('highest'):
    tokens = module.apply(params, video)
  np.testing.assert_allclose(tokens, expected, rtol=1e-4, atol=1e-4)


def test_central_frame_is_zero_but_at_its_centre():
  init = embeddings.KERNEL_INITS['central_frame']
  kernel = init(jax.random.key(0), (4, 16, 16, 3, 64))
  assert [bool(frame.any()) for frame in kernel] == [False, False, True, False]
  # The variance of an image model's patch kernel: 1 / (16 * 16 * 3).
  np.testing.assert_allclose(kernel[2].std(), (16 * 16 * 3) ** -0.5, rtol=0.02)


def test_stochastic_depth_drops_whole_branches_and_rescales():
  scale = blocks.stochastic_depth(
    jax.random.key(0), jnp.array([0.0, 0.25]), 2, jnp.arange(1000)
  )
  np.testing.assert_array_equal(scale[0], 1.0)
  for branch in scale[1]:
    kept = np.array(branch != 0)
    np.testing.assert_allclose(branch[kept], 1 / 0.75, rtol=1e-6)
    assert 0.70 < kept.mean() < 0.80
  both = (np.array(scale[1]) != 0).all(axis=0).mean()
  assert 0.5 < both < 0.62  # of 0.5625: the branches are independent


def test_a_draw_belongs_to_the_place_in_the_global_batch():
  key, rates = jax.random.key(0), jnp.array([0.5])
  whole = blocks.stochastic_depth(key, rates, 2, jnp.arange(64))
  part = blocks.stochastic_depth(key, rates, 2, jnp.arange(40, 50))
  np.testing.assert_array_equal(part, whole[..., 40:50])


def test_rates_grow_linearly_to_the_last_block():
  options = blocks.Options(1, 4, stochastic_depth=0.2)
  np.testing.assert_allclose(
    blocks.depth_rates(options, 4), [0.05, 0.1, 0.15, 0.2]
  )
  options = blocks.Options(1, 4, 0.3, depth_rates='reference')
  np.testing.assert_allclose(
    blocks.depth_rates(options, 4), [0.0, 0.1, 0.2, 0.3]
  )
  np.testing.assert_allclose(blocks.depth_rates(options, 1), [0.0])


FAMILIES = {  # and one block of each encoder
  'joint': {'layers': 1},
  'factorised_encoder': {'spatial_layers': 1, 'temporal_layers': 1},
  'factorised_self_attention': {'layers': 1},
  'factorised_dot_product': {'layers': 1},
}


@pytest.mark.parametrize('family', FAMILIES)
def test_a_dropped_branch_adds_nothing(family):
  """At rate 1 - 1e-6 in every block, only embedding and norm remain."""
  model = built(
    family,
    size='S',
    heads={'label': 3},
    tubelet=(2, 8, 8),
    pool='mean',
    stochastic_depth=1 - 1e-6,
    **FAMILIES[family],
  )
  video = jax.random.normal(jax.random.key(2), (2, 4, 16, 16, 3))
  params = model.init(jax.random.key(0), video)
  features = model.apply(
    params,
    video,
    train=True,
    example_B=jnp.arange(2),
    features=True,
    rngs={'stochastic_depth': jax.random.key(1)},
  )
  p = params['params']
  x = embeddings.TubeletEmbedding(384, (2, 8, 8)).apply(
    {'params': p['embedding']}, video
  )
  first = 'SpatialTransformer' if 'SpatialTransformer' in p else 'Transformer'
  positions = p[first]['posembed_input']['pos_embedding'].reshape(
    1, -1, 2, 2, 384
  )
  x = x + positions
  centred = x - x.mean(-1, keepdims=True)
  expected = centred / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)
  np.testing.assert_allclose(features.tokens, expected, atol=1e-4)


def small(temporal_layers: int):
  return built(
    'factorised_encoder',
    size='Ti',
    heads={'noun': 3, 'verb': 5},
    tubelet=(2, 8, 8),
    spatial_layers=1,
    temporal_layers=temporal_layers,
  )


def random_logits(model, video):
  params = model.init(jax.random.key(0), video)['params']
  head = params['output_projection']
  head['kernel'] = jax.random.normal(jax.random.key(1), head['kernel'].shape)
  return model.apply({'params': params}, video)


def test_the_head_is_zero_at_the_start_and_split_by_name():
  video = jax.random.normal(jax.random.key(2), (2, 4, 16, 16, 3))
  model = small(1)
  params = model.init(jax.random.key(0), video)
  logits = model.apply(params, video)
  assert {head: x.shape for head, x in logits.items()} == {
    'noun': (2, 3),
    'verb': (2, 5),
  }
  assert not any(np.any(x) for x in logits.values())
  bias = params['params']['output_projection']['bias']
  params['params']['output_projection']['bias'] = jnp.arange(8.0) + bias
  logits = model.apply(params, video)
  np.testing.assert_array_equal(logits['noun'][0], [0, 1, 2])
  np.testing.assert_array_equal(logits['verb'][0], [3, 4, 5, 6, 7])


def test_averaging_over_time_is_blind_to_the_order_of_tubelets():
  video = jax.random.normal(jax.random.key(2), (1, 6, 16, 16, 3))
  swapped = jnp.concatenate([video[:, 4:], video[:, :4]], axis=1)
  blind = [random_logits(small(0), v)['verb'] for v in (video, swapped)]
  np.testing.assert_allclose(*blind, atol=1e-4)
  seeing = [random_logits(small(1), v)['verb'] for v in (video, swapped)]
  assert np.abs(seeing[0] - seeing[1]).max() > 1e-3


def test_the_spatial_encoder_sees_one_temporal_index():
  """No gradient crosses frames in Model 2 before its temporal encoder."""
  model = small(1)
  video = jax.random.normal(jax.random.key(2), (1, 6, 16, 16, 3))
  params = model.init(jax.random.key(0), video)

  def tokens(video):
    return model.apply(params, video, features=True).tokens[0].sum((1, 2, 3))

  gradient = np.abs(jax.jacobian(tokens)(video))[:, 0].max(axis=(2, 3, 4))
  kernel = params['params']['embedding']['kernel']
  seen = np.abs(kernel).max(axis=(1, 2, 3, 4)) > 0  # the central frame
  expected = np.kron(np.eye(3), seen) > 0
  np.testing.assert_array_equal(gradient > 0, expected)


def test_uniform_frames_are_patches_of_the_middle_frames():
  video = jax.random.normal(jax.random.key(2), (1, 8, 16, 16, 3))
  model = built(
    'joint',
    size='Ti',
    heads={'label': 3},
    tubelet=(4, 8, 8),
    layers=1,
    embedding='uniform_frames',
  )
  params = model.init(jax.random.key(0), video)
  assert params['params']['embedding']['kernel'].shape[:3] == (1, 8, 8)

  def tokens(video):
    return model.apply(params, video, features=True).pre_logits.sum()

  seen = np.abs(jax.grad(tokens)(video)).max(axis=(0, 2, 3, 4)) > 0
  assert np.flatnonzero(seen).tolist() == [2, 6]


def test_features_come_before_the_head_and_the_representation_layer():
  video = jax.random.normal(jax.random.key(2), (2, 4, 16, 24, 3))
  model = built(
    'joint',
    size='Ti',
    heads={'label': 3},
    tubelet=(2, 8, 8),
    layers=1,
    pool='mean',
    representation=7,
  )
  params = model.init(jax.random.key(0), video)
  head = params['params']['output_projection']
  head['kernel'] = jax.random.normal(jax.random.key(1), (7, 3))
  features = model.apply(params, video, features=True)
  assert features.tokens.shape == (2, 2, 2, 3, 192)
  average = features.tokens.mean(axis=(1, 2, 3))
  layer = params['params']['pre_logits']
  expected = np.tanh(average @ layer['kernel'] + layer['bias'])
  np.testing.assert_allclose(features.pre_logits, expected, atol=1e-5)
  logits = model.apply(params, video)['label']
  np.testing.assert_allclose(
    features.pre_logits @ head['kernel'], logits, atol=1e-5
  )
