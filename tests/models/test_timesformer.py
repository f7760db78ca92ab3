"""TimeSformer equals the official code, and follows the paper."""

import dataclasses
import json

import einops
import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
import reference
from safetensors.numpy import load_file

from vivit_jax import config as configs
from vivit_jax import models
from vivit_jax.checkpoints import merge, names, pretrained, sources
from vivit_jax.models import arithmetic, blocks, embeddings, stacking, table
from vivit_jax.models.family import ModelConfig, Target
from vivit_jax.models.timesformer import network, official
from vivit_jax.models.weights import File

OFFICIAL = {
  'timesformer_official': 'divided',
  'timesformer_joint': 'joint',
  'timesformer_space_only': 'space',
}
HUGGING_FACE = reference.FIXTURES / 'huggingface_timesformer'


def file_of(name, change=lambda arrays: arrays, **fields):
  """Returns an official file, opened, with changed arrays or fields."""
  path = reference.FIXTURES / name / 'model.safetensors'
  arrays = change(
    {n.removeprefix('model.'): x for n, x in load_file(path).items()}
  )
  config = json.loads(path.with_name('config.json').read_text())
  fields = {'config': config, 'prefix': 'model.'} | fields
  return File(path, 'safetensors', list(arrays), lambda: arrays, **fields)


def loaded(source, **data):
  """Returns config and parameters of weights, for other clips if set."""
  config = configs.from_mapping(source.experiment)
  config = dataclasses.replace(
    config, data=dataclasses.replace(config.data, **data)
  )
  found = pretrained.from_weights(source, '', config, None, lambda text: None)
  return found.config.model, found.params


def run(config, params, video, **keys):
  """Returns logits, and the output of each block."""
  is_block = (blocks.EncoderBlock, network.DividedBlock)

  @jax.jit
  def apply(params, video):
    with jax.default_matmul_precision('highest'):
      return models.build(config).apply(
        {'params': params},
        video,
        capture_intermediates=lambda module, _: isinstance(module, is_block),
        mutable='intermediates',
        **keys,
      )

  outputs, captured = apply(params, video)
  encoder = captured['intermediates']['Transformer']
  names = [f'encoderblock_{layer}' for layer in range(len(encoder))]
  return outputs, [reference.tokens(encoder[name]) for name in names]


@pytest.mark.parametrize('suffix', ['', '_resized'])
@pytest.mark.parametrize('name', OFFICIAL)
def test_every_array_equals_the_official_code(name, suffix):
  golden = reference.golden(name)
  data = {'frames': 5, 'crop': (40, 24)} if suffix else {'frames': 3}
  config, params = loaded(official.read(file_of(name)), **data)
  assert config.options.attention == OFFICIAL[name]
  outputs, layers = run(config, params, golden[f'video{suffix}'])
  found = {'logits': outputs['label']}
  for number, x in enumerate(layers):
    expected = golden[f'block_{number}{suffix}']
    t, h, w = expected.shape[1:4]
    space = OFFICIAL[name] == 'space'
    axes = 'B t (h w) D' if space else 'B (h w t) D'
    cls, patches = np.split(x, [1], axis=-2)
    found[f'block_{number}_cls'] = einops.rearrange(cls, '... 1 D -> ... D')
    found[f'block_{number}'] = einops.rearrange(
      patches, f'{axes} -> B t h w D', t=t, h=h, w=w
    )
  assert found.keys() == {
    key.removesuffix('_resized')
    for key in golden
    if key.endswith('_resized') == bool(suffix) and 'video' not in key
  }
  for key, value in found.items():
    expected = golden[f'{key}{suffix}']
    np.testing.assert_allclose(
      value, expected, atol=2e-5 * np.abs(expected).max(), err_msg=key
    )


@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'scan': True, 'remat': 'full'},
    {'remat': 'dots', 'attention': 'chunked'},
    {'attention': 'flax'},
    {'dtype': 'bfloat16'},
  ],
)
@pytest.mark.parametrize('name', [*OFFICIAL, 'huggingface_timesformer'])
def test_every_computation_gives_the_same_logits(name, changes):
  golden = reference.golden(name)
  if name in OFFICIAL:
    source, data = official.read(file_of(name)), {'frames': 3}
  else:
    source, data = sources.read(HUGGING_FACE), {}
  config, params = loaded(source, **data)
  config = dataclasses.replace(config, **changes)
  if config.scan:
    params = stacking.stack(params)
  model = models.build(config)
  with jax.default_matmul_precision('highest'):
    apply = jax.jit(model.apply)
    found = apply({'params': params}, golden['video'])['label']
  tolerance = 0.05 if 'dtype' in changes else 2e-5
  scale = np.abs(golden['logits']).max()
  np.testing.assert_allclose(found, golden['logits'], atol=tolerance * scale)


# Parameters for 400, 600 and 174 classes, and G multiply-adds of the official
# models.
SIZES = [
  ('divided', 8, 224, (121_566_352, 121_720_152, 121_392_558), 195.8),
  ('divided', 16, 448, (122_024_080, 122_177_880, 121_850_286), 1702.7),
  ('divided', 96, 224, (121_633_936, 121_787_736, None), 2379.9),
  ('divided', 64, 224, (None, None, 121_435_566), 1579.2),
  ('space', 8, 224, (86_106_256, None, None), 140.5),
  ('joint', 8, 224, (86_112_400, None, None), 179.6),
]


@pytest.mark.parametrize('attention, frames, crop, counts, giga', SIZES)
def test_sizes_are_the_official_ones(attention, frames, crop, counts, giga):
  options = {'attention': attention}
  for classes, count in zip((400, 600, 174), counts):
    if count is not None:
      heads = {'label': classes}
      config = ModelConfig('timesformer', heads=heads, options=options)
      case = table.Case('', config, frames, crop)
      assert table.parameters(case) == count
  operations = arithmetic.forward_multiply_adds(config, frames, (crop, crop))
  assert operations / 1e9 == pytest.approx(giga, abs=0.05)


def test_the_table_has_the_published_models():
  cases = [x for x in table.published() if x.config.family == 'timesformer']
  found = [
    (x.config.options.attention, x.frames, x.crop, table.parameters(x))
    for x in cases
  ]
  expected = [row[:3] for row in SIZES]
  assert sorted(row[:3] for row in found) == sorted(expected)
  for *kind, count in found:
    row = next(x for x in SIZES if [*x[:3]] == kind)
    assert row[3][0] in (count, None)


# Small models of our own.

VIDEO = np.random.default_rng(2).normal(size=(2, 4, 16, 24, 3))
VIDEO = VIDEO.astype(np.float32)


def built(attention='divided', depth_draws='clip', layers=2, **keys):
  """Returns a small model and random parameters for VIDEO."""
  options = {
    'attention': attention, 'depth_draws': depth_draws, 'patch': 8,
    'layers': layers, **reference.SIZE,
  }  # fmt: skip
  config = ModelConfig(
    'timesformer', heads={'label': 3}, options=options, **keys
  )
  return config, plain.parameters(models.build(config), VIDEO)


def of_patches(x_TxHxWxC):
  axes = 't (h p) (w q) C -> t h w'
  return einops.reduce(x_TxHxWxC, axes, 'max', p=8, q=8)


def features(config, params, video=VIDEO, **keys):
  model = models.build(config)
  with jax.default_matmul_precision('highest'):
    return jax.jit(
      lambda params, video: model.apply(
        {'params': params}, video, features=True, **keys
      )
    )(params, video)


@pytest.mark.parametrize('attention, blind', [
  ('divided', False), ('joint', False), ('space', True),
])  # fmt: skip
def test_only_space_only_is_blind_to_the_order_of_frames(attention, blind):
  config, params = built(attention)
  first, second = (
    features(config, params, video).pre_logits
    for video in (VIDEO, VIDEO[:, ::-1])
  )
  difference = np.abs(first - second).max()
  assert difference < 1e-5 if blind else difference > 1e-3


@pytest.mark.parametrize('attention', OFFICIAL.values())
def test_one_block_sees_what_the_paper_says(attention):
  """Which pixels reach the token at frame 1, row 1, column 0."""
  config, params = built(attention, layers=1)
  model = models.build(config)

  def token(video):
    found = model.apply({'params': params}, video, features=True)
    return found.tokens[0, 1, 1, 0].sum()

  gradient = np.abs(jax.jit(jax.grad(token))(VIDEO[:1]))[0]
  seen = of_patches(gradient) > 0
  expected = np.zeros((4, 2, 3), bool)
  expected[1] = True  # its frame
  # Over time, each patch of its frame has read its place in all frames.
  expected[:] |= attention != 'space'
  np.testing.assert_array_equal(seen, expected)


def test_attention_over_time_sees_one_place():
  """With attention over space at zero, a token reads its own place."""
  config, params = built()
  for block in ('encoderblock_0', 'encoderblock_1'):
    spatial = params['Transformer'][block]['MultiHeadDotProductAttention_0']
    spatial['out'] = jax.tree.map(np.zeros_like, spatial['out'])
  model = models.build(config)

  def token(video):
    found = model.apply({'params': params}, video, features=True)
    return found.tokens[0, 1, 1, 0].sum()

  gradient = np.abs(jax.jit(jax.grad(token))(VIDEO[:1]))[0]
  seen = of_patches(gradient) > 0
  expected = np.zeros((4, 2, 3), bool)
  expected[:, 1, 0] = True
  np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize('pool', ['mean', 'attention'])
@pytest.mark.parametrize('attention', OFFICIAL.values())
def test_other_pools_have_no_class_token(attention, pool):
  config, params = built(attention, pool=pool)
  assert 'cls' not in params
  assert params['Transformer']['posembed_input']['pos_embedding'].shape[1] == 6
  found = features(config, params)
  assert found.tokens.shape == (2, 4, 2, 3, 48)
  if pool == 'mean' and attention != 'space':
    average = found.tokens.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found.pre_logits, average, atol=1e-5)


def test_the_initial_values_are_the_official_ones():
  """But for the head and the bias of the patch embedding, which are zero."""
  options = {'patch': 16, 'layers': 2, 'width': 192, 'attention_heads': 3}
  config = ModelConfig('timesformer', heads={'label': 3}, options=options)
  video = np.zeros((1, 2, 32, 32, 3), np.float32)
  found = jax.jit(models.build(config).init)(jax.random.key(0), video)['params']
  limit = (3 * 16 * 16) ** -0.5
  kernel = np.asarray(found['embedding'].pop('kernel'))
  assert np.abs(kernel).max() <= limit
  np.testing.assert_allclose(kernel.std(), limit / 3**0.5, rtol=0.02)
  for name, value in names.flatten(found).items():
    if name.endswith('scale'):
      np.testing.assert_array_equal(value, 1)
    elif (
      name.endswith('bias')
      or 'temporal_fc' in name
      or 'time_embedding' in name
      or 'output_projection' in name
    ):
      np.testing.assert_array_equal(value, 0)
    else:  # 0.02, within three deviations of the estimate
      bound = 3 / (2 * value.size) ** 0.5
      np.testing.assert_allclose(np.std(value), 0.02, rtol=bound, err_msg=name)


# Stochastic depth.


@pytest.mark.parametrize('attention', OFFICIAL.values())
def test_a_dropped_branch_adds_nothing(attention):
  """At rate 1 - 1e-6 in every block, only embeddings and norm remain."""
  config, params = built(attention, layers=1, stochastic_depth=1 - 1e-6)
  found = features(
    config,
    params,
    train=True,
    example_B=jnp.arange(2),
    rngs={'stochastic_depth': jax.random.key(1)},
  )
  tubelet = (1, 8, 8)
  x = embeddings.TubeletEmbedding(48, tubelet).apply(
    {'params': params['embedding']}, VIDEO
  )
  encoder = params['Transformer']
  positions = encoder['posembed_input']
  x += positions['pos_embedding'][:, 1:].reshape(1, 1, 2, 3, 48)
  if attention != 'space':
    x += positions['time_embedding'].reshape(1, 4, 1, 1, 48)
  expected = plain.norm(np.asarray(x), encoder['encoder_norm'])
  np.testing.assert_allclose(found.tokens, expected, atol=1e-4)


EIGHT = np.concatenate([VIDEO] * 4)
LAST = {  # the last layer of each branch
  'space': ('MultiHeadDotProductAttention_0', 'out'),
  'time': ('temporal_fc',),
  'mlp': ('MlpBlock_0', 'Dense_1'),
}


def drawn(attention, draws, branch, examples=range(8)):
  """Returns each token's factor of a branch, [B, ..., N], with class token."""
  config, params = built(attention, draws, layers=1, stochastic_depth=0.25)
  block = params['Transformer']['encoderblock_0']
  model = models.build(config)

  @jax.jit
  def apply(params):
    captured = model.apply(
      {'params': params},
      EIGHT,
      train=True,
      example_B=jnp.asarray(examples),
      rngs={'stochastic_depth': jax.random.key(1)},
      capture_intermediates=True,
      mutable='intermediates',
    )[1]['intermediates']['Transformer']['encoderblock_0']
    return reference.tokens(captured)

  outputs = []
  for value in (0, 1):  # the branch's output is its bias
    for one, path in LAST.items():
      layer = block
      for key in path:
        layer = layer.get(key, {})
      if layer:
        bias = value * (one == branch) + np.zeros_like(layer['bias'])
        layer.update(kernel=np.zeros_like(layer['kernel']), bias=bias)
    outputs.append(np.asarray(apply(params))[..., 0])
  return outputs[1] - outputs[0]


@pytest.mark.parametrize(
  'attention, draws, branch, differs',
  [
    ('divided', 'clip', 'space', False),
    ('divided', 'clip', 'time', False),
    ('divided', 'paper', 'space', True),
    ('divided', 'paper', 'mlp', False),
    ('space', 'clip', 'space', False),
    ('space', 'paper', 'space', True),
    ('space', 'paper', 'mlp', True),
    ('joint', 'paper', 'space', False),
  ],
)
def test_draws_belong_to_clips_or_frames(attention, draws, branch, differs):
  scale = drawn(attention, draws, branch)
  cls, patches = np.split(scale, [1], axis=-1)
  if attention != 'space':
    patches = einops.rearrange(patches, 'B (s t) -> B t s', t=4)
  kept = np.isclose(patches, 1 / 0.75, atol=1e-4)
  assert (kept | np.isclose(patches, 0, atol=1e-4)).all()
  assert kept.any() and not kept.all()  # clips differ
  np.testing.assert_array_equal(kept.all(axis=2), kept.any(axis=2))
  assert (kept.all(axis=1) != kept.any(axis=1)).any() == differs  # frames
  if attention == 'divided' and branch == 'space':
    expected = patches.mean(axis=(1, 2))
    np.testing.assert_allclose(cls[:, 0], expected, atol=1e-4)


def test_draws_over_time_come_before_the_linear_layer():
  """For each place; its bias is always added."""
  config, params = built(depth_draws='paper')
  block = network.DividedBlock(
    models.build(config).backbone.options, (4, 2, 3), 1, 'paper'
  )
  params = params['Transformer']['encoderblock_0']
  for layer in (
    params['MultiHeadDotProductAttention_0']['out'],
    params['MlpBlock_0']['Dense_1'],
  ):
    layer.update(jax.tree.map(np.zeros_like, layer))
  x = np.random.default_rng(0).normal(size=(1, 25, 48)).astype(np.float32)
  ones = np.ones((1, 4), np.float32), np.ones(1, np.float32)
  place = np.array([[0, 2, 1, 0, 1, 1]], np.float32)
  apply = jax.jit(lambda place: block.apply(
    {'params': params}, x, (place, *ones)
  ))  # fmt: skip
  full, scaled = (
    np.asarray(apply(p) - x)[:, 1:].reshape(1, 6, 4, 48)
    for p in (np.ones_like(place), place)
  )
  bias = params['temporal_fc']['bias']
  expected = bias + place[:, :, None, None] * (full - bias)
  np.testing.assert_allclose(scaled, expected, atol=2e-5)


def test_draws_of_rows_do_not_depend_on_the_device():
  """But on the clip's place in the global batch; scanned or not."""
  one, other = (
    drawn('space', 'paper', 'mlp', places)
    for places in (range(8), range(4, 12))
  )
  np.testing.assert_allclose(one[4:], other[:4], atol=1e-6)
  config, params = built(depth_draws='paper', stochastic_depth=0.5)
  keys = dict(
    train=True,
    example_B=jnp.arange(2),
    rngs={'stochastic_depth': jax.random.key(1)},
  )
  plainly = features(config, params, **keys)
  scanned = features(
    dataclasses.replace(config, scan=True), stacking.stack(params), **keys
  )
  np.testing.assert_allclose(plainly.pre_logits, scanned.pre_logits, atol=1e-4)
  still = features(config, params)
  assert np.abs(plainly.pre_logits - still.pre_logits).max() > 1e-2


# Weights.


@pytest.mark.parametrize('attention', OFFICIAL.values())
def test_a_still_clip_gives_the_image_models_features(attention):
  """Not with joint attention, which sees more keys."""
  folder = reference.FIXTURES / 'image_vit'
  golden = reference.golden('image_vit')
  source = sources.read(folder / 'vision_transformer.npz')
  image = golden['image']
  sizes = models.family.get('timesformer').infer_sizes(source.arrays)
  options = sizes | {'attention': attention, 'gelu': 'tanh'}
  config = ModelConfig('timesformer', heads={'label': 5}, options=options)
  video = np.repeat(image[:, None], 4, axis=1)
  model = models.build(config)
  start = jax.jit(model.init)(jax.random.key(0), video)['params']
  target = Target(config, 4, image.shape[1:3])
  merged = merge.merge(source, names.flatten(start), target)
  fresh = {row.name.rpartition('/')[0] for row in merged.rows
           if row.status == 'fresh'}  # fmt: skip
  divided = attention == 'divided'
  assert any('temporal_fc' in name for name in fresh) == divided
  assert not any('MultiHead' in name for name in fresh)
  assert 'output_projection' in fresh
  params = names.unflatten(merged.arrays)
  block = params['Transformer']['encoderblock_0']
  if divided:
    np.testing.assert_array_equal(
      block['MultiHeadDotProductAttention_temporal']['query']['kernel'],
      block['MultiHeadDotProductAttention_0']['query']['kernel'],
    )
  found = features(config, params, video).pre_logits
  scale = np.abs(golden['cls_feature']).max()
  difference = np.abs(found - golden['cls_feature']).max() / scale
  assert difference > 1e-3 if attention == 'joint' else difference < 2e-5
