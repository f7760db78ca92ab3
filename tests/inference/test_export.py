"""Export: artefacts run without this package, and the command."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import vivit_jax
from vivit_jax import config as configs
from vivit_jax import models
from vivit_jax.checkpoints.loaded import LoadedModel
from vivit_jax.data import sampling
from vivit_jax.errors import UserError
from vivit_jax.inference import export
from vivit_jax.inference.predictor import Predictor
from vivit_jax.models import stacking

NAMES = {'many': ['a', 'ß "b"', 'c'], 'one': [f'class {n}' for n in range(5)]}
FRAMES, CROP = 4, (16, 24)
ROOT = pathlib.Path(vivit_jax.__file__).parents[1]


def predictor(family='joint', **changes):
  config = configs.default(family)
  config.model.size = 'Ti'
  options = config.model.options
  options.update(tubelet=(2, 8, 8), width=32, attention_heads=2, mlp_width=64)
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
  params = jax.jit(model.init)(jax.random.key(0), clip)['params']
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


def run(folder, video, *parameters):
  """Returns the probabilities of an artefact for one clip and for three."""
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


def slow(*values):
  return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
  'family, changes, tolerance',
  [
    ('joint', {'representation': 8, 'scan': True}, 1e-5),
    # Another compilation rounds elsewhere: 8 bits, so a hundredth.
    slow('joint', {'dtype': 'bfloat16'}, 1e-2),
    slow('joint', {'embedding': 'uniform_frames'}, 1e-5),
    ('factorised_encoder', {}, 1e-5),
    slow('factorised_self_attention', {'order': 'time_space'}, 1e-5),
    slow('factorised_dot_product', {}, 1e-5),
  ],
)
def test_probabilities_equal_the_models(family, changes, tolerance, tmp_path):
  model, video = predictor(family, **changes), clips(3)
  folder = export.export(model, tmp_path / 'out', platforms=['cpu'])
  found = run(folder, video)
  expected = expected_of(model, video, 1) | expected_of(model, video, 3)
  assert found.keys() == expected.keys()
  for name, shares in expected.items():
    assert np.ptp(shares) > 0.05
    np.testing.assert_allclose(found[name], shares, atol=tolerance)


@pytest.mark.parametrize('beside', [False, True])
def test_the_usage_in_its_description_runs_without_this_package(
  beside, tmp_path
):
  model = predictor()
  folder = export.export(model, tmp_path / 'out', beside=beside)
  about = json.loads((folder / 'model.json').read_text('utf-8'))
  program = '\n'.join(
    [
      *about['usage'],
      'import sys',
      "assert not {'vivit_jax', 'flax'} & set(sys.modules)",
      "np.savez('../found.npz', **probabilities)",
    ]
  )
  done = subprocess.run(
    [sys.executable, '-I', '-c', program],
    cwd=folder,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  expected = expected_of(model, np.zeros_like(clips(1)), 1)
  with np.load(tmp_path / 'found.npz') as found:
    for head in NAMES:
      np.testing.assert_allclose(found[head], expected[f'{head}1'], atol=1e-5)
  size = (folder / 'model.jax_export').stat().st_size
  assert (folder / 'parameters.npz').exists() == beside
  assert not beside or size < (folder / 'parameters.npz').stat().st_size


@pytest.mark.parametrize('size', [(30, 50), (16, 24), (9, 40), (64, 20)])
def test_frames_of_another_size_are_cut_as_in_evaluation(size):
  """To a level: it is rounded once, where cv2 counts in fixed point."""
  frames = clips(1, size)[0]
  box = sampling.uniform_boxes(size, CROP, 20, 1)[0]
  expected = [sampling.crop_and_resize(frame, box, CROP) for frame in frames]
  found = np.asarray(export.centre_crop(size, CROP, 20)(frames))
  assert found.shape == (FRAMES, *CROP, 3)
  assert np.abs(found - np.stack(expected)).max() <= 1


def test_resizing_is_inside(tmp_path):
  model, video = predictor(), clips(3, (40, 50))
  folder = export.export(
    model, tmp_path / 'out', size=(40, 50), platforms=['cpu']
  )
  found = run(folder, video)
  box = sampling.uniform_boxes((40, 50), CROP, 20, 1)[0]
  cut = np.array(
    [
      [sampling.crop_and_resize(frame, box, CROP) for frame in clip]
      for clip in video
    ]
  )
  # A level more or less, here and there, is all the difference.
  for name, shares in expected_of(model, cut, 3).items():
    np.testing.assert_allclose(found[name], shares, atol=0.03)
  fitted = np.asarray(export.centre_crop((40, 50), CROP, 20)(video), np.uint8)
  for name, shares in expected_of(model, fitted, 3).items():
    np.testing.assert_allclose(found[name], shares, atol=1e-5)
  about = json.loads((folder / 'model.json').read_text())
  assert about['inputs']['video']['shape'] == ['b', FRAMES, 40, 50, 3]


def test_the_description(tmp_path):
  folder = export.export(
    predictor(), tmp_path / 'out', platforms=('cpu', 'tpu')
  )
  about = json.loads((folder / 'model.json').read_text('utf-8'))
  assert about['outputs']['many']['labels'] == NAMES['many']
  assert about['outputs']['many']['probabilities'].startswith('sigmoid')
  assert about['outputs']['one']['probabilities'].startswith('softmax')
  assert about['preprocessing']['mean'] == [0.4, 0.5, 0.6]
  assert about['preprocessing']['stride'] == 2
  assert about['preprocessing']['sampling'] == 'clip'
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
  folder = export.export(
    model, tmp_path / 'out', platforms=['cpu'], savedmodel=True
  )
  loaded = tf.saved_model.load(str(folder / 'savedmodel'))
  for count in (1, 3):
    found = loaded.signatures['serving_default'](
      video=tf.constant(video[:count])
    )
    for name, shares in expected_of(model, video, count).items():
      np.testing.assert_allclose(found[name[:-1]].numpy(), shares, atol=1e-5)


@pytest.mark.parametrize('platforms, word', [(['gpu'], 'gpu'), ([], '--pla')])
def test_an_unknown_platform_is_refused(platforms, word, tmp_path):
  with pytest.raises(UserError, match=word):
    export.export(predictor(), tmp_path / 'out', platforms=platforms)
  assert not list(tmp_path.iterdir())


def test_existing_files_are_not_overwritten(tmp_path):
  (tmp_path / 'kept').write_text('mine')
  for path in (tmp_path, tmp_path / 'kept'):
    with pytest.raises(UserError, match=str(path)):
      export.export(predictor(), path, platforms=['cpu'])
  assert [path.name for path in tmp_path.iterdir()] == ['kept']
  assert (tmp_path / 'kept').read_text() == 'mine'


def test_parameters_above_the_limit_are_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(export, '_MAX_INSIDE', 1 << 10)
  with pytest.raises(UserError, match='--parameters=beside'):
    export.export(predictor(), tmp_path / 'out')
  assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
  def fail(*_, **__):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(np, 'savez', fail)
  with pytest.raises(UserError, match='out: No space left'):
    export.export(predictor(), tmp_path / 'out', platforms=['cpu'], beside=True)
  assert not list(tmp_path.iterdir())


def test_the_command_exports_a_workdir(config, trained, tmp_path):
  workdir, out = trained(config), tmp_path / 'exported'

  def run(*arguments):
    command = [sys.executable, '-m', 'vivit_jax.export', f'--workdir={workdir}']
    return subprocess.run(
      [*command, *arguments], cwd=ROOT, capture_output=True, text=True
    )

  done = run(f'--out={out}', '--resize=0x48')
  assert done.returncode == 2 and done.stderr.startswith('error: --resize')
  done = run(
    f'--out={out}', '--platforms=cpu', '--resize=48x64',
    '--parameters=beside', '--multi_label=verb',
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert str(out / 'model.jax_export') in done.stdout
  about = json.loads((out / 'model.json').read_text())
  assert about['inputs']['video']['shape'] == ['b', 4, 48, 64, 3]
  assert about['platforms'] == ['cpu']
  model = jax.export.deserialize(
    bytearray((out / 'model.jax_export').read_bytes())
  )
  with np.load(out / 'parameters.npz') as file:
    parameters = [file[name] for name in sorted(file.files)]
  # A clip of the video, whole: 4 frames, every third one.
  video = np.random.default_rng(0).integers(0, 256, (10, 48, 64, 3), np.uint8)
  model_here = vivit_jax.load(workdir, multi_label=['verb'])
  expected = model_here.predict(video, views='1x1').heads
  for head, shares in model.call(parameters, video[None, ::3]).items():
    np.testing.assert_allclose(shares[0], expected[head].every, atol=0.02)
