"""Maps of gradient times activation equal derivatives along the tokens."""

import dataclasses

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_rollout import H, T, W, clips, config_of, parameters_of

from vivit_jax import models
from vivit_jax.errors import UserError
from vivit_jax.inference import gradient
from vivit_jax.models import family as families
from vivit_jax.models import stacking
from vivit_jax.models.family import ModelConfig
from vivit_jax.models.mvit import pooling, pooling_attention

LAYERS = 2
SIZE = {'width': 32, 'attention_heads': 2, 'mlp_width': 48, 'patch': 4}
TEMPORAL = {'temporal_layers': 1, 'temporal_heads': 2, 'temporal_mlp': 24}
FRAMES = np.random.default_rng(3).normal(size=(2, T, H * 4, W * 4, 3))
# Axes of one token per cell in the output of a layer, without class tokens.
JOINT = 'B t h w -> B (t h w) 1'
PER_FRAME = 'B t h w -> (B t) (h w) 1'
DIVIDED = 'B t h w -> B t (h w) 1'


def timesformer(attention):
  options = SIZE | {'attention': attention, 'layers': LAYERS}
  return ModelConfig('timesformer', options=options)


def per_frame(family):
  options = SIZE | TEMPORAL | {'spatial_layers': LAYERS}
  return ModelConfig(family, options=options)


def videoprism():
  options = SIZE | {'spatial_layers': LAYERS, 'table': (T, 2, 2)}
  return ModelConfig('videoprism', options=options | {'temporal_layers': 1})


def swin():
  sizes = {'width': 32, 'depths': (LAYERS,), 'attention_heads': (2,)}
  shape = {'window': (2, 2, 2), 'tubelet': (1, 4, 4)}
  return ModelConfig('video_swin', options=sizes | shape)


def mvit(**changes):
  """Both blocks norm the first stage's tokens."""
  options = {'layers': LAYERS, 'width': 16, 'stages': (1,), 'version': 1}
  return ModelConfig('mvit', options=options, **changes)


def vjepa2(**changes):
  options = SIZE | {'layers': LAYERS, 'tubelet': (1, 4, 4)}
  del options['patch']
  return ModelConfig('vjepa2', options=options, **changes)


# Config, the layers' encoder, their norm, and their axes.
CASES = {
  'joint': (config_of('joint'), 'Transformer', 0, JOINT),
  'joint, mean': (config_of('joint', pool='mean'), 'Transformer', 0, JOINT),
  'factorised_encoder': (
    config_of('factorised_encoder'), 'SpatialTransformer', 0, PER_FRAME
  ),
  'average-pooled': (
    config_of('factorised_encoder', temporal_layers=0, pool='mean'),
    'SpatialTransformer', 0, PER_FRAME,
  ),
  'factorised_self_attention': (
    config_of('factorised_self_attention'), 'Transformer', 'space', JOINT
  ),
  'factorised_dot_product': (
    config_of('factorised_dot_product'), 'Transformer', 0, JOINT
  ),
  'timesformer': (timesformer('divided'), 'Transformer', 0, DIVIDED),
  'timesformer, joint': (
    timesformer('joint'), 'Transformer', 0, 'B t h w -> B (h w t) 1'
  ),
  'timesformer, space': (timesformer('space'), 'Transformer', 0, DIVIDED),
  'vtn': (per_frame('vtn'), 'SpatialTransformer', 0, PER_FRAME),
  'mvit': (mvit(), 'Transformer', 0, JOINT),
  'mvit, clips': (
    mvit(clips=T), 'Transformer', 0, 'B t h w -> (B t) (h w) 1'
  ),
  'stam': (per_frame('stam'), 'SpatialTransformer', 0, PER_FRAME),
  'vjepa2': (vjepa2(), 'Transformer', 0, JOINT),
  'vjepa2, clips': (
    vjepa2(clips=T), 'Transformer', 0, 'B t h w -> (B t) (h w) 1'
  ),
  'video_swin': (swin(), 'stage0', 0, 'B t h w -> B t h w 1'),
  'videomae': (config_of('videomae'), 'Transformer', 0, JOINT),
  'videoprism': (videoprism(), 'SpatialTransformer', 0, PER_FRAME),
}  # fmt: skip


def made(config):
  """Returns the config with two heads, a video of it, and parameters."""
  config = dataclasses.replace(config, heads={'verb': 3, 'noun': 4})
  tubelets = getattr(config.options, 'tubelet', ()) == (2, 4, 4)
  video = clips() if tubelets else FRAMES.astype(np.float32)
  if config.family == 'mvit':  # a token spans two frames
    video = np.repeat(video, 2, axis=1)
  return config, video, parameters_of(config, video)


def test_all_families_are_tried():
  assert {case[0].family for case in CASES.values()} == {*families.every()}


@pytest.mark.parametrize('case', CASES)
def test_a_token_counts_by_the_derivative_of_the_logit(case, monkeypatch):
  """If a token's part of all the layers' outputs grows by a factor.

  The derivative is by forward differentiation, token by token.
  """
  config, encoder, norm, axes = CASES[case]
  config, video, params = made(config)
  names = {f'encoderblock_{layer}/LayerNorm_{norm}' for layer in range(LAYERS)}
  names, found = {f'{encoder}/{name}' for name in names}, []
  numbers = 5 + 2 * np.arange(2 * T, dtype=np.int32).reshape(2, T)

  def logit(growth_Bxtxhxw):
    def intercept(call, args, kwargs, context):
      y = call(*args, **kwargs)
      name = '/'.join(context.module.path)
      if name not in names or context.method_name != '__call__':
        return y
      found.append(name)
      factor = einops.rearrange(1 + growth_Bxtxhxw, axes)
      first = y.shape[-2] - factor.shape[-2]
      assert first == (config.pool in (None, 'token') and token)
      ones = jnp.ones((*factor.shape[:-2], first, 1))
      return y * jnp.concatenate([ones, factor], axis=-2)

    with nn.intercept_methods(intercept):
      model = models.build(config)
      frames = numbers if model.reads_frame_numbers else None
      logits = model.apply({'params': params}, video, frame_BxT=frames)
    return logits['verb'].max(-1) + logits['noun'].max(-1)

  token = families.get(config.family).pools[0] == 'token'
  start = np.zeros((2, T, H, W), np.float32)
  with monkeypatch.context() as patched:
    # This form of MViT's pooling can be differentiated forwards, too.
    patched.setattr(pooling_attention, 'pool', pooling.convolved)
    jacobian = jax.jit(jax.jacfwd(logit))(start)
  assert len(found) == LAYERS
  expected = np.stack([jacobian[clip, clip] for clip in range(2)])
  result = gradient.contributions(config)(params, video, numbers)
  scale = np.abs(expected).max()
  np.testing.assert_allclose(result, expected, atol=3e-5 * scale)
  assert (result > 0.1 * scale).any() and (result < -0.1 * scale).any()


def test_a_map_is_of_the_chosen_classes_and_heads_add_up():
  config, video, params = made(config_of('joint'))
  contributions = gradient.contributions(config)
  one = dataclasses.replace(config, heads={'all': 7})
  of_one = gradient.contributions(one)
  classes = {'verb': np.array([2, 0]), 'noun': np.array([1, 3])}
  parts = [
    of_one(params, video, None, {'all': np.array(index)})
    for index in ([2, 0], [4, 6])
  ]
  result = contributions(params, video, None, classes)
  np.testing.assert_allclose(result, sum(parts), atol=1e-5)
  logits = models.build(config).apply({'params': params}, video)
  first = {head: x.argmax(-1) for head, x in logits.items()}
  default = contributions(params, video)
  np.testing.assert_array_equal(
    default, contributions(params, video, None, first)
  )
  assert np.abs(default - result).max() > 1e-2


@pytest.mark.parametrize(
  'changes', [{'dtype': 'bfloat16'}, {'scan': True, 'remat': 'full'}]
)
def test_stacked_layers_and_bfloat16_change_nothing(changes):
  config, video, params = made(config_of('joint'))
  plain = gradient.contributions(config)(params, video)
  changed = dataclasses.replace(config, **changes)
  if changed.scan:
    params = stacking.stack(params)
  result = gradient.contributions(changed)(params, video)
  np.testing.assert_array_equal(result, plain)


def test_coarse_maps_are_spread_over_the_finest_grid():
  draw = np.random.default_rng(0)
  fine = draw.normal(size=(2, 2, 2, 4)).astype(np.float32)
  coarse = np.array([[[3.0, 7.0]], [[1.0, 1.0]]], np.float32)[:, None]
  result = gradient.summed([jnp.asarray(fine), jnp.asarray(coarse)])
  # A token covers 2 x 2 x 2 cells. Between two centres, a quarter and three.
  row = np.array([3.0, 4.0, 6.0, 7.0]) / 8
  np.testing.assert_allclose(result[0] - fine[0], 0 * fine[0] + row, atol=1e-6)
  np.testing.assert_allclose(
    result.sum((1, 2, 3)) - fine.sum((1, 2, 3)), [10, 2], atol=1e-5
  )


@pytest.mark.parametrize('pattern', ['', 'NoSuchModule_0'])
def test_a_family_without_layers_to_explain_is_refused(pattern, monkeypatch):
  """Model 1 pools a class token, which the output's patches do not reach."""
  config, video, params = made(config_of('joint'))
  kind = dataclasses.replace(families.get('joint'), cam=pattern)
  monkeypatch.setitem(families._FAMILIES, 'joint', kind)
  with pytest.raises(UserError, match='joint.*Family.cam'):
    gradient.contributions(config)(params, video)
