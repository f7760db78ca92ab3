"""VideoMAE's files of transformers and its authors are read and written."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import reference
import torch_pickles
from safetensors.numpy import load_file, save_file

from vivit_jax import config as configs
from vivit_jax import models
from vivit_jax.checkpoints import (
  convert,
  load,
  merge,
  names,
  pretrained,
  sources,
)
from vivit_jax.errors import UserError
from vivit_jax.models.family import ModelConfig, Target
from vivit_jax.models.preprocessor import NAME as PIXELS
from vivit_jax.models.videomae import files
from vivit_jax.models.weights import Clip, File

FOLDER = reference.FIXTURES / 'videomae'
PRETRAINING = FOLDER / 'pretraining'
CONFIG = json.loads((FOLDER / 'config.json').read_text())
ATTENTION = 'videomae.encoder.layer.{}.attention.attention.{}'


def arrays_of(path=FOLDER):
  return load_file(path / 'model.safetensors')


def read(arrays, config=CONFIG, **fields):
  """Reads arrays as those of a file; `fields` are of `File`."""
  file = File(
    reference.FIXTURES / 'file.pth', 'torch', [*arrays], lambda: dict(arrays),
    config=config, **fields,
  )  # fmt: skip
  assert files.READ.matches(file)
  return files.READ.read(file)


def written(folder, arrays, config):
  folder.mkdir()
  save_file(arrays, folder / 'model.safetensors')
  (folder / 'config.json').write_text(json.dumps(config))
  return folder


@pytest.mark.parametrize('prefix', ['', 'model.', 'module.model.'])
@pytest.mark.parametrize('path', [FOLDER, PRETRAINING])
def test_the_authors_names_give_the_same_model(path, prefix, tmp_path):
  """Version 2 on the hub nests its sizes, and has no classes."""
  theirs = {
    prefix + name: x for name, x in arrays_of(path / 'official').items()
  }
  inner = {'num_heads': 3, 'img_size': 24, 'num_frames': 6, 'num_classes': 0}
  config = {'model_type': 'VideoMAEv2_Base', 'model_config': inner}
  found = sources.read(written(tmp_path / 'hub', theirs, config))
  expected = sources.read(path)
  ours, hubs = (
    {n: x for n, x in one.arrays.items() if n not in one.spare}
    for one in (found, expected)
  )
  reference.assert_same(ours, hubs)
  assert len(found.spare) == (0 if path == FOLDER else 19)
  epsilon = {'norm_epsilon': 1e-6}
  expected.experiment['model']['options'].update(epsilon)
  assert found.experiment == expected.experiment


def test_a_file_states_its_model():
  config = load.load(FOLDER).config
  options = dataclasses.asdict(config.model.options)
  assert options == {
    'tubelet': (2, 8, 8), 'final_norm': False, 'layers': 3, 'width': 24,
    'attention_heads': 3, 'mlp_width': 56, 'gelu': 'exact',
    'norm_epsilon': 1e-12,
  }  # fmt: skip
  data, evaluation = config.data, config.evaluation
  assert (data.frames, data.crop, data.short_side) == (6, (24, 24), 224)
  assert data.mean == (0.485, 0.456, 0.406)
  assert (data.sampling, data.stride) == ('clip', 4)
  assert (evaluation.temporal_views, evaluation.spatial_crops) == (5, 3)
  assert evaluation.average == 'probabilities'
  pixels = {'image_mean': [0.5] * 3, 'size': {'shortest_edge': 32}}
  data = read(arrays_of(), preprocessor=pixels).experiment['data']
  assert (data['mean'], data['short_side']) == ((0.5,) * 3, 32)


def test_layers_that_config_json_leaves_out_are_said():
  assert not any('layers' in x for x in read(arrays_of(), CONFIG).notes)
  fewer = read(arrays_of(), CONFIG | {'num_hidden_layers': 2})
  assert any('2 layers' in x for x in fewer.notes)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
  arrays = arrays_of()
  arrays['fc_norm.weight'] = np.full_like(arrays['fc_norm.weight'], np.nan)
  with pytest.raises(UserError, match=str(tmp_path)):
    sources.read(written(tmp_path / 'nan', arrays, CONFIG))


def test_174_classes_are_something_something():
  arrays = arrays_of()
  for name in ('classifier.weight', 'classifier.bias'):
    arrays[name] = np.resize(arrays[name], (174, *arrays[name].shape[1:]))
  found = read(arrays, CONFIG | {'id2label': {}}).experiment
  assert found['data']['sampling'] == 'segments'
  assert found['evaluation']['temporal_views'] == 2


@pytest.mark.parametrize('layout', ['model', 'module'])
def test_the_authors_files_of_torch(layout, tmp_path):
  arrays = arrays_of(FOLDER / 'official')
  torch_pickles.save(tmp_path / 'checkpoint.pth', arrays, layout)
  (tmp_path / 'config.json').write_text('{"num_heads": 3}')
  found = sources.read(tmp_path / 'checkpoint.pth')
  reference.assert_same(found.arrays, sources.read(FOLDER).arrays)


def test_version_2_on_the_hub_has_no_classes(tmp_path):
  arrays = arrays_of(FOLDER / 'official')
  arrays = {n: x for n, x in arrays.items() if not n.startswith('head.')}
  folder = written(tmp_path / 'hub', arrays, {'model_config': {'num_heads': 3}})
  loaded, whole = load.load(folder, headless=True), load.load(FOLDER)
  assert loaded.label_names == {} and loaded.config.data.frames == 16
  expected = names.flatten(whole.params)
  found = names.flatten(loaded.params)
  assert {*expected} - {*found} == {
    'output_projection/kernel', 'output_projection/bias',
  }  # fmt: skip
  reference.assert_same(found, {name: expected[name] for name in found})
  with pytest.raises(UserError, match='head'):
    load.load(folder)  # for commands that print labels


# Names of biases.


def renamed(arrays, old, new):
  return {name.replace(old, new): x for name, x in arrays.items()}


def test_biases_by_their_names_in_memory():
  arrays = renamed(arrays_of(), '.q_bias', '.query.bias')
  arrays = renamed(arrays, '.v_bias', '.value.bias')
  reference.assert_same(read(arrays).arrays, read(arrays_of()).arrays)
  # Zeros under the new names do not replace the values under the old ones.
  zeros = {n: 0 * x for n, x in arrays.items() if n not in arrays_of()}
  assert len(zeros) == 6
  both = read(zeros | arrays_of()), read(arrays_of() | zeros)
  for found in both:
    reference.assert_same(found.arrays, read(arrays_of()).arrays)


@pytest.mark.parametrize('missing', ['q_bias', 'v_bias', '1.v_bias'])
def test_a_missing_bias_is_never_zero(missing):
  layer, _, bias = missing.rpartition('.')
  arrays = {
    name: x
    for name, x in arrays_of().items()
    if not (name.endswith(bias) and f'layer.{layer}' in name)
  }
  with pytest.raises(UserError, match=bias):
    read(arrays)


@pytest.mark.parametrize('key', ['qkv_bias', 'qv_bias'])
def test_a_config_may_state_that_there_are_none(key):
  arrays = arrays_of()
  arrays = {n: x for n, x in arrays.items() if '_bias' not in n}
  found = read(arrays, CONFIG | {key: False})
  block = 'Transformer/encoderblock_2/MultiHeadDotProductAttention_0'
  for part in ('query', 'value'):
    assert not found.arrays[f'{block}/{part}/bias'].any()
  assert len(found.arrays) == len(read(arrays_of()).arrays)


def test_zero_biases_are_said():
  arrays = {
    name: 0 * x if name.endswith(('q_bias', 'v_bias')) else x
    for name, x in arrays_of().items()
  }
  more = {*read(arrays).notes} - {*read(arrays_of()).notes}
  assert len(more) == 1 and 'zero' in more.pop()


def test_a_key_bias_changes_nothing(tmp_path):
  """Though other implementations have one, and train it."""
  key = np.random.default_rng(0).normal(size=24).astype(np.float32)
  arrays = arrays_of() | {ATTENTION.format(1, 'key.bias'): key}
  folder = written(tmp_path / 'key', arrays, CONFIG)
  one, other = load.load(folder), load.load(FOLDER)
  assert one.digest == other.digest


# Attention heads.


def widened(width, config):
  """Returns the heads of the fixture repeated to another width, and notes."""
  arrays = {
    name: np.resize(x, [width if s == 24 else s for s in x.shape])
    for name, x in arrays_of().items()
  }
  source = read(arrays, config)
  options = source.experiment['model']['options']
  size = source.experiment['model']['size']
  heads = options.get('attention_heads')
  return heads or files.own.SIZES[size].attention_heads, source.notes


@pytest.mark.parametrize('width, stated, heads', [
  (384, 16, 6),  # transformers' mistake
  (384, 8, 8),
  (384, None, 6),
  (1280, None, 16),
  (1408, None, 16),
  (128, None, 2),
])  # fmt: skip
def test_heads_follow_from_the_width(width, stated, heads):
  config = {key: x for key, x in CONFIG.items() if 'num_att' not in key}
  if stated:
    config['num_attention_heads'] = stated
  found, notes = widened(width, config)
  assert found == heads
  said = any('384' in note and '16' in note for note in notes)
  assert said == ((width, stated) == (384, 16))


def test_heads_that_nothing_states_come_from_a_config():
  """Width 24 is no multiple of 64."""
  found = sources.read(FOLDER / 'official')
  assert found.experiment is None and 'attention_heads' in found.obstacle
  expected = load.load(FOLDER)
  loaded = load.load(FOLDER / 'official', config=expected.config)
  assert loaded.digest == expected.digest


# Pretraining.


def merged(path, model, frames=6, crop=(24, 24)):
  config = ModelConfig('videomae', **model)
  shape = configs.from_mapping({'data': {'frames': frames, 'crop': crop}})
  initial = pretrained.shapes(dataclasses.replace(shape, model=config))
  return merge.merge(sources.read(path), initial, Target(config, frames, crop))


def model_of(path, **options):
  model = sources.read(path).experiment['model']
  options = model['options'] | {'final_norm': False} | options
  return {'size': 'B', 'heads': {'label': 9}, 'options': options}


def test_pretraining_starts_a_classifier():
  """Decoder and norm of the tokens are left over; all else is explained."""
  found = merged(PRETRAINING, model_of(PRETRAINING))
  rows = {row.name: row for row in found.rows}
  assert {row.status for row in found.rows} == {'loaded', 'fresh', 'unused'}
  assert {*found.names('fresh')} == {
    'fc_norm/scale', 'fc_norm/bias',
    'output_projection/kernel', 'output_projection/bias',
  }  # fmt: skip
  unused = {*found.names('unused')}
  decoder = {name for name in unused if name.startswith('decoder/')}
  assert len(decoder) == 21 and 'decoder/mask_token' in decoder
  assert unused - decoder == {
    f'Transformer/encoder_norm/{part}' for part in ('scale', 'bias')
  }
  assert {rows[name].reason for name in decoder} == {
    'decoder of the pretraining'
  }
  assert 'pretraining' in rows['fc_norm/scale'].reason
  lines = [x for x in found.table().splitlines() if 'decoder' in x]
  assert len(lines) == 1 and '21 arrays' in lines[0]
  assert len(found.names('loaded')) == 2 + 3 * 15


def test_a_probe_keeps_the_norm_of_the_tokens():
  model = model_of(PRETRAINING, final_norm=True) | {'pool': 'attention'}
  found = merged(PRETRAINING, model)
  assert {name.split('/')[0] for name in found.names('unused')} == {'decoder'}
  fresh = {name.split('/')[0] for name in found.names('fresh')}
  assert fresh == {'MAPHead_0', 'output_projection'}


@pytest.mark.parametrize('path', [FOLDER, PRETRAINING])
def test_another_clip_resizes_nothing(path):
  found = merged(path, model_of(path), frames=10, crop=(16, 40))
  assert not found.names('adapted')


def test_another_pool_gets_another_head():
  model = model_of(FOLDER) | {'pool': 'mean', 'heads': {'label': 7}}
  found = merged(FOLDER, model)
  head = {f'output_projection/{part}' for part in ('kernel', 'bias')}
  assert {*found.names('fresh')} == head
  norm = {f'fc_norm/{part}' for part in ('scale', 'bias')}
  assert {*found.names('unused')} == head | norm


def test_another_tubelet_resizes_the_kernel():
  found = merged(FOLDER, model_of(FOLDER, tubelet=(4, 4, 4)), 8)
  assert found.names('adapted') == ['embedding/kernel']
  assert found.arrays['embedding/kernel'].shape == (4, 4, 4, 3, 24)


def test_the_first_token_is_not_read():
  """transformers reads it where use_mean_pooling is false."""
  arrays = arrays_of()
  for part in ('weight', 'bias'):
    arrays[f'videomae.layernorm.{part}'] = arrays.pop(f'fc_norm.{part}')
  source = read(arrays, CONFIG | {'use_mean_pooling': False})
  config = configs.from_mapping(source.experiment)
  assert config.model.options.final_norm and config.model.pool == 'mean'
  assert any('use_mean_pooling' in note for note in source.notes)
  loaded = pretrained.from_weights(source, '', config, None, lambda text: None)
  video = reference.golden('videomae')['video']
  model = models.build(loaded.config.model)
  found = jax.jit(
    lambda params: model.apply({'params': params}, video, features=True)
  )(loaded.params)
  mean = found.tokens.mean(axis=(1, 2, 3))
  np.testing.assert_allclose(found.pre_logits, mean, atol=1e-6)


# Other models under similar names.


def test_an_image_model_is_refused():
  """BEiT has these names too, but its kernel has no time."""
  arrays = arrays_of(FOLDER / 'official')
  arrays['patch_embed.proj.weight'] = arrays['patch_embed.proj.weight'][:, :, 0]
  with pytest.raises(UserError, match='kernel'):
    read(arrays, {'num_heads': 3})


def test_timms_names_are_not_taken():
  name = ['blocks.0.attn.qkv.weight', 'patch_embed.proj.weight', 'pos_embed']
  assert not files.READ.matches(File(FOLDER, 'torch', name, dict))
  assert files.READ.matches(
    File(FOLDER, 'torch', [*name, 'blocks.0.attn.q_bias'], dict)
  )
  others = [
    one
    for one in models.family.get('joint').imports
    if one.matches(File(FOLDER, 'torch', [*name, 'blocks.0.attn.q_bias'], dict))
  ]
  assert not others


# Written files.


@pytest.mark.parametrize('source', [FOLDER, FOLDER / 'official'])
def test_transformers_file_is_written_bit_for_bit(source, tmp_path):
  folder = tmp_path / 'source'
  shutil.copytree(source, folder)
  (folder / 'config.json').write_text(json.dumps(CONFIG | {'num_heads': 3}))
  convert.convert(folder, tmp_path / 'to', to='huggingface')
  found, expected = arrays_of(tmp_path / 'to'), arrays_of()
  reference.assert_same(found, expected)
  assert {x.dtype for x in found.values()} == {np.dtype(np.float32)}
  config = json.loads((tmp_path / 'to' / 'config.json').read_text())
  for key, value in CONFIG.items():
    kept = 'decoder', 'dtype', 'norm_pix', 'initializer', 'qv_b', 'transformers'
    if not key.startswith(kept):
      assert config[key] == value, key
  pixels = json.loads((tmp_path / 'to' / PIXELS).read_text())
  assert pixels['image_mean'] == [0.485, 0.456, 0.406]
  again = load.load(tmp_path / 'to')
  assert again.digest == load.load(FOLDER).digest


def test_a_run_is_written_too(tmp_path):
  convert.convert(FOLDER, tmp_path / 'run', to='native')
  convert.convert(tmp_path / 'run', tmp_path / 'to', to='huggingface')
  reference.assert_same(arrays_of(tmp_path / 'to'), arrays_of())


@pytest.mark.parametrize('path, change, why', [
  (FOLDER, {'fc_norm/scale': None, 'fc_norm/bias': None}, 'norm the mean'),
  (FOLDER, {'embedding/kernel': np.zeros((2, 8, 4, 3, 24))}, 'tubelets'),
  (PRETRAINING, {}, 'norm of the tokens'),
])  # fmt: skip
def test_what_transformers_does_not_have_is_refused(path, change, why):
  source = sources.read(path)
  arrays = {**source.arrays, **change}
  arrays = {n: x for n, x in arrays.items() if x is not None}
  with pytest.raises(UserError, match=why):
    files.write(dataclasses.replace(source, arrays=arrays), Clip())


def test_a_damaged_file_is_refused():
  arrays = {
    n: x for n, x in arrays_of().items() if 'projection.weight' not in n
  }
  with pytest.raises(UserError, match='kernel'):
    read(arrays)
  unknown = arrays_of() | {'videomae.adapter.weight': np.zeros(3)}
  with pytest.raises(UserError, match='adapter'):
    read(unknown)
  assert names.flatten(load.load(FOLDER).params).keys() == {
    *read(arrays_of()).arrays
  }
