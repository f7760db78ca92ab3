"""Loading from paths of all kinds gives the same model, or a refusal."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import reference
from flax import serialization
from made import NAMES, blocks, parameters

import vivit_jax
from vivit_jax import config as configs
from vivit_jax.checkpoints import convert
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.errors import UserError

FRAMES = blocks(11, 16, (32, 48))


def probabilities(predictor, head='verb'):
  return predictor.predict(FRAMES).heads[head].every


def test_a_checkpoint_alone_says_what_it_is(config, trained):
  workdir = trained(config)
  expected = probabilities(vivit_jax.load(workdir))
  for path, checkpoint in (
    (workdir / 'checkpoints' / '5', 'best'),
    (workdir / 'checkpoints', 'best'),
    (workdir, 'last'),
    (workdir, 5),
  ):
    found = vivit_jax.load(path, checkpoint=checkpoint)
    np.testing.assert_array_equal(probabilities(found), expected)
  alone = workdir.with_name('alone')
  shutil.copytree(workdir / 'checkpoints', alone / 'checkpoints')
  found = vivit_jax.load(alone)
  np.testing.assert_array_equal(probabilities(found), expected)
  assert found.label_names == NAMES
  assert found.preprocessing == {
    'frames': 4,
    'stride': 3,
    'frames_per_second': None,
    'short_side': 40,
    'crop': (32, 32),
    'mean': (0.5, 0.5, 0.5),
    'std': (0.5, 0.5, 0.5),
  }


def test_averaged_weights_by_option(config, tmp_path):
  params = parameters(config)
  halved = {'output_projection': params['output_projection']}
  halved = {k: {n: x / 2 for n, x in v.items()} for k, v in halved.items()}
  with Store(tmp_path) as store:
    state = {'params': params, 'ema': params | halved}
    store.save(1, state, Description(config, NAMES))
  plain, averaged = (vivit_jax.load(tmp_path, ema=e) for e in (False, True))
  clips = plain.clips(FRAMES)
  np.testing.assert_allclose(
    averaged.logits(clips)['noun'], plain.logits(clips)['noun'] / 2, atol=1e-5
  )
  assert 'averaged weights' in averaged.name


def test_options_replace_the_configs_own(config, trained):
  data = dataclasses.replace(config.data, frames_per_second=7.0)
  workdir = trained(dataclasses.replace(config, data=data))
  predictor = vivit_jax.load(workdir, stride=2)
  assert predictor.preprocessing['stride'] == 2
  clip = predictor.clips(FRAMES, views='1x1')
  by_hand = vivit_jax.load(workdir).clips(
    FRAMES[4:11:2], views='1x1', frames_per_second=7.0
  )
  np.testing.assert_array_equal(clip, by_hand)  # over 7 of 16 frames
  with pytest.raises(UserError, match='data.short_videos'):
    vivit_jax.load(workdir, short_videos='guess')


def test_other_names_of_the_same_classes(config, trained, tmp_path):
  workdir = trained(config)
  other = {
    head: [name.upper() for name in names] for head, names in NAMES.items()
  }
  (tmp_path / 'names.json').write_text(json.dumps(other))
  for given in (other, tmp_path / 'names.json'):
    found = vivit_jax.load(workdir, class_order=given)
    assert found.predict(FRAMES).heads['noun'].labels[0].isupper()
  with pytest.raises(UserError, match='noun .*verb'):
    vivit_jax.load(workdir, class_order={'noun': NAMES['noun']})


def test_heads_of_many_labels(config, trained):
  predictor = vivit_jax.load(trained(config), multi_label=['noun'])
  clips = predictor.clips(FRAMES)
  mean = predictor.logits(clips)['noun'].astype(float).mean(axis=0)
  expected = 1 / (1 + np.exp(-mean))
  np.testing.assert_allclose(probabilities(predictor, 'noun'), expected)
  with pytest.raises(UserError, match="'nouns'.* noun"):
    vivit_jax.load(trained(config, 'again'), multi_label=['nouns'])


def test_descriptions_keep_which_heads_have_many_labels(config):
  about = Description(config, NAMES, multi_label=('verb',))
  assert Description.from_json(about.to_json()) == about
  older = about.to_json()
  del older['multi_label']
  assert Description.from_json(older).multi_label == ()


@pytest.fixture
def joint():
  """Returns the config of the reference's small Model 1."""
  config = configs.default('joint')
  config.model.options.update(layers=3, **reference.SIZE)
  config.data.frames, config.data.crop = 8, (48, 48)
  config.data.short_side = 48
  config.data.mean, config.data.std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
  return configs.resolve(config)


def test_the_reference_with_a_config(joint, tmp_path):
  source = reference.FIXTURES / 'model1_joint'
  clip = blocks(2, 8, (48, 48))
  predictor = vivit_jax.load(source, config=joint)
  assert predictor.label_names == {'label': [f'class {n}' for n in range(11)]}
  network = reference.model('model1_joint')
  x = (clip[None] / 255.0 - np.array(joint.data.mean)) / joint.data.std
  expected = network.apply(
    {'params': reference.parameters('model1_joint')}, x.astype(np.float32)
  )['label']
  np.testing.assert_allclose(
    predictor.logits(clip[None])['label'], expected, atol=1e-5
  )
  names = [f'name {n}' for n in range(11)]
  said = []
  predictor = vivit_jax.load(
    source, config=joint, class_order={'deed': names}, say=said.append
  )
  assert predictor.label_names == {'deed': names}
  assert '56 arrays' in said[0]
  with pytest.raises(UserError, match='11'):
    vivit_jax.load(source, config=joint, class_order={'deed': names[:5]})
  model = dataclasses.replace(joint.model, heads={'label': 7})
  other = dataclasses.replace(joint, model=model)
  with pytest.raises(UserError, match='output_projection'):
    vivit_jax.load(source, config=other)


def test_a_hugging_face_folder_needs_no_config(joint, tmp_path):
  names = [f'name {n}' for n in range(11)]
  tree = serialization.msgpack_serialize(
    {'params': reference.parameters('model1_joint')}
  )
  (tmp_path / 'scenic').write_bytes(tree)
  config = dataclasses.replace(
    joint, model=dataclasses.replace(joint.model, heads={'label': 11})
  )
  (tmp_path / 'run').mkdir()
  with Store(tmp_path / 'run') as store:
    params = reference.parameters('model1_joint')
    store.save(0, {'params': params}, Description(config, {'label': names}))
  folder = tmp_path / 'face'
  convert.convert(tmp_path / 'run', folder, to='huggingface')
  expected = vivit_jax.load(tmp_path / 'run').predict(FRAMES, views='1x1')
  for path in (folder, folder / 'model.safetensors'):
    predictor = vivit_jax.load(path)
    found = predictor.predict(FRAMES, views='1x1').heads['label']
    assert found.labels == expected.heads['label'].labels
    np.testing.assert_allclose(
      found.every, expected.heads['label'].every, atol=1e-5
    )
  assert predictor.config.data.short_side == 48
  assert predictor.config.model.options.layers == 3


@pytest.mark.parametrize(
  ('preprocessor', 'mean', 'std'),
  [
    ({}, 0.5, 0.5),
    ({'offset': True, 'rescale_factor': 1 / 127.5}, 0.5, 0.5),
    ({'offset': False, 'do_normalize': False}, 0.0, 1.0),
    (
      {
        'offset': False,
        'rescale_factor': 1 / 127.5,
        'image_mean': [0.8] * 3,
        'image_std': [0.4] * 3,
      },
      0.4,
      0.2,
    ),
  ],
)
def test_pixels_of_a_preprocessor(tmp_path, preprocessor, mean, std):
  folder = hugging_face(tmp_path / 'face')
  if preprocessor:
    other = folder / 'preprocessor_config.json'
    other.write_text(json.dumps(preprocessor))
  data = vivit_jax.load(folder).config.data
  np.testing.assert_allclose(data.mean, [mean] * 3)
  np.testing.assert_allclose(data.std, [std] * 3)
  assert (data.frames, data.crop, data.short_side) == (8, (48, 48), 256)


def hugging_face(folder, **changes):
  """Writes the reference's Model 1, without a preprocessor's config."""
  source = reference.FIXTURES / 'model1_joint'
  convert.convert(source, folder, to='huggingface', frames=8, crop=48)
  (folder / 'preprocessor_config.json').unlink()
  written = {
    'model_type': 'vivit',
    'num_attention_heads': 4,
    'hidden_size': 48,
    'intermediate_size': 96,
    'num_hidden_layers': 3,
    'tubelet_size': [2, 16, 16],
    'num_frames': 8,
    'image_size': 48,
  }
  (folder / 'config.json').write_text(json.dumps(written | changes))
  return folder


def test_a_hugging_face_folder_of_any_width():
  folder = reference.FIXTURES / 'huggingface_vivit'
  predictor = vivit_jax.load(folder)
  golden = reference.golden('huggingface_vivit')
  found = predictor.model.apply({'params': predictor.params}, golden['video'])
  np.testing.assert_allclose(found['label'], golden['logits'], atol=2e-5)


@pytest.mark.parametrize(
  ('changes', 'why'),
  [
    ({'hidden_size': 50}, 'width of 50'),
    ({'num_frames': 7}, 'data.frames'),
    ({'num_frames': None}, 'config.json'),
    ({'tubelet_size': 16}, 'config.json'),
  ],
)
def test_configs_that_cannot_be_built(tmp_path, changes, why):
  folder = hugging_face(tmp_path / 'face', **changes)
  with pytest.raises(UserError, match=why):
    vivit_jax.load(folder)


def test_what_cannot_be_loaded_is_refused(config, trained, tmp_path):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'unfinished' / 'checkpoints').mkdir(parents=True)
  (tmp_path / 'text').write_text('hello')
  workdir = trained(config)
  twice = NAMES | {'noun': ['cup', 'jar', 'cup']}
  for path, options, why in (
    (None, {}, 'None'),
    (3, {}, '3'),
    (tmp_path / 'none', {}, 'none'),
    (tmp_path / 'empty', {}, 'empty'),
    (tmp_path / 'unfinished', {}, 'unfinished'),
    (tmp_path / 'text', {}, 'text'),
    (tmp_path / 'text', {'config': config}, 'text'),
    (reference.FIXTURES / 'model1_joint', {}, 'model1_joint .*--config'),
    (workdir, {'checkpoint': 7}, "'7'"),
    (workdir, {'config': 'none.py'}, 'none.py'),
    (workdir, {'multi_label': 'noun'}, 'multi_label'),
    *(
      (workdir, {'class_order': wrong}, 'class_order')
      for wrong in (twice, {'noun': 'cup'}, {}, [1], 7)
    ),
  ):
    with pytest.raises(UserError, match=why):
      vivit_jax.load(path, **options)


def test_importing_is_light():
  code = (
    'import sys, vivit_jax; print([name for name in '
    "('jax', 'numpy', 'tensorflow', 'orbax') if name in sys.modules]); "
    'from vivit_jax.checkpoints import load; '
    "print('tensorflow' in sys.modules)"
  )
  root = pathlib.Path(vivit_jax.__file__).parents[1]
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, cwd=root
  )
  assert done.stdout.split('\n')[:2] == ['[]', 'False'], done.stderr


def test_a_damaged_checkpoint_is_named(config, trained):
  workdir = trained(config)
  for path in (workdir / 'checkpoints' / '5').rglob('*'):
    if path.is_file() and 'state' in str(path):
      path.write_bytes(b'')
  with pytest.raises(UserError, match='checkpoint 5 '):
    vivit_jax.load(workdir)


def test_damaged_names_are_not_called_missing(config, trained, tmp_path):
  workdir, path = trained(config), tmp_path / 'names.json'
  path.write_text(json.dumps(NAMES)[:-5])
  with pytest.raises(UserError, match=r'names\.json'):
    vivit_jax.load(workdir, class_order=path)
  with pytest.raises(UserError, match=r'none\.json'):
    vivit_jax.load(workdir, class_order=tmp_path / 'none.json')


def test_the_config_may_be_a_runs_own_file(config, trained, tmp_path):
  workdir = trained(config)
  expected = probabilities(vivit_jax.load(workdir))
  given = {
    'config': workdir / 'config.json',
    'class_order': NAMES,
  }
  found = vivit_jax.load(workdir / 'checkpoints' / '5', **given)
  np.testing.assert_array_equal(probabilities(found), expected)
  broken = tmp_path / 'broken.json'
  broken.write_text(given['config'].read_text()[:-9])
  with pytest.raises(UserError, match=r'broken\.json'):
    vivit_jax.load(workdir / 'checkpoints' / '5', config=broken)
  broken.write_bytes(b'\xff\xfe\x00')
  with pytest.raises(UserError, match=r'broken\.json'):
    vivit_jax.load(workdir / 'checkpoints' / '5', config=broken)
