"""Loading from paths of all kinds gives the same model, or a refusal."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import reference
from made import NAMES, blocks, parameters

import vivit_jax
from vivit_jax import config as configs
from vivit_jax.checkpoints import load
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.errors import UserError

FRAMES = blocks(11, 16, (32, 48))


def probabilities(predictor, head='verb'):
  return predictor.predict(FRAMES).heads[head].every


def check_same(found, expected):
  jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
  assert found.config == expected.config
  assert found.label_names == expected.label_names


def test_a_checkpoint_alone_says_what_it_is(config, trained):
  workdir = trained(config)
  expected = load.load(workdir)
  for path, checkpoint in (
    (workdir / 'checkpoints' / '5', 'best'),
    (workdir / 'checkpoints', 'best'),
    (workdir, 'last'),
    (workdir, 5),
  ):
    check_same(load.load(path, checkpoint=checkpoint), expected)
  alone = workdir.with_name('alone')
  shutil.copytree(workdir / 'checkpoints', alone / 'checkpoints')
  found = load.load(alone)
  check_same(found, expected)
  assert found.label_names == NAMES
  assert found.preprocessing == {
    'frames': 4, 'sampling': 'clip', 'stride': 3, 'frames_per_second': None,
    'short_side': 40, 'crop': (32, 32), 'channels': 'rgb',
    'mean': (0.5, 0.5, 0.5), 'std': (0.5, 0.5, 0.5),
  }  # fmt: skip


def test_averaged_weights_by_option(config, tmp_path):
  params = parameters(config)
  halved = jax.tree.map(lambda x: x / 2, params)
  with Store(tmp_path) as store:
    state = {'params': params, 'ema': halved}
    store.save(1, state, Description(config, NAMES))
  for ema, expected in ((False, params), (True, halved)):
    found = vivit_jax.load(tmp_path, ema=ema)
    jax.tree.map(np.testing.assert_array_equal, found.params, expected)
    assert ('averaged weights' in found.name) == ema


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
    found = load.load(workdir, class_order=given)
    assert found.label_names == other
    assert 'checkpoint' not in found.class_order
  found = load.load(workdir, config=config, class_order=other)
  assert found.label_names == other
  assert 'checkpoint' not in found.class_order
  with pytest.raises(UserError, match='noun.*verb'):
    vivit_jax.load(workdir, class_order={'noun': NAMES['noun']})


def test_heads_of_many_labels(config, trained):
  predictor = vivit_jax.load(trained(config), multi_label=['noun'])
  clips = predictor.clips(FRAMES)
  mean = predictor.logits(clips)['noun'].astype(float).mean(axis=0)
  expected = 1 / (1 + np.exp(-mean))
  np.testing.assert_allclose(probabilities(predictor, 'noun'), expected)


def test_descriptions_keep_which_heads_have_many_labels(config):
  about = Description(config, NAMES, multi_label=('verb',))
  older = dataclasses.asdict(about)
  assert Description.from_json(older) == about
  del older['multi_label']
  assert Description.from_json(older).multi_label == ()


def test_the_reference_with_a_config(tmp_path):
  config = configs.default('joint')
  config.model.options.update(layers=3, **reference.SIZE)
  config.data.frames, config.data.crop = 8, (48, 48)
  config.data.short_side = 48
  config.data.mean, config.data.std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
  joint = configs.resolve(config)
  source = reference.FIXTURES / 'model1_joint'
  clip = blocks(2, 8, (48, 48))
  predictor = vivit_jax.load(source, config=joint)
  assert predictor.label_names == {'label': [f'class {n}' for n in range(11)]}
  # A dataset that is prepared where the config says names them, if it fits.
  known = tmp_path / 'videos' / 'mine' / '1.0.0'
  known.mkdir(parents=True)
  config.data.dataset, config.data.data_dir = 'videos/mine', str(tmp_path)
  for number in (11, 12):
    names = {'deed': [f'deed {n}' for n in range(number)]}
    (known / 'metadata.json').write_text(json.dumps({'label_names': names}))
    said = []
    found = load.load(source, config=configs.resolve(config), say=said.append)
    assert found.digest == load.load(source, config=joint).digest
    assert (found.label_names == names) == (number == 11)
    assert 'assumed' in found.class_order
    assert 'class_order' in said[0]
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


def test_what_cannot_be_loaded_is_refused(config, trained, tmp_path):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'unfinished' / 'checkpoints').mkdir(parents=True)
  (tmp_path / 'text').write_text('hello')
  workdir = trained(config)
  step = workdir / 'checkpoints' / '5'
  cut = tmp_path / 'cut.json'
  cut.write_text(json.dumps(NAMES)[:-5])
  (tmp_path / 'config.json').write_bytes(b'\xff\xfe\x00')
  for path, options, why in (
    (tmp_path / 'none', {}, 'none'),
    (tmp_path / 'empty', {}, 'empty'),
    (tmp_path / 'unfinished', {}, 'unfinished'),
    (tmp_path / 'text', {'config': config}, 'text'),
    (reference.FIXTURES / 'model1_joint', {}, 'model1_joint .*--config'),
    (workdir, {'checkpoint': 7}, "'7'"),
    (workdir, {'config': 'none.py'}, 'none.py'),
    (step, {'config': tmp_path / 'config.json'}, r'config\.json'),
    (workdir, {'multi_label': ['nouns']}, "'nouns'.* noun"),
    (workdir, {'class_order': cut}, r'cut\.json'),
    (workdir, {'class_order': tmp_path / 'none.json'}, r'none\.json'),
    *(
      (workdir, {'class_order': wrong}, 'class_order')
      for wrong in (NAMES | {'noun': ['cup', 'jar', 'cup']}, {}, [1])
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


def test_the_config_may_be_a_runs_own_file(config, trained):
  workdir = trained(config)
  step, own = workdir / 'checkpoints' / '5', workdir / 'config.json'
  found = load.load(step, config=own, class_order=NAMES)
  check_same(found, load.load(workdir))
