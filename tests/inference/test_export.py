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
    return dict(file)


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
def test_probabilities_equal_the_models_without_the_package(
  family, changes, tmp_path
):
  model, video = predictor(family, **changes), clips(3)
  folder = export.export(model, tmp_path / 'out')
  found = run_apart(folder, video, LOADER)
  expected = expected_of(model, video, 1) | expected_of(model, video, 3)
  assert found.keys() == expected.keys()
  for name, shares in expected.items():
    assert np.ptp(shares) > 0.05
    np.testing.assert_allclose(found[name], shares, atol=1e-5)


@pytest.mark.parametrize(
  'changes', [{'scan': True}, {'embedding': 'uniform_frames'}]
)
def test_probabilities_of_variants(changes, tmp_path):
  model, video = predictor(**changes), clips(3)
  folder = export.export(model, tmp_path / 'out')
  found = run_here(folder, video)
  for name, shares in expected_of(model, video, 3).items():
    np.testing.assert_allclose(found[name], shares, atol=1e-5)


def test_probabilities_in_bfloat16(tmp_path):
  """Another compilation rounds elsewhere: 8 bits, so a hundredth."""
  model, video = predictor('joint', dtype='bfloat16'), clips(3)
  folder = export.export(model, tmp_path / 'out')
  found = run_here(folder, video)
  for name, shares in expected_of(model, video, 3).items():
    np.testing.assert_allclose(found[name], shares, atol=1e-2)
  precise = predictor('joint').logits(video)
  assert np.abs(precise['one'] - model.logits(video)['one']).max() > 1e-4


def test_parameters_may_lie_beside_it(tmp_path):
  model, video = predictor(), clips(3)
  folder = export.export(model, tmp_path / 'out', beside=True)
  sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
  assert sizes['model.jax_export'] < 100_000 < sizes['parameters.npz']
  with np.load(folder / 'parameters.npz') as file:
    parameters = [file[name] for name in sorted(file.files)]
  found = run_here(folder, video, parameters)
  for name, shares in expected_of(model, video, 3).items():
    np.testing.assert_allclose(found[name], shares, atol=1e-5)


@pytest.mark.parametrize('beside', [False, True])
def test_the_usage_in_its_description_runs(beside, tmp_path):
  model = predictor()
  folder = export.export(model, tmp_path / 'out', beside=beside)
  about = json.loads((folder / 'model.json').read_text('utf-8'))
  code = [*about['usage'], "np.savez('../found.npz', **probabilities)"]
  found = run_apart(folder, clips(1), '\n'.join(code))
  expected = expected_of(model, np.zeros_like(clips(1)), 1)
  for head in NAMES:
    np.testing.assert_allclose(found[head], expected[f'{head}1'], atol=1e-5)


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
  folder = export.export(model, tmp_path / 'out', size=(40, 50))
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
  fitted = np.asarray(export.centre_crop((40, 50), CROP, 20)(video), np.uint8)
  for name, shares in expected_of(model, fitted, 3).items():
    np.testing.assert_allclose(found[name], shares, atol=1e-5)
    assert np.abs(shares - other[name]).max() > 1e-3
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
  for path in (tmp_path, tmp_path / 'kept', tmp_path / 'kept' / 'a' / 'b'):
    with pytest.raises(UserError, match=str(path)):
      export.export(predictor(), path, platforms=['cpu'])
  assert [path.name for path in tmp_path.iterdir()] == ['kept']
  assert (tmp_path / 'kept').read_text() == 'mine'


def test_parameters_above_the_limit_are_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(export, '_MAX_INSIDE', 1 << 20)
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


@pytest.fixture
def workdir(config, trained):
  return trained(config)


def run(*arguments, stdout=subprocess.PIPE, cwd=ROOT):
  command = [sys.executable, '-m', 'vivit_jax.export', *map(str, arguments)]
  return subprocess.run(
    command, cwd=cwd, env=os.environ | {'PYTHONPATH': str(ROOT)},
    stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=300,
  )  # fmt: skip


def test_the_command_exports_a_workdir(workdir, tmp_path):
  out = tmp_path / 'exported'
  done = run(
    f'--workdir={workdir}', f'--out={out}', '--platforms=cpu',
    '--resize=48x64', '--parameters=beside', '--multi_label=verb',
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert str(out / 'model.jax_export') in done.stdout
  about = json.loads((out / 'model.json').read_text())
  assert about['inputs']['video']['shape'] == ['b', 4, 48, 64, 3]
  assert about['platforms'] == ['cpu']
  assert about['outputs']['verb']['probabilities'].startswith('sigmoid')
  assert about['outputs']['noun']['probabilities'].startswith('softmax')
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


@pytest.mark.parametrize(
  'arguments, word',
  [
    (['--workdir=x'], '--out'),
    (['--out=there'], '--workdir'),
    (['--out=there', '--workdir=nowhere'], 'nowhere'),
    (['--out=there', '--checkpoint=best'], '--workdir'),
    (['--out=there', '--checkpoint=x', '--resize=48'], '--resize'),
  ],
)
def test_a_mistake_is_one_sentence(arguments, word, tmp_path):
  done = run(*arguments, cwd=tmp_path)
  assert done.returncode == 2
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert word in done.stderr
  assert not list(tmp_path.iterdir())


INTERRUPTED = """
import gc, os, runpy, signal, sys
from vivit_jax.inference import export

def interrupt(*_):
  gc.callbacks.clear()
  os.kill(os.getpid(), signal.SIGINT)

def sha256(path):
  print(*os.listdir(path.parent.parent), flush=True)
  gc.callbacks[:] = [interrupt]
  gc.collect()

export._sha256 = sha256
runpy.run_module('vivit_jax.export', run_name='__main__')
"""


def test_an_interrupt_in_a_garbage_collection_is_heeded(workdir, tmp_path):
  (tmp_path / 'into').mkdir()
  done = subprocess.run(
    [
      sys.executable, '-c', INTERRUPTED, f'--workdir={workdir}',
      f'--out={tmp_path / "into" / "exported"}', '--platforms=cpu',
    ],
    cwd=ROOT, capture_output=True, text=True, timeout=300,
  )  # fmt: skip
  assert done.stdout.startswith('.exported.')  # half-written
  assert done.returncode == 130, done.stderr
  assert done.stderr.strip() == 'interrupted'
  assert not os.listdir(tmp_path / 'into')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='of Linux')
def test_a_full_output_is_one_sentence(workdir, tmp_path):
  out = tmp_path / 'exported'
  with open('/dev/full', 'w') as full:
    done = run(
      f'--workdir={workdir}', f'--out={out}', '--platforms=cpu', stdout=full
    )
  assert done.returncode == 2
  (line,) = done.stderr.splitlines()
  assert line.startswith('error: ') and 'No space left' in line
