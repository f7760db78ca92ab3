"""Video Swin equals torchvision's and the official code."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from reference import swin_config

from vivit_jax import models
from vivit_jax.checkpoints import load, names
from vivit_jax.errors import UserError
from vivit_jax.models import arithmetic, attention, builder, table
from vivit_jax.models.family import ModelConfig
from vivit_jax.models.video_swin import network

FIXTURE = reference.FIXTURES / 'swin3d'


@pytest.fixture(scope='module')
def golden():
  return reference.golden('swin3d')


@pytest.fixture(scope='module')
def loaded():
  return load.load(FIXTURE / 'model.safetensors', say=lambda text: None)


def is_shown(module, method):
  kinds = network.Block, network.Merging
  shown = isinstance(module, kinds) or module.name == 'embedding_norm'
  return shown and method == '__call__'


@pytest.mark.parametrize('suffix', ['', '_short', '_small'])
def test_every_array_equals_the_official_code(suffix, golden, loaded):
  """Padded and shifted along all axes; cut in time; cut in time and height."""

  @jax.jit
  def run(params, video):
    with jax.default_matmul_precision('highest'):
      model, variables = models.build(loaded.config.model), {'params': params}
      logits, captured = model.apply(
        variables,
        video,
        capture_intermediates=is_shown,
        mutable='intermediates',
      )
      return logits, captured, model.apply(variables, video, features=True)

  video = golden[f'video{suffix}']
  logits, captured, features = run(loaded.params, video)
  flat = names.flatten(captured['intermediates'])
  found = {'logits': logits['label']}
  for name, (value,) in flat.items():
    name = name.removesuffix('/__call__').replace('/encoderblock', '_block')
    found[name.replace('embedding_norm', 'embedded')] = value
  found = {
    name.replace('stage', 'stage_').replace('merging', 'merged_'): value
    for name, value in found.items()
  }
  assert len(found) == 7
  for name, value in found.items():
    expected = golden[f'{name}{suffix}']
    np.testing.assert_allclose(
      value, expected, atol=2e-5 * np.abs(expected).max(), err_msg=name
    )
  for number, stage in enumerate(features.stages):
    expected = golden[f'stage_{number}_block_1{suffix}']
    np.testing.assert_allclose(stage, expected, atol=1e-5)
  grid = models.family.get('video_swin').grid(
    loaded.config.model.options, video.shape[1], video.shape[2:4]
  )
  assert features.tokens.shape[1:4] == grid


@functools.cache
def loss_and_gradient(**changes):
  """Returns loss and gradients of the fixture in training, one clip twice."""
  found = load.load(FIXTURE / 'model.safetensors', say=lambda text: None)
  config = dataclasses.replace(found.config.model, **changes)
  model = models.build(config)
  video = reference.golden('swin3d')['video']
  video = jnp.concatenate([video, video[:, ::-1]])

  def loss(params):
    logits = model.apply(
      {'params': params},
      video,
      train=True,
      example_B=jnp.array([3, 5]),
      rngs={
        'stochastic_depth': jax.random.key(0),
        'dropout': jax.random.key(1),
      },
    )
    return (logits['label'] ** 2).sum()

  with jax.default_matmul_precision('highest'):
    return jax.jit(jax.value_and_grad(loss))(found.params)


DRAWN = {'stochastic_depth': 0.5, 'dropout': 0.5}


@pytest.mark.parametrize(
  'changes',
  [
    {'remat': 'full', 'attention': 'chunked'},
    {'remat': 'stages'},
    {'dtype': 'bfloat16', 'remat': 'dots'},
  ],
)
def test_every_computation_gives_the_same_gradient(changes):
  expected, gradients = loss_and_gradient(**DRAWN)
  found, others = loss_and_gradient(**DRAWN, **changes)
  tolerance = 0.1 if 'dtype' in changes else 1e-5
  np.testing.assert_allclose(found, expected, rtol=tolerance)
  for (path, x), y in zip(
    jax.tree_util.tree_leaves_with_path(gradients), jax.tree.leaves(others)
  ):
    key = jax.tree_util.keystr(path)
    if 'key' not in key:  # of whose bias softmax takes no notice
      atol = tolerance * np.abs(x).max() + 1e-7
      np.testing.assert_allclose(y, x, atol=2 * atol, err_msg=key)


def test_draws_change_the_loss():
  losses = {
    float(loss_and_gradient(**changes)[0])
    for changes in ({}, {'dropout': 0.5}, DRAWN)
  }
  assert len(losses) == 3


def test_a_shift_is_masked_by_region():
  """By hand: an axis of 4, windows of 2 shifted by 1; the others are cut."""
  window, shift = network.cut_window((4, 2, 3), (2, 7, 7), True)
  assert (window, shift) == ((2, 2, 3), (1, 0, 0))
  found = network.regions((4, 2, 3), window, shift)
  expected = [[0] * 12, [1] * 6 + [2] * 6]
  rank = {n: i for i, n in enumerate(np.unique(found))}
  assert [[rank[n] for n in row] for row in found] == expected


def test_relative_index_is_the_official_one():
  """Rows ((dt + 1) 3 + dh + 1) 3 + dw + 1 of a window of 2 x 2 x 2."""
  index = network.relative_index((2, 2, 2))
  assert index[0, 0] == 13 and index[7, 0] == 26 and index[0, 7] == 0
  assert index[0, 1] == 12 and index[4, 3] == 18
  first = network.relative_index((2, 2, 2), 4)
  np.testing.assert_array_equal(first, index[:4, :4])


def test_attention_in_windows_equals_a_plain_softmax():
  rng = np.random.default_rng(0)
  query, key, value = rng.normal(size=(3, 4, 5, 2, 3)).astype(np.float32)
  bias = rng.normal(size=(2, 5, 5)).astype(np.float32)
  region = np.array([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]])
  scores = np.einsum('wnhd,wmhd->whnm', query, key) / np.sqrt(3) + bias
  mask = np.where(region[:, :, None] == region[:, None], 0, -100)
  scores += np.tile(mask, (2, 1, 1))[:, None]  # two clips of two windows
  weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
  expected = np.einsum('whnm,wmhd->wnhd', weights, value)
  for kind in ('plain', 'chunked'):
    found = attention.attend_windows(query, key, value, bias, region, kind)
    np.testing.assert_allclose(found, expected, atol=1e-5)


# Size, window, classes, parameters, G multiply-adds of 32 frames.
SIZES = [
  ('T', (8, 7, 7), 400, 28_158_070, 87.764),
  ('S', (8, 7, 7), 400, 49_816_678, 165.682),
  ('B', (8, 7, 7), 400, 88_048_984, 281.332),
  ('B', (8, 7, 7), 600, 88_253_984, 281.332),
  ('B', (16, 7, 7), 174, 88_834_038, 320.356),
  ('L', (8, 7, 7), 400, 196_953_916, 603.268),
]


@pytest.mark.parametrize('size, window, classes, parameters, giga', SIZES)
def test_sizes_are_the_official_ones(size, window, classes, parameters, giga):
  config = ModelConfig(
    'video_swin', size, heads={'label': classes}, options={'window': window}
  )
  case = table.Case('', config, 32, 224)
  assert table.parameters(case) == parameters
  found = arithmetic.forward_multiply_adds(config, 32, (224, 224)) / 1e9
  assert abs(found - giga) < 0.1


def test_layers_rise_from_the_embedding_to_the_head():
  config = ModelConfig('video_swin', 'T', heads={'label': 2})
  find, last = builder.layer_of(config)
  assert last == 13
  expected = {
    'embedding/kernel': 0,
    'embedding_norm/scale': 0,
    'stage0/encoderblock_0/LayerNorm_0/scale': 1,
    'merging0/norm/scale': 2,
    'stage2/encoderblock_5/MlpBlock_0/Dense_0/bias': 10,
    'merging2/reduction/kernel': 10,
    'encoder_norm/bias': 13,
    'output_projection/bias': 13,
  }
  assert {name: find(name) for name in expected} == expected


@pytest.mark.parametrize(
  'options, key',
  [
    ({'depths': (1, 1)}, 'depths'),
    ({'attention_heads': (3, 6, 12, 25)}, 'attention_heads'),
    ({'depths': ()}, 'depths'),
    ({'window': (0, 7, 7)}, 'window'),
  ],
)
def test_contradictions_are_refused(options, key):
  with pytest.raises(UserError, match=key):
    builder.check(ModelConfig('video_swin', options=options))


def test_kernels_without_a_bias_are_refused():
  with pytest.raises(UserError, match='model.attention'):
    builder.check(ModelConfig('video_swin', attention='cudnn'))


def started(window, frames):
  """Returns the model, parameters from the image Swin, and its still clip."""
  config = swin_config(window, frames)
  model = models.build(config.model)
  images = reference.golden('swin2d')['image']
  clip = np.repeat(images[:, None], frames, axis=1)
  params = jax.jit(model.init)(jax.random.key(0), clip)['params']
  params = load.initialise(params, config)

  @jax.jit
  def run(params, clip):
    with jax.default_matmul_precision('highest'):
      return model.apply({'params': params}, clip, features=True).tokens

  return params, run(params, clip)


def test_a_still_clip_has_the_tokens_of_its_image():
  """3 temporal indices, which windows of 3 do not pad."""
  _, found = started((3, 3, 3), frames=6)
  expected = reference.golden('swin2d')['tokens'][:, None]
  np.testing.assert_allclose(found, np.repeat(expected, 3, axis=1), atol=2e-5)


@pytest.mark.parametrize(
  'window, suffix', [((4, 3, 3), ''), ((4, 5, 5), '_window_grown')]
)
def test_inflation_is_the_official_one(window, suffix):
  """10 frames are 5 temporal indices, which windows of 4 pad."""
  golden = reference.golden('swin2d')
  params, found = started(window, frames=10)
  table = params['stage1']['encoderblock_1']['relative_position_bias_table']
  expected = golden[f'inflated_table{suffix}']
  np.testing.assert_allclose(table, expected, atol=3e-6)
  kernel = np.moveaxis(golden['inflated_patch_kernel'], (0, 1), (4, 3))
  np.testing.assert_array_equal(params['embedding']['kernel'], kernel)
  expected = golden[f'still_clip_tokens{suffix}']
  atol = 2e-5 * np.abs(expected).max()
  np.testing.assert_allclose(found, expected, atol=atol)
