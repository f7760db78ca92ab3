"""V-JEPA 2's files are read under two projects' names, and written back."""

import dataclasses
import functools
import json
import re
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
from vivit_jax.models.vjepa2 import files, weights

FIXTURE = reference.FIXTURES / 'vjepa2'
RENAMED = (  # transformers' -> the authors'
  (r'^vjepa2\.encoder\.embeddings\.patch_embeddings', 'backbone.patch_embed'),
  (r'^vjepa2\.encoder\.layernorm', 'backbone.norm'),
  (r'^vjepa2\.encoder\.layer\.(\d+)\.attention', r'backbone.blocks.\1.attn'),
  (r'^vjepa2\.encoder\.layer', 'backbone.blocks'),
  (r'pooler\.self_attention_layers', 'pooler.blocks'),
  (r'pooler\.cross_attention_layer', 'pooler.cross_attention_block'),
  (r'layer_norm', 'norm'),
  (r'self_attn\.out_proj', 'attn.proj'),
  (r'self_attn\.(\w)_proj', r'attn.\1'),
  (r'cross_attn\.(\w)_proj', r'xattn.\1'),
  (r'^classifier', 'linear'),
)


def transformers_arrays():
  return load_file(FIXTURE / 'model.safetensors')


def authors(*, encoder=True, probe=True):
  """Returns the fixture's arrays under the authors' names."""
  arrays = {}
  for name, array in transformers_arrays().items():
    for pattern, theirs in RENAMED:
      name = re.sub(pattern, theirs, name)
    if name.startswith('backbone.') and encoder:
      arrays[f'module.{name}'] = array
    if name.startswith(('pooler.', 'linear.')) and probe:
      arrays[f'module.{name}'] = array
  for first, joined, parts in (
    ('query', 'qkv', ('query', 'key', 'value')),
    ('q', 'qkv', 'qkv'),
    ('k', 'kv', 'kv'),
  ):
    for name in [x for x in arrays if f'attn.{first}.' in x]:
      if joined == 'qkv' and 'xattn' in name:
        continue
      pieces = [
        arrays.pop(name.replace(f'.{first}.', f'.{part}.')) for part in parts
      ]
      arrays[name.replace(f'.{first}.', f'.{joined}.')] = np.concatenate(pieces)
  return arrays


def pt_file(path, **parts):
  """Writes a file of torch; `parts`: key -> arrays, or a list of them."""
  storages, top = [], {}

  def tensors(arrays):
    items = {}
    for name, array in arrays.items():
      key = str(len(storages))
      items[name] = torch_pickles.tensor(key, array.size, array.shape)
      storages.append(np.ascontiguousarray(array).tobytes())
    return torch_pickles.dict_of(items)

  for key, value in parts.items():
    if isinstance(value, list):
      top[key] = b'](' + b''.join(map(tensors, value)) + b'e'
    else:
      top[key] = tensors(value)
  torch_pickles.write(path, torch_pickles.dict_of(top), storages)
  return path


def without_predictor(source):
  return {
    name: x for name, x in source.arrays.items() if name not in source.spare
  }


def test_a_folder_of_transformers_states_its_model():
  source = sources.read(FIXTURE)
  config = configs.from_mapping(source.experiment)
  model, data = config.model, config.data
  assert (model.family, model.options.tubelet) == ('vjepa2', (2, 8, 8))
  pool = model.attention_pool
  assert (pool.form, pool.heads, pool.blocks) == ('vjepa', 2, 2)
  assert pool.epsilon == 1e-5  # the authors'
  assert any('model.attention_pool' in note for note in source.notes)
  assert (data.frames, data.crop) == (6, (24, 24))
  assert data.short_side == 24 * 256 // 224
  assert data.mean == (0.485, 0.456, 0.406)
  assert data.std == (0.229, 0.224, 0.225)
  assert config.evaluation.average == 'probabilities'


def test_the_predictor_is_left_over_and_said():
  source, said = sources.read(FIXTURE), []
  load.load(FIXTURE, say=said.append)
  predictor = {n for n in transformers_arrays() if 'predictor' in n}
  assert len(source.spare) == len(predictor)
  (row,) = [x for x in '\n'.join(said).splitlines() if 'predictor/' in x]
  assert 'unused' in row and f'({len(predictor)} arrays)' in row


@pytest.mark.parametrize('key', ['encoder', 'target_encoder'])
def test_an_encoder_of_the_authors_starts_a_probe(key, tmp_path):
  arrays = authors(probe=False)
  arrays['module.backbone.pos_embed'] = np.ones((1, 27, 40), np.float32)
  parts = {key: arrays}
  if key == 'target_encoder':  # the moving average: it is taken
    parts = {'encoder': {n: x + 1 for n, x in arrays.items()}} | parts
  (tmp_path / 'config.json').write_text('{"num_heads": 2}')
  source = sources.read(pt_file(tmp_path / 'vitl.pt', **parts))
  expected = {
    name: x
    for name, x in without_predictor(sources.read(FIXTURE)).items()
    if not name.startswith(('attention_pool/', 'output_projection/'))
  }
  reference.assert_same(without_predictor(source), expected)
  data = configs.from_mapping(source.experiment).data
  assert (data.frames, data.crop, data.short_side) == (64, (256, 256), 292)

  loaded = load.load(FIXTURE)
  merged = merge.merge(
    source, names.flatten(loaded.params), configs.target(loaded.config)
  )
  assert {*merged.names('loaded')} == expected.keys()
  assert all(
    name.startswith(('attention_pool/', 'output_projection/'))
    for name in merged.names('fresh')
  )
  assert merged.names('unused') == [weights.FIXED_POSITIONS]


def test_a_probe_alone_is_refused_and_joined_with_its_encoder_it_is_read(
  tmp_path,
):
  probe = pt_file(tmp_path / 'probe.pt', classifiers=[authors(encoder=False)])
  with pytest.raises(UserError, match=r'probe\.pt'):
    sources.read(probe)
  pt_file(tmp_path / 'vitl.pt', target_encoder=authors(probe=False))
  (tmp_path / 'config.json').write_text('{"num_heads": 2}')
  index = tmp_path / 'joined.bin.index.json'
  where = dict.fromkeys(authors(probe=False), 'vitl.pt')
  where |= dict.fromkeys(authors(encoder=False), 'probe.pt')
  index.write_text(json.dumps({'weight_map': where}))
  reference.assert_same(
    sources.read(index).arrays, without_predictor(sources.read(FIXTURE))
  )


def test_an_encoder_of_transformers_has_no_prefix(tmp_path):
  arrays = {
    name.removeprefix('vjepa2.'): x
    for name, x in transformers_arrays().items()
    if name.startswith('vjepa2.')
  }
  save_file(arrays, tmp_path / 'model.safetensors')
  shutil.copy(FIXTURE / 'config.json', tmp_path)
  found, expected = sources.read(tmp_path), sources.read(FIXTURE)
  assert not any('pool' in name for name in found.arrays)
  for name, array in found.arrays.items():
    np.testing.assert_array_equal(array, expected.arrays[name])
  # Without a pool, the features are the tokens' mean.
  loaded = load.load(tmp_path, headless=True)
  golden = reference.golden('vjepa2')
  model = models.build(loaded.config.model)
  found = jax.jit(functools.partial(model.apply, features=True))(
    {'params': loaded.params}, golden['video']
  )
  mean = golden['features'].mean((1, 2, 3))
  np.testing.assert_allclose(found.pre_logits, mean, atol=1e-4)


def test_names_of_transformers_need_no_config(tmp_path):
  """The first of the sorted names is the head's, without a prefix."""
  shutil.copy(FIXTURE / 'model.safetensors', tmp_path)
  source = sources.read(tmp_path)
  assert source.models == ('vjepa2',) and source.heads_unknown
  assert 'output_projection/kernel' in source.arrays


def test_a_probe_beside_its_encoder_is_said_to_be_unread(tmp_path):
  both = {'encoder': authors(probe=False)}
  both['classifiers'] = [authors(encoder=False)]
  source = sources.read(pt_file(tmp_path / 'both.pt', **both))
  assert 'encoder' in source.format and 'classifiers' in source.format
  assert 'output_projection/kernel' not in source.arrays


def changed(tmp_path, **config):
  """Writes the fixture's folder with other values in config.json."""
  shutil.copy(FIXTURE / 'model.safetensors', tmp_path)
  values = json.loads((FIXTURE / 'config.json').read_text()) | config
  (tmp_path / 'config.json').write_text(json.dumps(values))
  return tmp_path


def test_the_released_processors_file_is_read(tmp_path):
  pixels = {
    'crop_size': {'height': 24, 'width': 24},
    'image_mean': [0.1, 0.2, 0.3],
    'size': {'shortest_edge': 31},
    'video_processor_type': 'VJEPA2VideoProcessor',
  }
  path = changed(tmp_path) / 'video_preprocessor_config.json'
  assert any('data.mean' in note for note in sources.read(tmp_path).notes)
  path.write_text(json.dumps(pixels))
  source = sources.read(tmp_path)
  assert not any('data.mean' in note for note in source.notes)
  data = configs.from_mapping(source.experiment).data
  assert (data.short_side, data.mean) == (31, (0.1, 0.2, 0.3))
  path.write_text(json.dumps(pixels | {'video_processor_type': 'Another'}))
  assert 'video_processor_type' in sources.read(tmp_path).obstacle


def test_probes_of_diving48_read_four_blocks():
  """Width and classes of the release; a file of shapes alone."""
  arrays = {
    name: np.empty(
      [
        {40: 1024, 96: 4096, 160: 4096, 7: 48, 8: 16}.get(n, n) for n in x.shape
      ],
      np.float16,
    )
    for name, x in transformers_arrays().items()
    if 'predictor' not in name
  }
  path = FIXTURE / 'file.safetensors'
  file = files.File(path, 'safetensors', list(arrays), lambda: dict(arrays))
  source = files.read(file)
  config = configs.from_mapping(source.experiment)
  assert config.model.size == 'L' and config.model.attention_pool.heads == 16
  assert config.model.options.features_of == (17, 19, 21, 23)
  assert any('features_of' in note for note in source.notes)


def test_other_heads_of_the_pool_split_the_same_columns():
  source = sources.read(FIXTURE)
  config = load.load(FIXTURE).config
  pool = dataclasses.replace(config.model.attention_pool, heads=5)
  model = dataclasses.replace(config.model, attention_pool=pool)
  config = dataclasses.replace(config, model=model)
  shapes = pretrained.shapes(config)
  merged = merge.merge(source, shapes, configs.target(config))
  name = 'attention_pool/query/kernel'
  assert merged.arrays[name].shape == (40, 5, 8)
  np.testing.assert_array_equal(
    merged.arrays[name].reshape(40, 40), source.arrays[name].reshape(40, 40)
  )
  assert name in merged.names('adapted') and not merged.names('fresh')


def test_transformers_file_is_written_bit_for_bit(tmp_path):
  notes = convert.convert(FIXTURE, tmp_path / 'hf', to='huggingface')
  reference.assert_same(
    load_file(tmp_path / 'hf' / 'model.safetensors'), transformers_arrays()
  )
  old, new = (
    json.loads((folder / 'config.json').read_text())
    for folder in (FIXTURE, tmp_path / 'hf')
  )
  differ = {key for key in old if old[key] != new.get(key)}
  assert differ <= {
    'attention_dropout', 'drop_path_rate', 'dtype', 'in_chans',
    'initializer_range',
    'pred_num_attention_heads', 'pred_zero_init_mask_tokens',
    'transformers_version',
  }  # fmt: skip
  assert any('1e-6' in note for note in notes)
  first, second = load.load(FIXTURE), load.load(tmp_path / 'hf')
  jax.tree.map(np.testing.assert_array_equal, first.params, second.params)
  assert first.config.model == second.config.model
  assert first.config.data == second.config.data


def test_a_run_is_written_without_a_predictor(tmp_path):
  convert.convert(FIXTURE, tmp_path / 'run', to='native')
  convert.convert(tmp_path / 'run', tmp_path / 'hf', to='huggingface')
  expected = {
    name: x for name, x in transformers_arrays().items()
    if 'predictor' not in name
  }  # fmt: skip
  reference.assert_same(
    load_file(tmp_path / 'hf' / 'model.safetensors'), expected
  )


@pytest.mark.parametrize('change, named', [
  ({'module.backbone.norms_block.0.weight': np.ones(40, np.float32)},
   'norms_block'),
  ({'module.backbone.img_mod_embed': np.ones(40, np.float32)}, 'img_mod_embed'),
  ({'module.pooler.query_tokens': None}, 'query_tokens'),
  ({'module.backbone.patch_embed.proj.weight': np.ones((40, 3, 8, 8),
                                                       np.float32)},
   'patch kernel'),
  ({'module.backbone.blocks.1.attn.qkv.weight': np.ones((119, 40),
                                                        np.float32)},
   'blocks|layer.1'),
  ({'module.pooler.cross_attention_block.xattn.kv.bias': np.ones(79,
                                                                np.float32)},
   'kv_proj.bias'),
  ({'module.backbone.norm.bias': np.ones((), np.float32)}, 'norm.bias'),
])  # fmt: skip
def test_other_networks_and_damaged_files_are_refused(change, named, tmp_path):
  arrays = authors(probe='module.pooler.query_tokens' in change) | change
  arrays = {name: x for name, x in arrays.items() if x is not None}
  (tmp_path / 'config.json').write_text('{"num_heads": 2}')
  path = pt_file(tmp_path / 'file.pt', target_encoder=arrays)
  with pytest.raises(UserError, match=named):
    sources.read(path)


def test_look_alikes_are_told_apart():
  """VideoMAE has q_bias; timm's and TimeSformer's ViTs have positions."""
  ours = [name.removeprefix('module.') for name in authors(probe=False)]
  plain = [name.removeprefix('backbone.') for name in ours]

  def matches(file_names):
    return files.READ.matches(
      files.File(FIXTURE, 'torch', list(file_names), dict)
    )

  assert matches(ours) and matches(plain)
  assert not matches([*plain, 'pos_embed'])
  assert not matches([*plain, 'cls_token'])
  assert not matches(
    [name.replace('attn.qkv.bias', 'attn.q_bias') for name in plain]
  )
  assert not matches([*ours, 'backbone.cls_token'])


@pytest.mark.parametrize('key, why', [
  ('attention_pool/probe', 'pool'), ('output_projection/bias', 'head')
])  # fmt: skip
def test_what_transformers_does_not_have_is_refused(key, why):
  source = sources.read(FIXTURE)
  left = {name: x for name, x in source.arrays.items() if name != key}
  with pytest.raises(UserError, match=why):
    files.write(
      dataclasses.replace(source, arrays=left), files.Clip(6, (24, 24))
    )


# Beside transformers itself.


def test_an_export_gives_its_logits_in_transformers(tmp_path):
  torch = pytest.importorskip('torch', reason='torch is not installed')
  transformers = pytest.importorskip('transformers')
  convert.convert(FIXTURE, tmp_path / 'hf', to='huggingface')
  theirs = transformers.VJEPA2ForVideoClassification.from_pretrained(
    tmp_path / 'hf'
  ).eval()
  golden = reference.golden('vjepa2')
  video = torch.from_numpy(golden['video']).permute(0, 1, 4, 2, 3)
  with torch.no_grad():
    found = theirs(pixel_values_videos=video).logits.numpy()
  scale = np.abs(golden['logits']).max()
  np.testing.assert_allclose(found, golden['logits'], atol=2e-5 * scale)
