"""TimeSformer's files are read, resized and written as their projects do."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import reference
from safetensors.numpy import load_file

from vivit_jax import models
from vivit_jax.checkpoints import convert, load, sources
from vivit_jax.errors import UserError
from vivit_jax.models import family as families
from vivit_jax.models import preprocessor
from vivit_jax.models.family import ModelConfig, Resizing, Target
from vivit_jax.models.timesformer import huggingface, official, weights
from vivit_jax.models.weights import IMAGE_VIT, Clip, File, Weights

OFFICIAL = reference.FIXTURES / 'timesformer_official'
HUGGING_FACE = reference.FIXTURES / 'huggingface_timesformer'
PIXELS = {
  'image_processor_type': 'VideoMAEImageProcessor',
  'size': {'shortest_edge': 40},
  'crop_size': {'height': 32, 'width': 32},
  'image_mean': [0.45] * 3,
  'image_std': [0.225] * 3,
}


@pytest.mark.parametrize('name, attention', [
  ('timesformer_official', 'divided'),
  ('timesformer_joint', 'joint'),
  ('timesformer_space_only', 'space'),
  ('huggingface_timesformer', 'divided'),
])  # fmt: skip
def test_a_file_states_its_model(name, attention):
  loaded = load.load(reference.FIXTURES / name)
  data, options = loaded.config.data, loaded.config.model.options
  assert (options.attention, options.patch) == (attention, 8)
  assert data.frames == (8 if attention == 'space' else 3)
  assert data.crop == (32, 32) and data.mean == (0.45,) * 3
  assert data.frames_per_second == pytest.approx(30 / 32)
  golden = reference.golden(name)
  apply = jax.jit(models.build(loaded.config.model).apply)
  with jax.default_matmul_precision('highest'):
    found = apply({'params': loaded.params}, golden['video'])['label']
  scale = np.abs(golden['logits']).max()
  np.testing.assert_allclose(found, golden['logits'], atol=2e-5 * scale)


def with_arrays(change, cfg='', config=None):
  """Reads the official file with changed arrays, cfg and config.json."""
  path = OFFICIAL / 'model.safetensors'
  arrays = {n.removeprefix('model.'): x for n, x in load_file(path).items()}
  arrays |= change(arrays)
  config = {'num_heads': 3} if config is None else config
  return official.read(
    File(
      path,
      'torch',
      list(arrays),
      lambda: dict(arrays),
      config=config,
      prefix='model.',
      extras={'cfg': cfg},
    )
  )


def nothing(arrays):
  return {}


@pytest.mark.parametrize('cfg, key, value', [
  ('DATA:\n  SAMPLING_RATE: 16\n', 'frames_per_second', 30 / 16),
  ('DATA:\n  MEAN: [0.1, 0.2, 0.3]\n', 'mean', (0.1, 0.2, 0.3)),
  ('DATA:\n  STD: [0.1, 0.2, 0.3]\n', 'std', (0.1, 0.2, 0.3)),
  ('DATA: 3', 'frames', 3),
  ('', 'sampling', 'span'),
])  # fmt: skip
def test_the_trainers_cfg_is_read(cfg, key, value):
  assert with_arrays(nothing, cfg).experiment['data'][key] == value


@pytest.mark.parametrize('cfg', [
  'DATA: [', 'DATA:\n  SAMPLING_RATE: x', 'DATA:\n  SAMPLING_RATE: 0',
  'DATA:\n  MEAN: [1]', '!!python/object/apply:os.mkdir [made]',
])  # fmt: skip
def test_a_damaged_cfg_is_refused(cfg):
  with pytest.raises(UserError, match='cfg'):
    with_arrays(nothing, cfg)


def test_174_classes_are_something_something_in_bgr():
  def change(arrays):
    return {
      'head.weight': np.zeros((174, 24), np.float32),
      'head.bias': np.zeros(174, np.float32),
    }

  data = with_arrays(change).experiment['data']
  assert (data['sampling'], data['channels']) == ('segments', 'bgr')
  assert 'frames_per_second' not in data


def test_unknown_heads_are_asked_for_and_taken_from_a_config():
  stated = load.load(OFFICIAL)
  source = with_arrays(nothing, config={})  # width 24
  assert source.experiment is None and 'attention_heads' in source.obstacle
  resize = dict(families.get('timesformer').resize)[weights.RESIZE[-1][0]]
  name = 'Transformer/encoderblock_0/MultiHeadDotProductAttention_0/query/bias'
  block = stated.params['Transformer']['encoderblock_0']
  expected = block['MultiHeadDotProductAttention_0']['query']['bias']
  value, _ = resize(Resizing(name, source.arrays[name], expected, source, None))
  np.testing.assert_array_equal(value, expected)


def target(frames, crop):
  config = ModelConfig('timesformer', options={'patch': 8, 'width': 1})
  return Target(config, frames, crop)


@pytest.mark.parametrize('models_of, grid, count, crop, expected', [
  # 2 x 2 to 3 x 4, by rows and columns.
  (('timesformer',), None, 4, (24, 32), [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3]),
  # The count fits: unchanged, unless the source's grid is known.
  (('timesformer',), None, 4, (8, 32), [0, 1, 2, 3]),
  (('timesformer',), (1, 2, 2), 4, (8, 32), [0, 0, 1, 1]),
  # An image model's: along the sequence.
  ((IMAGE_VIT,), None, 4, (16, 32), [0, 0, 1, 1, 2, 2, 3, 3]),
])  # fmt: skip
def test_positions_in_space_by_hand(models_of, grid, count, crop, expected):
  value = np.arange(-1, count, dtype=np.float32)[None, :, None]
  source = Weights(
    '',
    {'cls': np.zeros(1), 'embedding/kernel': np.zeros((1, 8, 8, 3, 1))},
    models_of,
    grid=grid,
  )
  initial = np.zeros((1, 1 + len(expected), 1))
  found, _ = weights.resize_positions(
    Resizing(weights.POSITIONS, value, initial, source, target(2, crop))
  )
  np.testing.assert_array_equal(found[0, :, 0], [-1, *expected])


def test_nearest_is_torchs():
  """Also where float32 rounds an index down: 14 to 46, at 23."""
  torch = pytest.importorskip('torch', reason='torch is not installed')
  for old, new in ((14, 46), (14, 28), (8, 82), (3, 5), (16, 8), (96, 74)):
    x = np.arange(old, dtype=np.float32)
    theirs = torch.nn.functional.interpolate(
      torch.from_numpy(x)[None, None], size=new, mode='nearest'
    )
    np.testing.assert_array_equal(weights.nearest(x, 0, new), theirs[0, 0])


# Hugging Face.


def exported(name, folder):
  """Converts a fixture to a Hugging Face folder."""
  source = reference.FIXTURES / name
  convert.convert(source, folder, to='huggingface')
  return folder


@pytest.mark.parametrize('name', ['timesformer_official', 'timesformer_joint'])
def test_an_export_is_read_back(name, tmp_path):
  folder = exported(name, tmp_path / 'hf')
  first, second = load.load(reference.FIXTURES / name), load.load(folder)
  jax.tree.map(np.testing.assert_array_equal, first.params, second.params)
  assert first.config.model == second.config.model
  assert first.config.data == second.config.data
  config = json.loads((HUGGING_FACE / 'config.json').read_text())
  written = json.loads((folder / 'config.json').read_text())
  assert {*config} - {*written} <= {
    'dtype', 'initializer_range', 'transformers_version'
  }  # fmt: skip


@pytest.mark.parametrize('change, clip, why', [
  (lambda x: {n: a for n, a in x.items() if 'time_embedding' not in n
              and 'temporal' not in n}, {}, 'within frames'),
  (lambda x: {n: a for n, a in x.items() if n != 'cls'}, {}, 'class token'),
  (lambda x: {n: a for n, a in x.items() if 'output_p' not in n}, {}, 'head'),
  (lambda x: x, {'crop': (32, 40)}, '32, 40'),
  (lambda x: x, {'frames': 4}, '4 frames'),
])  # fmt: skip
def test_what_transformers_does_not_have_is_refused(change, clip, why):
  source = sources.read(HUGGING_FACE)
  source = dataclasses.replace(source, arrays=change(dict(source.arrays)))
  with pytest.raises(UserError, match=why):
    huggingface.write(source, Clip(**{'frames': 3, 'crop': (32, 32)} | clip))


FOLLOWED = pytest.mark.parametrize('changes, short_side, mean, std', [
  ({}, 40, 0.45, 0.225),
  ({'offset': True}, 40, 0.45, 0.225),  # not of this processor
  ({'feature_extractor_type': 'VideoMAEFeatureExtractor'}, 40, 0.45, 0.225),
  ({'do_normalize': False}, 40, 0, 1),
  ({'size': 48, 'rescale_factor': 1 / 100}, 48, 0.45 / 2.55, 0.225 / 2.55),
])  # fmt: skip


def with_preprocessor(folder, changes):
  shutil.copytree(HUGGING_FACE, folder)
  (folder / preprocessor.NAME).write_text(json.dumps(PIXELS | changes))
  return folder


@FOLLOWED
def test_the_preprocessor_is_followed(changes, short_side, mean, std, tmp_path):
  folder = with_preprocessor(tmp_path / 'hf', changes)
  data = sources.read(folder).experiment['data']
  assert data['short_side'] == short_side
  np.testing.assert_allclose(data['mean'], [mean] * 3)
  np.testing.assert_allclose(data['std'], [std] * 3)


@FOLLOWED
def test_transformers_gives_the_same_pixels(
  changes, short_side, mean, std, tmp_path
):
  pytest.importorskip('torch', reason='torch is not installed')
  pytest.importorskip('transformers')
  from transformers.models.videomae import image_processing_pil_videomae

  processor = (
    image_processing_pil_videomae.VideoMAEImageProcessorPil.from_pretrained(
      with_preprocessor(tmp_path / 'hf', changes)
    )
  )
  side = (short_side, short_side + 8, 3)
  frame = np.random.default_rng(0).integers(0, 256, side, np.uint8)
  found = processor([frame] * 2, return_tensors='np')['pixel_values'][0][0]
  top = (short_side - 32) // 2
  crop = frame[top : top + 32, top + 4 : top + 36]
  expected = (crop / 255 - mean) / std
  np.testing.assert_allclose(found, expected.transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize('name', ['timesformer_official', 'timesformer_joint'])
def test_an_export_gives_its_logits_in_transformers(name, tmp_path):
  torch = pytest.importorskip('torch', reason='torch is not installed')
  transformers = pytest.importorskip('transformers')
  folder = exported(name, tmp_path / 'hf')
  theirs = transformers.TimesformerForVideoClassification.from_pretrained(
    folder
  ).eval()
  golden = reference.golden(name)
  video = torch.from_numpy(golden['video']).permute(0, 1, 4, 2, 3)
  with torch.no_grad():
    found = theirs(video).logits.numpy()
  scale = np.abs(golden['logits']).max()
  np.testing.assert_allclose(found, golden['logits'], atol=2e-5 * scale)
