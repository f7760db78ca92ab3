"""Stochastic depth, embeddings and the independence of frames."""

import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
import reference

from vivit_jax import models
from vivit_jax.models import blocks, embeddings

VIDEO = np.random.default_rng(2).normal(size=(2, 6, 16, 24, 3))
VIDEO = VIDEO.astype(np.float32)


def built(family, **keys):
  """Returns a small model and random parameters for `VIDEO`."""
  keys = {'heads': {'label': 3}, 'tubelet': (2, 8, 8), **reference.SIZE, **keys}
  model = models.build(reference.flat_config(family, **keys))
  return model, plain.parameters(model, VIDEO)


def features(model, params, **keys):
  return jax.jit(
    lambda params: model.apply({'params': params}, VIDEO, features=True, **keys)
  )(params)


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


def test_dropout_rescales_and_belongs_to_the_place_in_the_global_batch():
  key, x = jax.random.key(0), jnp.ones((4, 50, 20))
  whole = blocks.dropout(x, 0.2, key, jnp.arange(4))
  kept = np.array(whole != 0)
  np.testing.assert_allclose(whole[kept], 1 / 0.8, rtol=1e-6)
  assert 0.77 < kept.mean() < 0.83
  assert not np.array_equal(whole[0], whole[1])
  part = blocks.dropout(x[2:], 0.2, key, jnp.arange(2, 4))
  np.testing.assert_array_equal(part, whole[2:])


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
  rate = {'stochastic_depth': 1 - 1e-6}
  model, params = built(family, pool='mean', **rate, **FAMILIES[family])
  found = features(
    model,
    params,
    train=True,
    example_B=jnp.arange(2),
    rngs={'stochastic_depth': jax.random.key(1)},
  )
  x = embeddings.TubeletEmbedding(48, (2, 8, 8)).apply(
    {'params': params['embedding']}, VIDEO
  )
  encoder = params.get('SpatialTransformer') or params['Transformer']
  positions = encoder['posembed_input']['pos_embedding']
  x = x + positions.reshape(1, -1, 2, 3, 48)
  expected = plain.norm(np.asarray(x), encoder['encoder_norm'])
  np.testing.assert_allclose(found.tokens, expected, atol=1e-4)


@pytest.fixture(scope='module')
def factorised():
  """Returns a model of two heads, one layer each, and its parameters."""
  return built(
    'factorised_encoder',
    heads={'noun': 3, 'verb': 5},
    spatial_layers=1,
    temporal_layers=1,
  )


def test_the_head_is_zero_at_the_start_and_split_by_name(factorised):
  model, params = factorised
  head = jax.jit(
    lambda key: model.init(key, VIDEO)['params']['output_projection']
  )(jax.random.key(0))
  assert not np.any(head['kernel']) and not np.any(head['bias'])
  head['bias'] = jnp.arange(8.0)
  params = params | {'output_projection': head}
  logits = jax.jit(model.apply)({'params': params}, VIDEO)
  np.testing.assert_array_equal(logits['noun'], [[0, 1, 2]] * 2)
  np.testing.assert_array_equal(logits['verb'], [[3, 4, 5, 6, 7]] * 2)


@pytest.mark.parametrize('temporal_layers', [0, 1])
def test_only_averaging_over_time_is_blind_to_the_order_of_tubelets(
  temporal_layers,
):
  model, params = built(
    'factorised_encoder', spatial_layers=1, temporal_layers=temporal_layers
  )
  apply = jax.jit(model.apply)
  swapped = np.concatenate([VIDEO[:, 4:], VIDEO[:, :4]], axis=1)
  logits, other = (
    apply({'params': params}, video)['label'] for video in (VIDEO, swapped)
  )
  difference = np.abs(logits - other).max()
  assert difference > 1e-3 if temporal_layers else difference < 1e-4


def test_the_spatial_encoder_sees_one_temporal_index(factorised):
  """No gradient crosses frames in Model 2 before its temporal encoder."""
  model, params = factorised

  def tokens(video):
    features = model.apply({'params': params}, video, features=True)
    return features.tokens[0].sum((1, 2, 3))

  jacobian = jax.jit(jax.jacobian(tokens))(VIDEO[:1])
  seen = np.abs(jacobian)[:, 0].max(axis=(2, 3, 4)) > 0
  np.testing.assert_array_equal(seen, np.kron(np.eye(3), np.ones(2)))


def test_uniform_frames_are_patches_of_the_middle_frames():
  model, params = built(
    'joint', tubelet=(3, 8, 8), layers=1, embedding='uniform_frames'
  )
  assert params['embedding']['kernel'].shape[:3] == (1, 8, 8)

  def total(video):
    return model.apply({'params': params}, video)['label'].sum()

  gradient = jax.jit(jax.grad(total))(VIDEO)
  seen = np.abs(gradient).max(axis=(0, 2, 3, 4)) > 0
  assert np.flatnonzero(seen).tolist() == [1, 4]


def test_features_come_before_the_head_and_the_representation_layer():
  model, params = built('joint', layers=1, pool='mean', representation=7)
  found = features(model, params)
  assert found.tokens.shape == (2, 3, 2, 3, 48)
  average = found.tokens.mean(axis=(1, 2, 3))
  layer, head = params['pre_logits'], params['output_projection']
  expected = np.tanh(average @ layer['kernel'] + layer['bias'])
  np.testing.assert_allclose(found.pre_logits, expected, atol=1e-5)
  expected = plain.dense(found.pre_logits, head)
  logits = jax.jit(model.apply)({'params': params}, VIDEO)['label']
  np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_nothing_is_computed_for_tokens_that_nothing_reads():
  """The last block's MLP, where only the class token is read."""
  width, mlp, places = 16, 64, 65
  options = blocks.Options(attention_heads=2, mlp=mlp)
  encoder = blocks.Encoder(1, options, (1, 8, 8), first=1)
  x = jnp.ones((1, places, width))
  params = jax.eval_shape(
    lambda key: encoder.init(key, x, blocks.Mode()), jax.random.key(0)
  )

  def operations(read):
    run = jax.jit(lambda params: read(encoder.apply(params, x, blocks.Mode())))
    return run.lower(params).compile().cost_analysis()['flops']

  saved = operations(lambda parts: parts) - operations(lambda parts: parts[0])
  of_mlp = 2 * 2 * (places - 1) * width * mlp
  assert of_mlp < saved < 1.5 * of_mlp  # with norms and GELU
