"""Stochastic depth, embeddings and the independence of frames."""

import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax import models
from vivit_jax.models import embeddings, layers


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


def test_stochastic_depth_drops_whole_examples_and_rescales():
  x = jnp.ones((1000, 2, 3))
  out = layers.StochasticDepth(0.25).apply(
    {},
    x,
    jnp.arange(1000),
    train=True,
    rngs={'stochastic_depth': jax.random.key(0)},
  )
  kept = np.array(out[:, 0, 0] != 0)
  np.testing.assert_allclose(out[kept], 1 / 0.75, rtol=1e-6)
  assert not np.any(out[~kept])
  assert 0.70 < kept.mean() < 0.80


def test_stochastic_depth_grows_linearly_to_its_rate():
  """Block l of L has l / L of the rate; block L's branches all drop at ~1."""
  rates = []
  original = layers.EncoderBlock.__call__

  def spy(self, *arguments, **keywords):
    rates.append(self.stochastic_depth)
    return original(self, *arguments, **keywords)

  encoder = layers.Encoder(layers=4, heads=1, mlp=4, stochastic_depth=0.2)
  layers.EncoderBlock.__call__ = spy
  try:
    encoder.init(jax.random.key(0), jnp.zeros((1, 2, 4)), None, train=False)
  finally:
    layers.EncoderBlock.__call__ = original
  np.testing.assert_allclose(rates, [0.05, 0.1, 0.15, 0.2])


def small(temporal_layers: int) -> models.FactorisedEncoder:
  return models.build(
    family='factorised_encoder',
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
