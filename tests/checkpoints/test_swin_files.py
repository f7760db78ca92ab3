"""Swin's files are read and written as torchvision and the official code do."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import reference
from safetensors.numpy import load_file, save_file

from vivit_jax import models
from vivit_jax.checkpoints import convert, load, pretrained, sources
from vivit_jax.errors import UserError
from vivit_jax.models.family import Resizing, Target
from vivit_jax.models.video_swin import files, weights
from vivit_jax.models.weights import Clip, File

VIDEO = reference.FIXTURES / 'swin3d'
IMAGE = reference.FIXTURES / 'swin2d'


def test_both_containers_have_the_same_arrays():
  paths = VIDEO / 'model.safetensors', VIDEO / 'checkpoint.pth'
  found = [sources.read(path) for path in paths]
  assert found[0].arrays.keys() == found[1].arrays.keys()
  for name, array in found[0].arrays.items():
    np.testing.assert_array_equal(found[1].arrays[name], array, err_msg=name)
  assert found[1].experiment['evaluation']['views_from'] == 'parts'
  assert found[0].experiment['data']['frames_per_second'] == 15.0


def test_a_file_states_its_model():
  source = sources.read(VIDEO / 'checkpoint.pth')
  stated = json.loads((VIDEO / 'config.json').read_text())
  options = source.experiment['model']['options']
  assert options['window'] == tuple(stated['window_size'])
  assert options['depths'] == tuple(stated['depths'])
  assert options['attention_heads'] == tuple(stated['num_heads'])
  assert (options['width'], options['mlp_ratio']) == (8, 4)
  assert options['tubelet'] == (2, 4, 4)


def opened(change, folder=VIDEO):
  """Returns the arrays of a fixture as an opened file, changed."""
  path = folder / 'model.safetensors'
  arrays = load_file(path)
  change(arrays)
  return File(path, 'safetensors', list(arrays), lambda: arrays)


@pytest.mark.parametrize(
  'window, with_index',
  [
    ((8, 7, 7), False),
    ((16, 7, 7), False),
    ((2, 5, 3), True),
    ((1, 3, 3), True),  # whose index is that of (3, 1, 3), too
  ],
)
def test_the_window_is_read_off_the_table(window, with_index):
  def change(arrays):
    rows = np.prod([2 * side - 1 for side in window])
    for name in [*arrays]:
      if name.endswith(weights.TABLE):
        heads = arrays[name].shape[1]
        arrays[name] = np.zeros((rows, heads), np.float32)
      if name.endswith('relative_position_index'):
        # Of the query and key at the window's ends, as torchvision has it.
        arrays[name] = files.relative_index(window)
        if not with_index:
          del arrays[name]

  options = files.read(opened(change)).experiment['model']['options']
  assert options['window'] == window


def test_174_classes_are_something_something():
  def change(arrays):
    for part, shape in (('weight', (174, 16)), ('bias', (174,))):
      arrays[f'cls_head.fc_cls.{part}'] = np.zeros(shape, np.float32)

  path = VIDEO / 'checkpoint.pth'
  file = sources.detect.opened(path)
  arrays = file.load()
  change(arrays)
  file = dataclasses.replace(file, load=lambda: arrays)
  experiment = files.read(file).experiment
  assert experiment['data']['sampling'] == 'segments'
  assert experiment['evaluation']['temporal_views'] == 1


def removed(name):
  return lambda arrays: arrays.pop(name)


def renamed(arrays):
  arrays['features.0.0.attn.logit_scale'] = np.zeros(3, np.float32)


def resized(rows):
  def change(arrays):
    for name in [*arrays]:
      if name.endswith(weights.TABLE):
        heads = arrays[name].shape[1]
        arrays[name] = np.broadcast_to(np.float32(0), (rows, heads))
      if name.endswith('relative_position_index'):
        del arrays[name]

  return change


@pytest.mark.parametrize(
  'change, name',
  [
    (removed('patch_embed.proj.weight'), 'patch_embed.proj.weight'),
    (removed(f'features.2.0.attn.{weights.TABLE}'), weights.TABLE),
    (renamed, 'logit_scale'),
    (resized(50), '50 rows'),  # an even number
    (resized(15 * 299 * 299), 'rows'),  # of 180000 tokens
  ],
)
def test_a_damaged_file_is_refused(change, name):
  with pytest.raises(UserError, match=name):
    files.read(opened(change))


@pytest.mark.parametrize('name', ['norm.weight', 'features.1.norm.bias'])
def test_a_missing_array_is_named(name, tmp_path):
  arrays = load_file(VIDEO / 'model.safetensors')
  del arrays[name]
  save_file(arrays, tmp_path / 'model.safetensors')
  ours = 'encoder_norm/scale' if name == 'norm.weight' else 'merging0/norm/bias'
  with pytest.raises(UserError, match=ours):
    load.load(tmp_path / 'model.safetensors', say=lambda text: None)


def test_image_files_of_both_projects_are_equal():
  """torchvision's names have the patch as the first two features."""

  def change(arrays):
    for name in [*arrays]:
      new = name.replace('patch_embed.proj', 'features.0.0')
      new = new.replace('patch_embed.norm', 'features.0.2')
      new = new.replace('mlp.fc1', 'mlp.0').replace('mlp.fc2', 'mlp.3')
      for stage in range(2):
        new = new.replace(f'layers.{stage}.blocks', f'features.{1 + 2 * stage}')
        new = new.replace(
          f'layers.{stage}.downsample', f'features.{2 + 2 * stage}'
        )
      arrays[new] = arrays.pop(name)

  expected = sources.read(IMAGE / 'checkpoint.pth')
  found = files.read(opened(change, IMAGE))
  assert found.models == expected.models == (weights.IMAGE_SWIN,)
  assert found.arrays.keys() == expected.arrays.keys()
  for name, array in expected.arrays.items():
    np.testing.assert_array_equal(found.arrays[name], array, err_msg=name)


def test_torchvisions_file_is_written_bit_for_bit(tmp_path):
  path = tmp_path / 'swin.safetensors'
  convert.convert(VIDEO / 'checkpoint.pth', path, to='torchvision')
  found, expected = load_file(path), load_file(VIDEO / 'model.safetensors')
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    assert found[name].dtype == array.dtype
    np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_torchvision_gives_the_same_logits(tmp_path):
  torch = pytest.importorskip('torch')
  swin = pytest.importorskip('torchvision.models.video.swin_transformer')
  path = tmp_path / 'swin.safetensors'
  convert.convert(VIDEO / 'checkpoint.pth', path, to='torchvision')
  theirs = swin.SwinTransformer3d(
    [2, 4, 4], 8, [2, 2], [2, 4], [4, 3, 3], num_classes=7
  ).eval()
  tensors = {n: torch.from_numpy(x) for n, x in load_file(path).items()}
  theirs.load_state_dict(tensors, strict=True)
  loaded = load.load(path, say=lambda text: None)
  video = np.random.default_rng(0).normal(size=(1, 7, 21, 30, 3))
  video = video.astype(np.float32)
  with torch.no_grad():
    expected = theirs(torch.from_numpy(np.moveaxis(video, -1, 1))).numpy()
  with jax.default_matmul_precision('highest'):
    model = models.build(loaded.config.model)
    found = jax.jit(model.apply)({'params': loaded.params}, video)['label']
  atol = 2e-5 * np.abs(expected).max()
  np.testing.assert_allclose(found, expected, atol=atol)


def test_several_heads_are_not_written():
  source = sources.read(VIDEO / 'checkpoint.pth')
  names = {'verb': ['a'] * 3, 'noun': ['b'] * 4}
  with pytest.raises(UserError, match='heads'):
    files.write(dataclasses.replace(source, label_names=names), Clip())


def test_an_image_model_is_no_classifier_of_videos():
  with pytest.raises(UserError, match='init_from'):
    load.load(IMAGE / 'model.safetensors', say=lambda text: None)


def test_options_of_the_source_are_checked():
  config = dataclasses.replace(
    reference.swin_config((4, 3, 3), 32), init_options={'window': (4, 3)}
  )
  with pytest.raises(UserError, match='init_options.window'):
    pretrained.read(VIDEO / 'checkpoint.pth', config)


def test_another_window_of_the_source_than_its_tables_is_refused():
  config = reference.swin_config((8, 3, 3), 32)
  config = dataclasses.replace(config, init_options={'window': (4, 5, 3)})
  path = VIDEO / 'checkpoint.pth'
  source = pretrained.read(path, config)
  with pytest.raises(UserError, match='init_options.window'):
    pretrained.from_weights(source, str(path), config, None)


def test_the_second_version_is_refused_by_name(tmp_path):
  arrays = load_file(IMAGE / 'model.safetensors')
  old = weights.TABLE
  arrays = {n.replace(old, 'logit_scale'): x for n, x in arrays.items()}
  path = tmp_path / 'model.safetensors'
  save_file(arrays, path)
  with pytest.raises(UserError, match='V2'):
    sources.read(path)


def test_inspect_states_the_window():
  assert 'window (4, 3, 3)' in convert.describe(
    sources.read(VIDEO / 'checkpoint.pth')
  )
  assert 'window  3x3' in convert.describe(
    sources.read(IMAGE / 'checkpoint.pth')
  )


def test_an_image_model_starts_one_of_another_tubelet():
  """Divided by its frames and interpolated: a sum over pixels stays."""
  config = reference.swin_config((4, 3, 3), 32).model
  initial = np.zeros((3, 8, 8, 3, 8), np.float32)
  source = sources.read(IMAGE / 'checkpoint.pth')
  value = np.ones((4, 4, 3, 8), np.float32)
  target = Target(config, 32, (28, 44))
  array = Resizing('embedding/kernel', value, initial, source, target)
  found, how = weights.resize_kernel(array)
  np.testing.assert_allclose(found, np.full(initial.shape, 16 / 64 / 3), 1e-6)
  assert 'inflated' in how


def test_a_table_is_resized_to_another_window():
  """A table that is linear in all distances stays so inside."""
  source = dataclasses.replace(sources.read(VIDEO / 'checkpoint.pth'))
  config = reference.swin_config((8, 3, 3), 32).model
  name = f'stage0/encoderblock_0/{weights.TABLE}'
  distance = np.arange(-3, 4, dtype=np.float32)
  value = np.repeat(distance, 25)[:, None]
  initial = np.zeros((15 * 25, 1), np.float32)
  array = Resizing(name, value, initial, source, Target(config, 32, (28, 44)))
  found, how = weights.resize_table(array)
  assert how
  found = found.reshape(15, 25)
  np.testing.assert_allclose(found, found[:, :1] + np.zeros((1, 25)), atol=1e-6)
  np.testing.assert_allclose(np.diff(found[1:-1, 0]), 7 / 15, atol=1e-5)
