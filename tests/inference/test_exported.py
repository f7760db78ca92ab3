"""An exported model, loaded and run where this package is not."""

import dataclasses
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from vivit_jax import config as configs
from vivit_jax import models
from vivit_jax.checkpoints.loaded import LoadedModel
from vivit_jax.data import sampling
from vivit_jax.errors import UserError
from vivit_jax.inference import exported, exported_function
from vivit_jax.inference.predictor import Predictor
from vivit_jax.models import stacking

NAMES = {'many': ['a', 'ß "b"', 'c'], 'one': [f'class {n}' for n in range(5)]}
FRAMES, CROP = 4, (16, 24)

# What anybody would write, with jax alone.
LOADER = """
import sys
import numpy as np
from jax import export
model = export.deserialize(bytearray(open('model.jax_export', 'rb').read()))
video = np.load('../video.npy')
found = {}
for count in (1, 3):
  for head, shares in model.call(video[:count]).items():
    found[f'{head}{count}'] = np.asarray(shares)
assert not any(name.startswith(('vivit_jax', 'flax')) for name in sys.modules)
np.savez('../found.npz', **found)
"""


def predictor(family='joint', **changes):
  config = configs.default(family)
  config.model.size = 'S' if family == 'factorised_dot_product' else 'Ti'
  options = config.model.options
  options.tubelet = (2, 8, 8)
  one_layer = {'layers', 'spatial_layers', 'temporal_layers'}
  options.update({key: 1 for key in one_layer if key in options})
  if 'temporal_init' in options:
    options.temporal_init = 'random'
  config.data.frames, config.data.crop = FRAMES, CROP
  config.data.short_side = 20
  config.data.mean, config.data.std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
  for key, value in changes.items():
    section = options if key in options else config.model
    section[key] = value
  config = configs.with_heads(
    configs.resolve(config), {head: len(x) for head, x in NAMES.items()}
  )
  model = models.build(config.model)
  clip = np.zeros((1, FRAMES, *CROP, 3), np.float32)
  params = model.init(jax.random.key(0), clip)['params']
  head = params['output_projection']
  head['kernel'] = 0.2 * jax.random.normal(
    jax.random.key(1), head['kernel'].shape
  )
  params = jax.tree.map(np.asarray, params)
  if config.model.scan:
    params = stacking.unstack(params)
  return Predictor(LoadedModel('step 7', config, params, NAMES, ('many',)))


def clips(count, size=CROP):
  draw = np.random.default_rng(0)
  return draw.integers(0, 256, (count, FRAMES, *size, 3), np.uint8)


def run_apart(folder, video, code):
  """Runs code where the package cannot be imported; returns found.npz."""
  np.save(folder.parent / 'video.npy', video)
  script = folder.parent / 'load.py'
  script.write_text(code)
  done = subprocess.run(
    [sys.executable, '-I', script],
    cwd=folder,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': ''},
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  with np.load(folder.parent / 'found.npz') as file:
    return dict(file), done.stdout


def run_here(folder, video, *parameters):
  """Returns what `run_apart` does of LOADER, in this process."""
  data = (folder / 'model.jax_export').read_bytes()
  model = jax.export.deserialize(bytearray(data))
  return {
    f'{head}{count}': np.asarray(shares)
    for count in (1, 3)
    for head, shares in model.call(*parameters, video[:count]).items()
  }


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def expected_of(model, video, count):
  logits = model.logits(video[:count])
  return {
    f'many{count}': 1 / (1 + np.exp(-logits['many'])),
    f'one{count}': softmax(logits['one']),
  }


@pytest.mark.parametrize(
  'family, changes',
  [
    ('joint', {'representation': 8}),
    ('factorised_encoder', {}),
    ('factorised_self_attention', {'order': 'time_space'}),
    ('factorised_dot_product', {}),
  ],
)
def test_it_gives_the_models_probabilities_without_the_package(
  family, changes, tmp_path
):
  model, video = predictor(family, **changes), clips(3)
  folder = exported.export(model, tmp_path / 'out', exported.Options())
  found, _ = run_apart(folder, video, LOADER)
  expected = expected_of(model, video, 1) | expected_of(model, video, 3)
  assert found.keys() == expected.keys()
  for name, shares in expected.items():
    assert np.ptp(shares) > 0.05
    np.testing.assert_allclose(found[name], shares, atol=1e-5)


@pytest.mark.parametrize(
  'changes', [{'scan': True}, {'embedding': 'uniform_frames'}]
)
def test_it_gives_the_probabilities_of_variants(changes, tmp_path):
  model, video = predictor(**changes), clips(3)
  folder = exported.export(model, tmp_path / 'out', exported.Options())
  found = run_here(folder, video)
  for name, shares in expected_of(model, video, 3).items():
    np.testing.assert_allclose(found[name], shares, atol=1e-5)


def test_in_bfloat16_it_is_as_near_as_the_model_to_itself(tmp_path):
  """Another compilation rounds elsewhere: 8 bits, so a hundredth."""
  model, video = predictor('joint', dtype='bfloat16'), clips(3)
  folder = exported.export(model, tmp_path / 'out', exported.Options())
  found = run_here(folder, video)
  for name, shares in expected_of(model, video, 3).items():
    np.testing.assert_allclose(found[name], shares, atol=1e-2)
  precise = predictor('joint').logits(video)
  assert np.abs(precise['one'] - model.logits(video)['one']).max() > 1e-4


def test_parameters_may_lie_beside_it(tmp_path):
  model, video = predictor(), clips(3)
  options = exported.Options(beside=True)
  folder = exported.export(model, tmp_path / 'out', options)
  sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
  assert sizes['model.jax_export'] < 100_000 < sizes['parameters.npz']
  with np.load(folder / 'parameters.npz') as file:
    parameters = [file[name] for name in sorted(file.files)]
  found = run_here(folder, video, parameters)
  for name, shares in expected_of(model, video, 3).items():
    np.testing.assert_allclose(found[name], shares, atol=1e-5)


@pytest.mark.parametrize('beside', [False, True])
def test_the_readmes_own_lines_run(beside, tmp_path):
  options = exported.Options(beside=beside)
  model = predictor()
  folder = exported.export(model, tmp_path / 'out', options)
  lines = (folder / 'README.txt').read_text().splitlines()
  code = '\n'.join(line[4:] for line in lines if line.startswith('    '))
  code += "\nnp.savez('../found.npz', **probabilities)"
  found, printed = run_apart(folder, clips(1), code)
  expected = expected_of(model, np.zeros_like(clips(1)), 1)
  for head in NAMES:
    np.testing.assert_allclose(found[head], expected[f'{head}1'], atol=1e-5)
    likeliest = NAMES[head][int(expected[f'{head}1'].argmax())]
    assert f'{head} {likeliest}\n' in printed


@pytest.mark.parametrize('size', [(30, 50), (16, 24), (9, 40), (64, 20)])
def test_frames_of_another_size_are_cut_as_in_evaluation(size):
  """To a level: it is rounded once, where cv2 counts in fixed point."""
  frames = clips(1, size)[0]
  box = sampling.uniform_boxes(size, CROP, 20, 1)[0]
  expected = [sampling.crop_and_resize(frame, box, CROP) for frame in frames]
  found = np.asarray(exported_function.fitter(size, CROP, 20)(frames))
  assert found.shape == (FRAMES, *CROP, 3)
  assert np.abs(found - np.stack(expected)).max() <= 1


def test_resizing_is_inside(tmp_path):
  model, video = predictor(), clips(3, (40, 50))
  options = exported.Options(size=(40, 50))
  folder = exported.export(model, tmp_path / 'out', options)
  found = run_here(folder, video)
  box = sampling.uniform_boxes((40, 50), CROP, 20, 1)[0]
  cut = np.array(
    [
      [sampling.crop_and_resize(frame, box, CROP) for frame in clip]
      for clip in video
    ]
  )
  # A level more or less, here and there, is all the difference.
  expected, other = expected_of(model, cut, 3), expected_of(model, cut + 1, 3)
  for name, shares in expected.items():
    np.testing.assert_allclose(found[name], shares, atol=0.03)
  fitted = np.asarray(
    exported_function.fitter((40, 50), CROP, 20)(video), np.uint8
  )
  for name, shares in expected_of(model, fitted, 3).items():
    np.testing.assert_allclose(found[name], shares, atol=1e-5)
    assert np.abs(shares - other[name]).max() > 1e-3
  about = json.loads((folder / 'model.json').read_text())
  assert about['inputs']['video']['shape'] == ['b', FRAMES, 40, 50, 3]


def test_its_description_says_how_to_use_it(tmp_path):
  options = exported.Options(platforms=('cpu', 'tpu'))
  folder = exported.export(predictor(), tmp_path / 'out', options)
  about = json.loads((folder / 'model.json').read_text('utf-8'))
  assert about['outputs']['many']['labels'] == NAMES['many']
  assert about['outputs']['many']['probabilities'].startswith('sigmoid')
  assert about['outputs']['one']['probabilities'].startswith('softmax')
  assert about['preprocessing']['mean'] == [0.4, 0.5, 0.6]
  assert about['preprocessing']['stride'] == 2
  assert about['platforms'] == ['cpu', 'tpu']
  assert about['jax'] == jax.__version__
  data = (folder / 'model.jax_export').read_bytes()
  assert about['sha256'] == {
    'model.jax_export': hashlib.sha256(data).hexdigest()
  }
  artefact = jax.export.deserialize(bytearray(data))
  assert artefact.platforms == ('cpu', 'tpu')


def test_a_saved_model_gives_the_same(tmp_path):
  tf = pytest.importorskip('tensorflow')
  model, video = predictor('factorised_encoder'), clips(3)
  options = exported.Options(platforms=('cpu',), savedmodel=True)
  folder = exported.export(model, tmp_path / 'out', options)
  loaded = tf.saved_model.load(str(folder / 'savedmodel'))
  for count in (1, 3):
    found = loaded.signatures['serving_default'](
      video=tf.constant(video[:count])
    )
    for name, shares in expected_of(model, video, count).items():
      np.testing.assert_allclose(found[name[:-1]].numpy(), shares, atol=1e-5)


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'platforms': ['cpu', 'gpu']}, "'gpu'; known are .*cuda and rocm are"),
    ({'platforms': []}, '--platforms is empty'),
  ],
)
def test_mistakes_are_told_and_nothing_is_written(changes, words, tmp_path):
  options = dataclasses.replace(exported.Options(), **changes)
  with pytest.raises(UserError, match=words):
    exported.export(predictor(), tmp_path / 'out', options)
  assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(tmp_path):
  (tmp_path / 'kept').write_text('mine')
  for there in (tmp_path, tmp_path / 'kept', tmp_path / 'kept' / 'out'):
    with pytest.raises(UserError, match='is there already|cannot write'):
      exported.export(predictor(), there, exported.Options(platforms=['cpu']))
  assert [path.name for path in tmp_path.iterdir()] == ['kept']
  assert (tmp_path / 'kept').read_text() == 'mine'


def test_parameters_that_no_artefact_holds_are_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(exported, '_MOST_INSIDE', 1 << 20)
  with pytest.raises(UserError, match='--parameters=beside'):
    exported.export(predictor(), tmp_path / 'out', exported.Options())
  assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
  def fail(*_, **__):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(np, 'savez', fail)
  options = exported.Options(platforms=('cpu',), beside=True)
  with pytest.raises(UserError, match='cannot write .*No space left'):
    exported.export(predictor(), pathlib.Path(tmp_path, 'out'), options)
  assert not list(tmp_path.iterdir())
