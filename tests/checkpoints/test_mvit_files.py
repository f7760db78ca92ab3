"""MViT's files of three projects are read, resized and written."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest
import reference
from safetensors.numpy import load_file, save_file

from vivit_jax import config as configs
from vivit_jax import models
from vivit_jax.checkpoints import convert, merge, pretrained, sources
from vivit_jax.errors import UserError
from vivit_jax.models import resize
from vivit_jax.models.family import ModelConfig, Target
from vivit_jax.models.mvit import files, weights
from vivit_jax.models.weights import Clip, File

NAMES = ['mvit_v1', 'mvit_v1_wide_kernels', 'mvit_v2']


def arrays_of(name):
  return load_file(reference.FIXTURES / name / 'model.safetensors')


def read(arrays, **fields):
  """Reads arrays as those of a file; `fields` are of `File`."""
  path = reference.FIXTURES / 'file.pyth'
  return files.read(
    File(path, 'torch', list(arrays), lambda: dict(arrays), **fields)
  )


@pytest.mark.parametrize('name, version, kernels, layers', [
  ('mvit_v1', 1, 'cube', 5),
  ('mvit_v1_wide_kernels', 1, 'stride', 5),
  ('mvit_v2', 2, 'cube', 4),
])  # fmt: skip
def test_files_state_their_model(name, version, kernels, layers):
  paths = sorted((reference.FIXTURES / name).glob('*[!nz]'))
  first = sources.read(paths[0])
  for path in paths:  # also torchvision's names, and a trainer's checkpoint
    source = sources.read(path)
    reference.assert_same(source.arrays, first.arrays)
    config = configs.from_mapping(source.experiment)
    options = config.model.options
    assert (options.version, options.kernels) == (version, kernels)
    assert (options.layers, options.stages) == (layers, (1, 3))
    assert options.attention_heads == 1
    assert options.norm_pool_epsilon == 1e-6
    data, evaluation = config.data, config.evaluation
    assert (data.frames, data.crop, data.short_side) == (6, (36, 36), 256)
    assert data.mean == (0.45,) * 3 and data.std == (0.225,) * 3
    assert data.sampling == 'span'
    # The trainer's cfg states its default, 32.
    rate = 32 if path.suffix == '.pyth' else 4
    assert data.frames_per_second == 30 / rate
    assert (evaluation.temporal_views, evaluation.spatial_crops) == (5, 1)
    assert evaluation.average == 'probabilities'


RENAMED = (  # SlowFast's -> pytorchvideo's
  (r'^patch_embed\.proj\.', 'patch_embed.patch_model.'),
  (r'^(cls_token|pos_embed_)', r'cls_positional_encoding.\1'),
  (r'^norm\.', 'norm_embed.'),
  (r'^head\.projection\.', 'head.proj.'),
)
NEWER = (
  (r'\.pool_([qkv])\.', r'._attention_pool_\1.pool.'),
  (r'\.norm_([qkv])\.', r'._attention_pool_\1.norm.'),
)


def split_qkv(arrays):
  split = {}
  for name, array in arrays.items():
    if '.qkv.' in name:
      for part, piece in zip('qkv', np.split(array, 3)):
        split[name.replace('.qkv.', f'.{part}.')] = piece
    else:
      split[name] = array
  return split


@pytest.mark.parametrize('name', ['mvit_v1', 'mvit_v2'])
@pytest.mark.parametrize('rules', [RENAMED, RENAMED + NEWER])
def test_pytorchvideo_by_both_its_namings(name, rules):
  arrays = split_qkv(arrays_of(name))
  for pattern, replacement in rules:
    arrays = {re.sub(pattern, replacement, n): x for n, x in arrays.items()}
  source = read(arrays)
  reference.assert_same(source.arrays, read(arrays_of(name)).arrays)
  assert source.experiment['model']['options']['norm_pool_epsilon'] == 1e-5
  assert 'pytorchvideo' in source.format


def test_older_slowfast_files_have_query_key_and_value_apart():
  arrays = arrays_of('mvit_v1')
  source = read(split_qkv(arrays))
  reference.assert_same(source.arrays, read(arrays).arrays)
  assert 'norm_pool_epsilon' in ' '.join(source.notes)


def test_the_zoos_v1_does_not_pool_keys_in_its_last_blocks():
  arrays = {
    name: x
    for name, x in arrays_of('mvit_v1').items()
    if not re.match(r'blocks\.[34]\.attn\.(pool|norm)_[kv]\.', name)
  }
  source = read(arrays)
  assert source.experiment['model']['options']['kernels'] == 'cube_strided'
  loaded = whole(source)
  clip = np.zeros((1, 6, 36, 36, 3), np.float32)
  shape = jax.eval_shape(
    models.build(loaded.config.model).apply, {'params': loaded.params}, clip
  )
  assert shape['label'].shape == (1, 7)


def whole(source, **data):
  """Loads all arrays of a source, for other clips if set."""
  config = configs.from_mapping(source.experiment)
  data = dataclasses.replace(config.data, **data)
  config = dataclasses.replace(config, data=data)
  return pretrained.from_weights(source, '', config, None, lambda text: None)


@pytest.mark.parametrize('cfg, key, value', [
  ('DATA:\n  SAMPLING_RATE: 3\n', 'frames_per_second', 10.0),
  ('DATA:\n  MEAN: [0.1, 0.2, 0.3]\n', 'mean', (0.1, 0.2, 0.3)),
])  # fmt: skip
def test_the_trainers_cfg_is_read(cfg, key, value):
  source = read(arrays_of('mvit_v2'), extras={'cfg': cfg})
  assert source.experiment['data'][key] == value


def test_174_classes_are_something_something():
  arrays = arrays_of('mvit_v2')
  arrays['head.projection.weight'] = np.zeros((174, 24), np.float32)
  arrays['head.projection.bias'] = np.zeros(174, np.float32)
  cfg = 'DATA:\n  MEAN: [0.1, 0.2, 0.3]\n'
  found = read(arrays, extras={'cfg': cfg}).experiment
  data, evaluation = found['data'], found['evaluation']
  assert data['sampling'] == 'segments' and data['short_side'] == 36
  assert 'frames_per_second' not in data
  assert data['mean'] == (0.3, 0.2, 0.1)  # the cfg's is of BGR
  assert (evaluation['temporal_views'], evaluation['spatial_crops']) == (1, 3)


def test_l_is_normalised_as_imagenet():
  """Its tables are those of 78 x 78 tokens."""
  arrays = arrays_of('mvit_v2')
  for axis in 'hw':
    arrays[f'blocks.0.attn.rel_pos_{axis}'] = np.zeros((155, 6), np.float32)
  found = read(arrays).experiment
  assert found['data']['crop'] == (312, 312)
  assert found['data']['mean'] == (0.485, 0.456, 0.406)
  assert found['data']['short_side'] == 312
  assert found['evaluation']['spatial_crops'] == 3


# torchvision.


@pytest.mark.parametrize('name', NAMES)
def test_torchvisions_file_is_written_bit_for_bit(name, tmp_path):
  path = tmp_path / 'written.safetensors'
  source = reference.FIXTURES / name / 'model.safetensors'
  convert.convert(source, path, to='torchvision')
  expected = load_file(reference.FIXTURES / name / 'torchvision.safetensors')
  found = load_file(path)
  reference.assert_same(found, expected)
  assert {n: x.dtype for n, x in found.items()} == {
    n: x.dtype for n, x in expected.items()
  }


def their_model(name):
  """Returns torchvision's network of a fixture's sizes."""
  mvit = pytest.importorskip(
    'torchvision.models.video.mvit', reason='torchvision is not installed'
  )
  path = reference.FIXTURES / name / 'config.json'
  config = json.loads(path.read_text())
  v2 = config['version'] == 2
  block_setting = [
    mvit.MSBlockConfig(
      num_heads=block['heads'],
      input_channels=block['width'],
      output_channels=block['width_out'],
      kernel_q=block['q_kernel'],
      kernel_kv=block['kv_kernel'],
      stride_q=block['q_stride'],
      stride_kv=block['kv_stride'],
    )
    for block in config['blocks']
  ]
  return lambda frames, crop: mvit.MViT(
    spatial_size=crop,
    temporal_size=frames,
    block_setting=block_setting,
    residual_pool=v2,
    residual_with_cls_embed=False,
    rel_pos_embed=v2,
    proj_after_attn=v2,
    num_classes=config['num_classes'],
  ).eval()


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('frames, crop', [(6, (36, 36)), (6, (36, 60))])
def test_torchvision_gives_the_same_logits(name, frames, crop, tmp_path):
  """It loads our file strictly; also for a crop that is no square."""
  model = their_model(name)(frames, crop)
  torch = pytest.importorskip('torch', reason='torch is not installed')
  source = sources.read(reference.FIXTURES / name / 'model.safetensors')
  loaded = whole(
    dataclasses.replace(source, grid=(3, 9, 9)), frames=frames, crop=crop
  )
  flat = pretrained.names.flatten(loaded.params)
  tensors = files.write(
    dataclasses.replace(source, arrays=flat), Clip(frames, crop)
  )['tensors']
  model.load_state_dict(
    {name: torch.from_numpy(np.array(x)) for name, x in tensors.items()},
    strict=True,
  )
  video = np.random.default_rng(0).normal(size=(2, frames, *crop, 3))
  video = video.astype(np.float32)
  with torch.no_grad():
    expected = model(torch.from_numpy(video.transpose(0, 4, 1, 2, 3)))
  apply = jax.jit(models.build(loaded.config.model).apply)
  with jax.default_matmul_precision('highest'):
    found = apply({'params': loaded.params}, video)['label']
  scale = np.abs(expected.numpy()).max()
  np.testing.assert_allclose(found, expected, atol=2e-5 * scale)


@pytest.mark.parametrize('change, why', [
  (lambda x: {n: a for n, a in x.items() if n != 'cls'}, 'class token'),
  (lambda x: {n: a for n, a in x.items() if 'output' not in n}, 'head'),
  (lambda x: x | {'embedding/kernel': np.zeros((7, 7, 3, 6))}, 'images'),
])  # fmt: skip
def test_what_torchvision_does_not_have_is_refused(change, why):
  source = read(arrays_of('mvit_v2'))
  source = dataclasses.replace(source, arrays=change(dict(source.arrays)))
  with pytest.raises(UserError, match=why):
    files.write(source, Clip())


def test_another_epsilon_is_said():
  source = read(arrays_of('mvit_v2'))
  options = {**source.options, 'norm_pool_epsilon': 1e-5}
  source = dataclasses.replace(source, options=options)
  assert '1e-05' in ' '.join(files.write(source, Clip())['notes'])


# Other sizes, and image models.


def merged(source, frames, crop, **keys):
  """Returns a source's arrays in a model for other clips."""
  model = read(arrays_of('mvit_v2')).experiment['model']
  options = {'version': 2} | model['options'] | keys
  config = ModelConfig('mvit', 'B', heads={'label': 7}, options=options)
  clip = configs.from_mapping({'data': {'frames': frames, 'crop': crop}})
  config = dataclasses.replace(clip, model=config)
  initial = pretrained.shapes(config)
  return merge.merge(source, initial, Target(config.model, frames, crop))


def test_an_image_model_is_repeated_over_time():
  """Not divided; its tables are interpolated, and its head is left out."""
  arrays = {
    name: x[:, :, 1] if x.ndim == 5 else x
    for name, x in arrays_of('mvit_v2').items()
    if 'rel_pos_t' not in name
  }
  source = read(arrays)
  assert source.experiment is None and source.models == (weights.IMAGE_MVIT,)
  found = merged(source, 4, (44, 44))
  kernel = arrays['patch_embed.proj.weight'].transpose(2, 3, 1, 0)
  pool = arrays['blocks.1.attn.pool_k.weight'].transpose(2, 3, 1, 0)
  block = weights.ATTENTION.format(1)
  for name, image in (
    ('embedding/kernel', kernel), (f'{block}/pool_k/kernel', pool),
  ):  # fmt: skip
    for frame in found.arrays[name]:
      np.testing.assert_array_equal(frame, image)
  table = found.arrays[f'{block}/rel_pos_h']  # 11 to 5 rows, of 9 and 7
  expected = resize.interpolate(
    arrays['blocks.1.attn.rel_pos_h'], 0, len(table), 'linear'
  )
  np.testing.assert_array_equal(table, expected)
  fresh = {name.rpartition('/')[2] for name in found.names('fresh')}
  assert fresh == {'rel_pos_t', 'kernel', 'bias'}
  assert all(
    name.endswith('rel_pos_t') or name.startswith('output_projection')
    for name in found.names('fresh')
  )


def test_v2_at_another_clip_has_tables_of_other_lengths():
  found = merged(read(arrays_of('mvit_v2')), 10, (52, 52))
  attention = weights.ATTENTION.format(0)
  assert found.arrays[f'{attention}/rel_pos_t'].shape == (9, 6)
  assert found.arrays[f'{attention}/rel_pos_w'].shape == (25, 6)
  # Centres of 9 rows of 5: the first is at -0.22, the second at 0.33.
  old = arrays_of('mvit_v2')['blocks.0.attn.rel_pos_t']
  new = found.arrays[f'{attention}/rel_pos_t']
  np.testing.assert_allclose(new[0], old[0], atol=1e-6)
  share = 1.5 * 5 / 9 - 0.5
  expected = old[0] * (1 - share) + old[1] * share
  np.testing.assert_allclose(new[1], expected, atol=1e-6)


def test_v1_at_another_clip_has_interpolated_positions():
  """In time linearly, in space bicubically, as torch does."""
  arrays = arrays_of('mvit_v1')
  ramp = np.add.outer(10.0 * np.arange(9), np.arange(9)).astype(np.float32)
  arrays['pos_embed_spatial'] = np.repeat(ramp.reshape(1, 81, 1), 8, axis=2)
  time = np.array([0, 10, 30], np.float32)
  arrays['pos_embed_temporal'] = np.repeat(time[None, :, None], 8, axis=2)
  loaded = whole(read(arrays), frames=10, crop=(72, 36))
  positions = loaded.params['Transformer']['posembed_input']
  found = positions['time_embedding'][0, :, 0]
  np.testing.assert_allclose(found, [0, 4, 10, 22, 30], atol=1e-5)
  space = positions['space_embedding'][0, :, 0].reshape(18, 9)
  # Between rows 1 and 2 of 0 to 3, with a = -0.75.
  weights_of_four = np.array([-0.10546875, 0.87890625, 0.26171875, -0.03515625])
  expected = 10 * weights_of_four @ np.arange(4) + np.arange(9)
  np.testing.assert_allclose(space[3], expected, atol=1e-5)


def test_bicubic_positions_are_torchs():
  torch = pytest.importorskip('torch', reason='torch is not installed')
  x = np.random.default_rng(0).normal(size=(9, 9)).astype(np.float32)
  for size in ((18, 9), (5, 7), (14, 20)):
    expected = torch.nn.functional.interpolate(
      torch.from_numpy(x)[None, None], size=size, mode='bicubic'
    )
    found = x
    for axis in (0, 1):
      found = resize.interpolate(found, axis, size[axis], 'cubic')
    np.testing.assert_allclose(found, expected[0, 0], atol=1e-5)


# Damage.


def without(name):
  return lambda arrays: {n: x for n, x in arrays.items() if n != name}


def with_array(name, shape):
  return lambda arrays: arrays | {name: np.zeros(shape, np.float32)}


def without_block(number):
  return lambda arrays: {
    n: x for n, x in arrays.items() if f'blocks.{number}.' not in n
  }


@pytest.mark.parametrize('change, named', [
  (without_block(1), 'encoderblock_1 '),
  (with_array('blocks.0.proj.weight', (6, 6)), 'block 0'),
  (with_array('blocks.0.attn.rel_pos_t', (200001, 6)), '200002 frames'),
  (with_array('blocks.0.attn.rel_pos_h', (55,)), 'rel_pos_h'),
  (with_array('pos_embed', (1, 244, 6)), 'pos_embed'),
  (without('blocks.2.attn.proj.weight'), r'blocks\.2\.attn\.proj\.weight'),
  (without('blocks.2.norm1.weight'), 'encoderblock_2/LayerNorm_0/scale'),
  (without('patch_embed.proj.weight'), 'embedding'),
  (with_array('blocks.1.mlp.fc1.weight', (40, 12)), 'encoderblock_1/MlpBl'),
  (with_array('blocks.1.attn.qkv.weight', (35, 6)), r'blocks\.1\.attn\.qkv'),
  (with_array('blocks.1.gate.weight', (35, 6)), r'blocks\.1\.gate'),
  (with_array('blocks.0.attn.rel_pos_h', (16, 8)), 'rel_pos_h'),  # even
])  # fmt: skip
def test_damaged_files_are_refused_by_name(change, named):
  with pytest.raises(UserError, match=named):
    whole(read(change(arrays_of('mvit_v2'))))


@pytest.mark.parametrize('change, named', [
  (without('head.projection.bias'), 'output_projection/bias'),
  (with_array('head.projection.bias', (1,)), 'output_projection/bias'),
  (with_array('blocks.1.attn.pool_k.weight', (0, 1, 3, 3, 3)), 'pool_k.weight'),
])  # fmt: skip
def test_damage_that_is_found_for_all_families(change, named, tmp_path):
  path = tmp_path / 'model.safetensors'
  save_file(change(arrays_of('mvit_v2')), path)
  with pytest.raises(UserError, match=named):
    sources.read(path)


def test_joint_positions_are_not_taken_for_an_image_vits(tmp_path):
  path = tmp_path / 'model.safetensors'
  joint = {'pos_embed': np.zeros((1, 244, 8), np.float32)}
  parts = {n: x for n, x in arrays_of('mvit_v1').items() if 'pos_' not in n}
  save_file(parts | joint, path)
  with pytest.raises(UserError, match='MViT .*pos_embed'):
    sources.read(path)


def test_a_head_of_one_class_is_refused():
  arrays = arrays_of('mvit_v2')
  for name in ('head.projection.weight', 'head.projection.bias'):
    arrays[name] = arrays[name][:1]
  with pytest.raises(UserError, match='one class'):
    whole(read(arrays))


def test_the_other_version_is_refused():
  with pytest.raises(UserError, match='version'):
    merged(read(arrays_of('mvit_v1')), 6, (36, 36))


def test_a_description_names_version_stages_and_clip():
  text = convert.describe(sources.read(reference.FIXTURES / 'mvit_v2'))
  for part in ('MViT v2', '4; stages begin at 0, 1, 3', '6 frames of 36'):
    assert part in text
