"""VTN and STAM against the official code's outputs, and their properties."""

import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from safetensors.numpy import load_file

import vivit_jax
from vivit_jax import models
from vivit_jax.checkpoints import merge, names, sources
from vivit_jax.inference import rollout
from vivit_jax.models import (
  arithmetic,
  builder,
  family,
  sizes,
  stacking,
  weights,
)
from vivit_jax.models.family import ModelConfig

CLIPS = [('vtn', ''), ('vtn', '_whole'), ('vtn', '_short'), ('stam', '')]
WINDOW, POSITIONS = 4, 18  # of the fixture's VTN


@functools.cache
def loaded(name):
  return vivit_jax.load(reference.FIXTURES / name / 'model.safetensors')


@functools.cache
def golden(name):
  with np.load(reference.FIXTURES / name / 'golden.npz') as file:
    return dict(file)


@functools.cache
def _compiled(name):
  model = loaded(name).model

  def apply(params, video, numbers):
    return model.apply(
      {'params': params},
      video,
      frame_BxT=numbers,
      capture_intermediates=True,
      mutable='intermediates',
    )

  return jax.jit(apply)


def run(name, video, numbers=None):
  """Returns logits, and each module's output."""
  with jax.default_matmul_precision('highest'):
    logits, state = _compiled(name)(loaded(name).params, video, numbers)
  return logits['label'], state['intermediates']


@pytest.mark.parametrize('name, suffix', CLIPS)
def test_all_arrays_are_those_of_the_official_code(name, suffix):
  expected = golden(name)
  video = expected[f'video{suffix}']
  logits, outputs = run(name, video, expected.get(f'frame_index{suffix}'))
  spatial = reference.tokens(outputs['SpatialTransformer'])[:, 0]
  temporal = outputs['TemporalTransformer']
  found = {
    'logits': logits,
    'per_frame': spatial.reshape(*video.shape[:2], -1),
    'layer_0': reference.tokens(temporal['encoderblock_0']),
    'layer_1': reference.tokens(temporal['encoderblock_1']),
  }
  if name == 'vtn':
    found['embedded'] = temporal['posembed_input']['__call__'][0]
  for key, value in found.items():
    theirs = expected[f'{key}{suffix}']
    np.testing.assert_allclose(
      value, theirs, atol=2e-5 * np.abs(theirs).max(), err_msg=key
    )


@pytest.mark.parametrize(
  'name, frames, options, count, gflops',
  [
    # VTN's 281.9 G of 16 frames include padding of 17 places to 36.
    ('vtn', 16, {}, 113_502_352, 281.9 - 19 * 3 * 14 * 768**2 / 1e9),
    ('vtn', 250, {}, 113_502_352, 4397.27),
    ('stam', 8, {}, 119_199_376, 140.8),
    ('stam', 16, {}, 119_205_520, 281.6),
    ('stam', 32, {}, 119_217_808, 563.1),
    ('stam', 64, {}, 119_242_384, 1126.2),
    (
      'factorised_encoder',
      1,
      {'temporal_layers': 0, 'tubelet': (1, 16, 16)},
      86_106_256,
      17.563,
    ),
    (
      'factorised_encoder',
      1,
      {'temporal_layers': 0, 'tubelet': (1, 16, 16), 'width': 1024}
      | {'spatial_layers': 24, 'attention_heads': 16, 'mlp_width': 4096},
      303_711_632,
      61.554,
    ),
  ],
)
def test_parameters_and_multiply_adds(name, frames, options, count, gflops):
  config = ModelConfig(
    name, 'B', heads={'label': 400}, options=options, scan=True
  )
  shapes = builder.shapes(config, frames, (224, 224))
  assert sum(x.size for x in jax.tree.leaves(shapes)) == count
  found = arithmetic.forward_multiply_adds(config, frames, (224, 224))
  np.testing.assert_allclose(found / 1e9, gflops, atol=0.1)


def test_a_frame_of_vtn_sees_half_the_window_and_the_class_token():
  video, numbers = golden('vtn')['video'], golden('vtn')['frame_index']
  changed = video.copy()
  changed[:, 6] += 1

  def layer_0(video):
    outputs = run('vtn', video, numbers)[1]
    return np.asarray(
      outputs['TemporalTransformer']['encoderblock_0']['__call__'][0]
    )

  differs = (layer_0(video) != layer_0(changed)).any(axis=(0, 2))
  seen = np.abs(np.arange(11) - 6) <= WINDOW // 2
  np.testing.assert_array_equal(differs, [True, *seen])


def test_positions_of_vtn_repeat():
  video, numbers = golden('vtn')['video'], golden('vtn')['frame_index']
  logits = run('vtn', video, numbers)[0]
  np.testing.assert_array_equal(
    run('vtn', video, numbers + POSITIONS)[0], logits
  )
  assert not np.allclose(run('vtn', video, numbers + 1)[0], logits, atol=1e-4)


def test_frame_numbers_may_count_from_the_clip():
  source = loaded('vtn')
  video, numbers = golden('vtn')['video'], golden('vtn')['frame_index']
  options = dataclasses.replace(
    source.config.model.options, numbers_from='clip'
  )
  config = dataclasses.replace(source.config.model, options=options)
  apply = functools.partial(models.build(config).apply, frame_BxT=numbers + 7)
  logits = jax.jit(apply)({'params': source.params}, video)['label']
  expected = run('vtn', video, numbers - numbers[:, :1])[0]
  np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize('name', ['vtn', 'stam'])
def test_the_order_of_frames_matters(name):
  video = golden(name)['video']
  numbers = golden(name).get('frame_index')
  logits = run(name, video, numbers)[0]
  backwards = run(name, video[:, ::-1], numbers)[0]
  assert np.abs(logits - backwards).max() > 1e-2 * np.abs(logits).max()


def trainable(name, **options):
  """Returns a small model with dropout, its parameters, and 4 clips."""
  video = np.tile(golden(name)['video'], (2, 1, 1, 1, 1))
  own = dataclasses.asdict(loaded(name).config.model.options) | options
  config = dataclasses.replace(loaded(name).config.model, options=own)
  return models.build(config), loaded(name).params, video


@pytest.mark.parametrize('name', ['vtn', 'stam'])
def test_dropout_belongs_to_the_place_in_the_global_batch(name):
  model, params, video = trainable(name, dropout=0.3)

  @jax.jit
  def train(video, examples):
    rngs = {'dropout': jax.random.key(0)}
    return model.apply(
      {'params': params}, video, train=True, example_B=examples, rngs=rngs
    )['label']

  whole = train(video, jnp.arange(4))
  assert not np.allclose(whole[:2], whole[2:], atol=1e-3)  # equal clips
  shifted = train(video, jnp.arange(2, 6))
  np.testing.assert_allclose(shifted[:2], whole[2:], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['vtn', 'stam'])
def test_scan_remat_and_bfloat16_change_no_result(name):
  video = np.tile(golden(name)['video'], (2, 1, 1, 1, 1))
  found = {}
  for case, keys in {
    'plain': {},
    'scan and remat': {'scan': True, 'remat': 'full'},
    'bfloat16': {'dtype': 'bfloat16'},
  }.items():
    config = dataclasses.replace(loaded(name).config.model, **keys)
    model = models.build(config)
    params = loaded(name).params
    if config.scan:
      params = stacking.stack(params)

    def loss(params, video, model=model):
      logits = model.apply(
        {'params': params},
        video,
        train=True,
        example_B=jnp.arange(len(video)),
        rngs={'dropout': jax.random.key(0)},
      )['label']
      return (logits**2).mean(), logits

    gradient, logits = jax.jit(jax.grad(loss, 1, has_aux=True))(params, video)
    found[case] = gradient, logits
  for case, values in found.items():
    for value, plain in zip(values, found['plain']):
      error = np.abs(value - plain).max() / np.abs(plain).max()
      assert error < (0.1 if case == 'bfloat16' else 1e-4), (case, error)


@pytest.mark.parametrize('name', ['vtn', 'stam'])
def test_frozen_modules_drop_nothing(name):
  model, params, video = trainable(name)
  frozen = {f'TemporalTransformer/encoderblock_{i}' for i in range(2)}
  frozen |= {'TemporalTransformer/posembed_input', 'mlp_head'}
  train = functools.partial(
    model.clone(frozen=frozenset(frozen)).apply,
    train=True,
    example_B=jnp.arange(4),
    rngs={'dropout': jax.random.key(0)},
  )
  logits, expected = (
    jax.jit(apply)({'params': params}, video)['label']
    for apply in (train, model.apply)
  )
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name, temporal_heads', [('vtn', 3), ('stam', 8)])
def test_heads_of_a_file_that_does_not_state_them(name, temporal_heads):
  arrays = load_file(reference.FIXTURES / name / 'model.safetensors')
  width = arrays['cls_token'].shape[-1]
  wide = {  # 8 times as wide
    key: np.tile(
      x, [8 if size in (width, 3 * width) else 1 for size in x.shape]
    )
    for key, x in arrays.items()
  }
  file = weights.File(pathlib.Path('x.pth'), 'torch', [*wide], lambda: wide)
  reader = next(i for i in family.get(name).imports if i.matches(file))
  options = reader.read(file).experiment['model']['options']
  config = ModelConfig(name, options=options)
  assert sizes.of(config).attention_heads == 8 * width // 64
  assert options['temporal_heads'] == temporal_heads


def test_positions_of_stam_are_resized_to_another_number_of_frames():
  source = sources.read(reference.FIXTURES / 'stam' / 'model.safetensors')
  name = 'TemporalTransformer/posembed_input/pos_embedding'
  table, config = source.arrays[name], loaded('stam').config.model
  for frames, expected in {
    5: table,
    1: np.stack([table[:, 0], table[:, 3]], axis=1),  # the middle of 5
  }.items():
    shapes = builder.shapes(config, frames, (24, 24))
    init = names.flatten(
      jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    )
    target = family.Target(config, frames, (24, 24))
    found = merge.merge(source, init, target).arrays[name]
    np.testing.assert_allclose(found, expected, atol=1e-6)


IMAGE = reference.FIXTURES / 'image_vit'


@pytest.mark.parametrize('name', ['vtn', 'stam'])
def test_each_frames_vector_is_the_image_models_feature(name):
  with np.load(IMAGE / 'golden.npz') as file:
    images, expected = file['image'], file['cls_feature']
  source = sources.read(IMAGE / 'vision_transformer.npz')
  found = family.get(name).infer_sizes(
    {
      'TemporalTransformer/encoderblock_0/Dense_0/kernel': np.zeros((1, 1)),
      **source.arrays,
    }
  )
  options = {
    key: found[key] for key in ('width', 'attention_heads', 'mlp_width')
  }
  options |= {
    'spatial_layers': found['layers'],
    'patch': source.arrays['embedding/kernel'].shape[0],
    'gelu': 'tanh',
    'norm_epsilon': 1e-6,
    'temporal_heads': 1,
  }
  config = ModelConfig(name, heads={'label': 3}, options=options)
  video = np.repeat(images[:, None], 3, axis=1)
  video[:, 1] += 1  # another image in the middle
  model = models.build(config)
  init = jax.jit(model.init)(jax.random.key(0), video)
  init = names.flatten(init['params'])
  target = family.Target(config, 3, images.shape[1:3])
  arrays = merge.merge(source, init, target).arrays
  apply = functools.partial(
    model.apply, capture_intermediates=True, mutable='intermediates'
  )
  params = {'params': names.unflatten(arrays)}
  outputs = jax.jit(apply)(params, video)[1]['intermediates']
  vectors = reference.tokens(outputs['SpatialTransformer'])[:, 0]
  vectors = vectors.reshape(len(images), 3, -1)
  tolerance = 2e-5 * np.abs(expected).max()
  for frame in (0, 2):
    np.testing.assert_allclose(vectors[:, frame], expected, atol=tolerance)


def full_matrix(query, key, seen=True):
  """Returns attention averaged over heads, [n, N], for one sequence."""
  scores = np.einsum('nHd,NHd->HnN', query, key) / query.shape[-1] ** 0.5
  weights = np.where(seen, np.exp(scores), 0)
  return (weights / weights.sum(axis=-1, keepdims=True)).mean(axis=0)


def rolled(matrices):
  """Returns the class token's row of the product over layers."""
  steps = [(np.eye(len(matrix)) + matrix) / 2 for matrix in matrices]
  return functools.reduce(lambda done, step: step @ done, steps)[0]


def heads_of(block, *path):
  """Returns an attention's queries and keys, float64."""
  for part in path:
    block = block[part]
  return (
    np.asarray(block[name]['__call__'][0], np.float64)
    for name in ('query', 'key')
  )


@pytest.mark.parametrize('name', ['vtn', 'stam'])
def test_rollout_is_the_product_of_full_matrices(name):
  video = golden(name)['video']
  found = rollout.attention_rollout(loaded(name).config.model)(
    loaded(name).params, video
  )
  outputs = run(name, video)[1]
  frames, own = video.shape[1], 'MultiHeadDotProductAttention_0'
  for clip in range(2):
    layers = []
    for layer in range(2):
      block = outputs['TemporalTransformer'][f'encoderblock_{layer}']
      if name == 'stam':
        query, key = heads_of(block, own)
        layers.append(full_matrix(query[clip], key[clip]))
        continue
      query, key = heads_of(block, 'attention', 'window')
      place = np.arange(frames + 1)
      seen = np.abs(place[1:, None] - place) <= WINDOW // 2
      seen[:, 0] = True
      of_frames = full_matrix(query[clip], key[clip], seen)
      query, key = heads_of(block, 'attention', 'global')
      of_cls = full_matrix(query[clip], key[clip])
      layers.append(np.concatenate([of_cls, of_frames]))
    kept, *time = rolled(layers)
    for frame, share in enumerate(time):
      layers = []
      for layer in range(2):
        block = outputs['SpatialTransformer'][f'encoderblock_{layer}']
        query, key = heads_of(block, own)
        sequence = clip * frames + frame
        layers.append(full_matrix(query[sequence], key[sequence]))
      held, *space = rolled(layers)
      kept += share * held
      np.testing.assert_allclose(
        found.attention[clip, frame].ravel(),
        share * np.array(space),
        atol=2e-6,
      )
    np.testing.assert_allclose(found.kept[clip], kept, atol=2e-6)


def test_vtns_temporal_encoder_is_transformers_longformer():
  """With the fixture's weights, for clips of other lengths."""
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  folder = reference.FIXTURES / 'vtn'
  stated = json.loads((folder / 'config.json').read_text())
  width = stated['embed_dim']
  settings = transformers.LongformerConfig(
    hidden_size=width,
    num_hidden_layers=stated['temporal_layers'],
    num_attention_heads=stated['temporal_heads'],
    intermediate_size=stated['temporal_mlp'],
    attention_window=stated['window'],
    max_position_embeddings=POSITIONS + 2,
    layer_norm_eps=stated['temporal_norm_epsilon'],
    vocab_size=1,
    pad_token_id=0,
    sep_token_id=None,
    eos_token_id=None,
  )
  settings.type_vocab_size = 2
  theirs = transformers.LongformerModel(settings, add_pooling_layer=False)
  arrays = load_file(folder / 'model.safetensors')
  prefix = 'temporal_encoder.'
  found = theirs.load_state_dict(
    {
      name.removeprefix(prefix): torch.from_numpy(x)
      for name, x in arrays.items()
      if name.startswith(prefix)
    },
    strict=False,
  )
  assert found.missing_keys == ['embeddings.word_embeddings.weight']
  draw = np.random.default_rng(0)
  for frames in (1, 3, 29):
    video = draw.normal(size=(1, frames, 24, 24, 3)).astype(np.float32)
    numbers = 3 * np.arange(frames)[None]
    outputs = run('vtn', video, numbers)[1]
    vectors = reference.tokens(outputs['SpatialTransformer'])[:, 0]
    x = np.concatenate([arrays['cls_token'][0], np.asarray(vectors)])[None]
    is_cls = torch.zeros(1, frames + 1, dtype=torch.long)
    is_cls[:, 0] = 1
    places = [POSITIONS, *(numbers[0] % POSITIONS)]
    with torch.no_grad():
      expected = theirs.eval()(
        inputs_embeds=torch.from_numpy(x),
        position_ids=torch.tensor([places]),
        token_type_ids=is_cls,
        global_attention_mask=is_cls,
        attention_mask=torch.ones_like(is_cls),
      ).last_hidden_state.numpy()
    ours = reference.tokens(outputs['TemporalTransformer'])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(ours, expected, atol=2e-5 * scale)


def test_stams_temporal_encoder_is_torchs():
  """With the fixture's weights."""
  torch = pytest.importorskip('torch')
  folder = reference.FIXTURES / 'stam'
  stated = json.loads((folder / 'config.json').read_text())
  width = stated['embed_dim']
  theirs = torch.nn.TransformerEncoder(
    torch.nn.TransformerEncoderLayer(
      width,
      stated['temporal_heads'],
      stated['temporal_mlp'],
      batch_first=True,
    ),
    stated['temporal_layers'],
    norm=torch.nn.LayerNorm(width),
    enable_nested_tensor=False,
  )
  prefix = 'aggregate.transformer_enc.'
  arrays = load_file(folder / 'model.safetensors')
  theirs.load_state_dict(
    {
      name.removeprefix(prefix): torch.from_numpy(x)
      for name, x in arrays.items()
      if name.startswith(prefix)
    }
  )
  draw = np.random.default_rng(0)
  video = draw.normal(size=(3, 5, 24, 24, 3)).astype(np.float32)
  outputs = run('stam', video)[1]
  vectors = np.asarray(reference.tokens(outputs['SpatialTransformer'])[:, 0])
  cls = np.broadcast_to(arrays['aggregate.cls_token'], (3, 1, width))
  x = np.concatenate([cls, vectors.reshape(3, 5, width)], axis=1)
  with torch.no_grad():
    expected = theirs.eval()(
      torch.from_numpy(x + arrays['aggregate.pos_embed'])
    ).numpy()
  ours = reference.tokens(outputs['TemporalTransformer'])
  np.testing.assert_allclose(ours, expected, atol=2e-5 * np.abs(expected).max())


def test_stams_attention_starts_as_torchs():
  """Xavier-uniform of query, key and value in one matrix."""
  options = {'spatial_layers': 1, 'temporal_layers': 1, 'temporal_heads': 3}
  model = models.build(
    ModelConfig('stam', 'Ti', heads={'label': 3}, options=options)
  )
  video = jnp.zeros((1, 2, 16, 16, 3))
  params = jax.jit(model.init)(jax.random.key(0), video)['params']
  block = params['TemporalTransformer']['encoderblock_0']
  for part in ('query', 'key', 'value'):
    kernel = block['MultiHeadDotProductAttention_0'][part]['kernel']
    bound = np.sqrt(6 / (192 + 3 * 192))
    assert 0.99 * bound < np.abs(kernel).max() <= bound
