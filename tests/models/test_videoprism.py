"""VideoPrism equals the authors' code, and follows the paper."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
import reference

from vivit_jax import models
from vivit_jax.checkpoints import load, names
from vivit_jax.errors import UserError
from vivit_jax.inference import rollout
from vivit_jax.models import (
  attention,
  attention_pools,
  blocks,
  builder,
  positions,
  stacking,
)
from vivit_jax.models.family import AttentionPool, ModelConfig

SPATIAL, TEMPORAL = 'SpatialTransformer', 'TemporalTransformer'
FILES = {
  'videoprism_encoder': 'flax_tiny_repeated.npz',
  'videoprism_classifier': 'flax_tiny_classifier_repeated.npz',
  'lvt': 'flax_tiny_lvt_repeated.npz',
}


@functools.cache
def loaded(name):
  folder = 'videoprism_encoder' if name == 'lvt' else name
  return load.load(reference.FIXTURES / folder / FILES[name], headless=True)


def golden(name):
  if name != 'lvt':
    return reference.golden(name)
  path = reference.FIXTURES / 'videoprism_encoder' / 'golden_lvt.npz'
  with np.load(path, allow_pickle=False) as arrays:
    return dict(arrays)


@functools.cache
def compiled(name):
  """Returns a function of a video: features, and the encoders' outputs."""
  source = loaded(name)
  config = dataclasses.replace(source.config.model, scan=True)
  model, params = models.build(config), stacking.stack(source.params)

  def run(video):
    with jax.default_matmul_precision('highest'):
      return model.apply(
        {'params': params},
        video,
        features=True,
        capture_intermediates=lambda x, _: isinstance(x, blocks.Encoder),
        mutable='intermediates',
      )

  return jax.jit(run)


CASES = [
  *(('videoprism_encoder', key) for key in golden('videoprism_encoder')),
  *(('videoprism_classifier', key) for key in golden('videoprism_classifier')),
  *(('lvt', key) for key in golden('lvt')),
]


@pytest.mark.parametrize(
  'name, clip',
  [
    (name, key.removeprefix('video'))
    for name, key in CASES
    if key == 'video' or key.startswith(('video_frames', 'video_crop'))
  ],
)
def test_all_arrays_are_the_authors(name, clip):
  arrays = golden(name)
  features, captured = compiled(name)(arrays[f'video{clip}'])
  head = loaded(name).params.get('output_projection')
  spatial = reference.tokens(captured['intermediates'][SPATIAL])
  found = {
    'features': features.tokens,
    'spatiotemporal_features': features.tokens,
    'spatial_features': spatial.reshape(features.tokens.shape),
    'global_embeddings': features.pre_logits,
    'video_embeddings': features.pre_logits,
  }
  if head:
    found['logits'] = plain.dense(features.pre_logits, head)
  held = [key for key in found if f'{key}{clip}' in arrays]
  assert len(held) >= 2
  for key in held:
    name = f'{key}{clip}'
    reference.assert_close(found[key], arrays[name], what=name)


@pytest.mark.parametrize('clip', ['', '_frames3', '_frames8'])
def test_embeddings_of_frames_are_the_pool_of_each(clip):
  arrays, source = golden('lvt'), loaded('lvt')
  video, expected = arrays[f'video{clip}'], arrays[f'frame_embeddings{clip}']
  _, captured = compiled('lvt')(video)
  tokens = reference.tokens(captured['intermediates']['AuxiliaryTransformer'])
  width = expected.shape[-1]
  pool = attention_pools.VideoPrism(
    blocks.Options(source.config.model.options.attention_heads, 1),
    dataclasses.replace(source.config.model.attention_pool, unit=True),
  )
  frames = tokens.reshape(expected.shape[0] * expected.shape[1], -1, width)
  with jax.default_matmul_precision('highest'):
    params = {'params': source.params['attention_pool']}
    found = pool.apply(params, frames)
  reference.assert_close(found.reshape(expected.shape), expected)


@pytest.mark.parametrize(
  'key',
  [key for _, key in CASES if '_positions_' in key],
)
def test_position_tables_are_resized_as_the_authors_do(key):
  expected = golden('videoprism_encoder')[key]
  encoder = SPATIAL if key.startswith('spatial') else TEMPORAL
  params = loaded('videoprism_encoder').params[encoder]['posembed_input']
  if encoder == SPATIAL:
    grid, table = (1, *expected.shape[:2]), (1, 4, 4)
  else:
    grid, table = (len(expected), 1, 1), (5, 1, 1)
  expected = expected.reshape(1, -1, 24)
  module = positions.AddPositions('learned', grid, table)
  found = module.apply({'params': params}, jnp.zeros(expected.shape))
  reference.assert_close(found, expected)


# Parameters of the encoder, and with a classifier of 400 classes.
@pytest.mark.parametrize(
  'size, frames, encoder, whole, half',
  [
    ('B', 16, 114_365_184, 117_037_520, 247_623_424 - 109_632_768),
    ('L', 8, 353_965_056, 358_576_592, None),
    ('g', 8, 1_112_755_072, 1_121_258_472, None),
  ],
)
def test_parameters_are_the_official_ones(size, frames, encoder, whole, half):
  def count(**keys):
    config = ModelConfig('videoprism', size, scan=True, **keys)
    shapes = builder.shapes(config, frames, (288, 288))
    return sum(x.size for x in jax.tree.leaves(shapes))

  assert count(pool='mean') == encoder
  assert count(heads={'label': 400}) == whole
  if half:  # the video half of the video-text model
    pool = AttentionPool('videoprism', widening=4, unit=True)
    options = {'auxiliary_layers': 2}
    assert count(attention_pool=pool, options=options) == half


# Small models of our own.

SMALL = {
  'patch': 3,
  'table': (3, 4, 4),
  'spatial_layers': 2,
  'temporal_layers': 1,
  'width': 12,
  'attention_heads': 2,
  'mlp_width': 20,
  'cap': 1.5,
}
T, H, W = 2, 3, 2
VIDEO = np.random.default_rng(2).normal(size=(2, T, 3 * H, 3 * W, 3))
VIDEO = VIDEO.astype(np.float32)


def built(options=(), **keys):
  """Returns a small model's config, and random parameters for VIDEO."""
  options = SMALL | dict(options)
  keys = {'heads': {'label': 3}} | keys
  config = ModelConfig('videoprism', 'B', options=options, **keys)
  return config, plain.parameters(models.build(config), VIDEO)


def logits(config, params, video=VIDEO):
  with jax.default_matmul_precision('highest'):
    apply = jax.jit(models.build(config).apply)
    return apply({'params': params}, video)['label']


def test_height_and_width_are_treated_alike():
  """A clip that is no square, and its transpose, give equal logits."""
  config, params = built()
  flat = names.flatten(params)
  flat['embedding/kernel'] = flat['embedding/kernel'].swapaxes(1, 2)
  table = f'{SPATIAL}/posembed_input/pos_embedding'
  square = flat[table].reshape(1, 4, 4, -1).swapaxes(1, 2)
  flat[table] = square.reshape(1, 16, -1)
  expected = logits(config, params)
  found = logits(config, names.unflatten(flat), VIDEO.swapaxes(2, 3))
  np.testing.assert_allclose(found, expected, atol=1e-5)
  assert np.abs(logits(config, params, VIDEO[:, ::-1]) - expected).max() > 1e-3


def test_every_computation_gives_the_same_gradient(monkeypatch):
  monkeypatch.setattr(attention, '_CHUNK_SCORES', {'cpu': 12})
  config, params = built()

  def gradient(**keys):
    changed = dataclasses.replace(config, **keys)
    model = models.build(changed)

    def loss(params):
      return (model.apply({'params': params}, VIDEO)['label'] ** 2).sum()

    tree = stacking.stack(params) if changed.scan else params
    with jax.default_matmul_precision('highest'):
      found = jax.jit(jax.grad(loss))(tree)
    return names.flatten(stacking.unstack(found))

  found = gradient(attention='chunked', remat='dots', scan=True)
  expected = gradient(attention='plain')
  largest = max(np.abs(x).max() for x in expected.values())
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(
      found[name], value, atol=2e-5 * largest, err_msg=name
    )


def test_bfloat16_is_close():
  source = loaded('videoprism_classifier')
  config = dataclasses.replace(source.config.model, dtype='bfloat16')
  arrays = golden('videoprism_classifier')
  found = logits(config, source.params, arrays['video'])
  assert found.dtype == jnp.float32
  scale = np.abs(arrays['logits']).max()
  np.testing.assert_allclose(found, arrays['logits'], atol=0.06 * scale)


def test_a_draw_of_stochastic_depth_is_for_the_whole_clip():
  """Frames, places and the order of the batch do not matter."""
  config, params = built(stochastic_depth=0.9, depth_rates='reference')

  @jax.jit
  def tokens(examples):
    return (
      models.build(config)
      .apply(
        {'params': params},
        np.repeat(VIDEO[:1, :1], 4, axis=0).repeat(T, axis=1),
        train=True,
        example_B=examples,
        rngs={'stochastic_depth': jax.random.key(1)},
        features=True,
      )
      .tokens
    )

  first, second = tokens(jnp.arange(4)), tokens(jnp.array([2, 3, 0, 1]))
  np.testing.assert_array_equal(first, second[jnp.array([2, 3, 0, 1])])
  assert len({x.tobytes() for x in np.asarray(first)}) > 1


def test_every_parameter_has_a_layer():
  config, params = built({'temporal_layers': 2, 'auxiliary_layers': 1})
  layer_of, last = builder.layer_of(config)
  found = {name: layer_of(name) for name in names.flatten(params)}
  expected = {
    'embedding/kernel': 0,
    f'{SPATIAL}/posembed_input/pos_embedding': 0,
    f'{SPATIAL}/encoderblock_0/LayerNorm_0/scale': 1,
    f'{SPATIAL}/encoderblock_1/MlpBlock_0/Dense_1/bias': 2,
    f'{TEMPORAL}/encoderblock_0/LayerNorm_0/scale': 3,
    f'{TEMPORAL}/encoderblock_1/LayerNorm_0/scale': 4,
    'AuxiliaryTransformer/encoderblock_0/LayerNorm_0/bias': 5,
    'attention_pool/probe': 6,
    'output_projection/kernel': 6,
  }
  assert last == 6
  assert {name: found[name] for name in expected} == expected


def test_initial_values_are_lecun_normal():
  options = {'width': 48, 'mlp_width': 96, 'table': (16, 8, 8)}
  config = ModelConfig(
    'videoprism', heads={'label': 3}, options=SMALL | options
  )
  init = jax.jit(models.build(config).init)
  found = names.flatten(init(jax.random.key(0), VIDEO)['params'])
  for name, value in found.items():
    if name.startswith('output_projection') or name.endswith(
      ('bias', 'per_dim_scale')
    ):
      np.testing.assert_array_equal(value, 0, err_msg=name)
    elif name.endswith('scale'):
      np.testing.assert_array_equal(value, 1, err_msg=name)
    elif name != 'attention_pool/probe':
      inputs = value.size // value.shape[-1]
      if name.endswith(('query/kernel', 'key/kernel', 'value/kernel')):
        inputs = len(value)
      bound = 4 / (2 * value.size) ** 0.5  # of the estimate's deviation
      np.testing.assert_allclose(
        np.std(value), inputs**-0.5, rtol=bound, err_msg=name
      )


# Explanations.


def matrices(captured, encoder, layers, sequences, cap):
  """Returns the capped attention of each block, [sequences, N, N]."""
  found = []
  for layer in range(layers):
    block = captured[encoder][f'encoderblock_{layer}']
    q, k = (
      np.asarray(
        block['MultiHeadDotProductAttention_0'][name]['__call__'][0], float
      )
      for name in ('query', 'key')
    )
    scores = np.einsum('snhd,smhd->shnm', q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(cap * np.tanh(scores / cap))
    found.append((weights / weights.sum(-1, keepdims=True)).mean(axis=1))
    assert len(found[-1]) == sequences
  return found


def test_rollout_is_the_product_of_full_matrices():
  options = {'auxiliary_layers': 1}
  config, params = built(options, pool='mean')
  video, places = VIDEO[:1], H * W
  model = models.build(config)
  _, state = jax.jit(
    lambda params: model.apply(
      {'params': params},
      video,
      capture_intermediates=lambda x, _: x.name in ('query', 'key'),
      mutable='intermediates',
    )
  )(params)
  captured, cap = state['intermediates'], SMALL['cap']
  steps = []
  for one in matrices(captured, SPATIAL, 2, T, cap):
    whole = np.zeros((T, places, T, places))
    for index in range(T):
      whole[index, :, index] = one[index]
    steps.append(whole)
  for one in matrices(captured, TEMPORAL, 1, places, cap):
    whole = np.zeros((T, places, T, places))
    for place in range(places):
      whole[:, place, :, place] = one[place]
    steps.append(whole)
  steps += matrices(captured, 'AuxiliaryTransformer', 1, 1, cap)
  row = np.full(T * places, 1 / (T * places))
  for step in reversed(steps):
    row = 0.5 * row + 0.5 * row @ step.reshape(T * places, T * places)
  found = rollout.attention_rollout(config)(params, video)
  assert row.max() > 1.2 * row.min()
  np.testing.assert_allclose(found.attention[0].ravel(), row, atol=1e-6)
  np.testing.assert_array_equal(found.kept, 0)


@pytest.mark.parametrize('keys, named', [
  ({'attention': 'flax'}, 'flax'),
  ({'attention': 'cudnn'}, 'cudnn'),
  ({'options': {'width': 100, 'attention_heads': 3}}, '100'),
  ({'attention_pool': AttentionPool('videoglue', unit=True)}, 'unit'),
  ({'attention_pool': AttentionPool('vjepa', widening=4)}, 'widening'),
])  # fmt: skip
def test_what_cannot_be_built_is_refused(keys, named):
  with pytest.raises(UserError, match=named):
    models.build(ModelConfig('videoprism', **keys))


def test_a_crop_of_broken_patches_is_refused():
  with pytest.raises(UserError, match='patch'):
    models.family.get('videoprism').check_clip(
      ModelConfig('videoprism').options, 16, (288, 280)
    )
