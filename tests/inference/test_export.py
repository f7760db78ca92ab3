"""Export: artefacts run without this package, and the command."""

import dataclasses
import hashlib
import importlib.util
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
from vivit_jax.inference import export, export_formats, export_program
from vivit_jax.inference.predictor import Predictor
from vivit_jax.models import stacking

# Not in the order of the alphabet, in which jax has the keys of a dict.
NAMES = {'one': [f'class {n}' for n in range(5)], 'many': ['a', 'ß "b"', 'c']}
FRAMES, CROP = 4, (16, 24)
ROOT = pathlib.Path(vivit_jax.__file__).parents[1]


def predictor(family='joint', **changes):
  config = configs.default(family)
  config.model.size = 'Ti'
  options = config.model.options
  sizes = {'width': 32, 'attention_heads': 2, 'mlp_width': 64}
  sizes |= {'tubelet': (2, 8, 8), 'patch': 8}
  if family != 'video_swin':  # whose sizes are of each stage
    options.update({key: x for key, x in sizes.items() if key in options})
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


def run_stablehlo(folder):
  data = (folder / 'model.jax_export').read_bytes()
  return jax.export.deserialize(bytearray(data)).call


def named(*inputs):
  return dict(zip(('video', 'frame_numbers'), inputs))


def run_savedmodel(folder):
  import tensorflow as tf

  loaded = tf.saved_model.load(str(folder / 'savedmodel'))
  call = loaded.signatures['serving_default']
  return lambda *inputs: call(**named(*map(tf.constant, inputs)))


def run_tflite(folder):
  import tensorflow as tf

  path = str(folder / 'model.tflite')
  call = tf.lite.Interpreter(path).get_signature_runner()
  return lambda *inputs: call(**named(*inputs))


def run_onnx(folder):
  onnxruntime = pytest.importorskip('onnxruntime')
  session = onnxruntime.InferenceSession(str(folder / 'model.onnx'))
  heads = [output.name for output in session.get_outputs()]
  return lambda *inputs: dict(zip(heads, session.run(heads, named(*inputs))))


RUNTIMES = {
  'stablehlo': run_stablehlo,
  'savedmodel': run_savedmodel,
  'tflite': run_tflite,
  'onnx': run_onnx,
}


def run(
  folder, video, *parameters, format='stablehlo', counts=(1, 3), numbers=None
):
  """Returns the probabilities of an artefact for these numbers of clips."""
  inputs = [video] if numbers is None else [video, numbers]
  call = RUNTIMES[format](folder)
  return {
    f'{head}{count}': np.asarray(shares)
    for count in counts
    for head, shares in call(*parameters, *(x[:count] for x in inputs)).items()
  }


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def expected_of(model, video, count, numbers=None):
  logits = model.logits(
    video[:count], None if numbers is None else numbers[:count]
  )
  return {
    f'many{count}': 1 / (1 + np.exp(-logits['many'])),
    f'one{count}': softmax(logits['one']),
  }


def slow(*values):
  return pytest.param(*values, marks=pytest.mark.slow)


MODELS = {
  'joint': ('joint', {}),
  'encoder': ('factorised_encoder', {}),
  'self_attention': ('factorised_self_attention', {}),
  'dot_product': ('factorised_dot_product', {}),
  'order': ('factorised_self_attention', {'order': 'time_space'}),
  'average': ('factorised_encoder', {'temporal_layers': 0}),
  'mean': ('joint', {'pool': 'mean', 'gelu': 'exact'}),
  'attention': ('factorised_encoder', {'pool': 'attention'}),
  'stacked': ('joint', {'scan': True, 'remat': 'full', 'representation': 8}),
  'bfloat16': ('joint', {'dtype': 'bfloat16'}),
  'frames': (
    'joint', {'embedding': 'uniform_frames', 'positions': 'sinusoidal_3d'}
  ),
  'divided': ('timesformer', {}),
  'stam': ('stam', {}),
  'videomae': ('videomae', {'size': 'S'}),
  'videoprism': ('videoprism', {'size': 'B', 'table': (3, 3, 3)}),
  'vtn': ('vtn', {}),
  'mvit': ('mvit', {'size': 'B', 'layers': 2, 'stages': (1,)}),
  'mvit_v1': (
    'mvit', {'size': 'B', 'layers': 2, 'stages': (1,), 'version': 1}
  ),
  'vjepa2': ('vjepa2', {'size': 'L'}),
  'video_swin': (
    'video_swin',
    {
      'size': 'T', 'width': 12, 'depths': (2, 2), 'attention_heads': (2, 3),
      'window': (2, 2, 2),
    },
  ),
}  # fmt: skip


@pytest.mark.parametrize(
  'format, batch, model',
  [
    ('stablehlo', None, 'joint'),
    ('tflite', None, 'encoder'),
    ('onnx', 3, 'encoder'),
    *(slow('stablehlo', None, model) for model in list(MODELS)[1:]),
    # A SavedModel holds StableHLO.
    *(
      slow('savedmodel', None, model)
      for model in (*list(MODELS)[:4], 'mean', 'mvit', 'video_swin')
    ),
    slow('tflite', 3, 'encoder'),
    *(slow('tflite', None, model) for model in MODELS if model != 'encoder'),
    *(('onnx', None, model) for model in MODELS),
  ],
)
def test_probabilities_equal_the_models(format, batch, model, tmp_path):
  """In the format's own runtime; TFLite and ONNX compute in float32."""
  if format == 'onnx':
    pytest.importorskip('jax2onnx')
  family, changes = MODELS[model]
  model, video, tolerance = predictor(family, **changes), clips(3), 1e-5
  folder = export.export(model, tmp_path / 'out', format=format, batch=batch)
  if 'dtype' in changes:
    if format in ('tflite', 'onnx'):
      model = predictor(family)
    else:  # Another compilation rounds elsewhere: 8 bits, so a hundredth.
      tolerance = 1e-2
  about = json.loads((folder / 'model.json').read_text('utf-8'))
  fixed = about['inputs']['video']['shape'][0]
  assert fixed == (batch or 'b')
  counts, numbers = (1, 3) if fixed == 'b' else (fixed,), None
  if family == 'vtn':
    numbers = np.array([[0, 2, 5, 300], [7, 8, 9, 10], [280, 290, 300, 310]])
    numbers = numbers.astype(np.int32)
  found = run(folder, video, format=format, counts=counts, numbers=numbers)
  for count in counts:
    for name, shares in expected_of(model, video, count, numbers).items():
      assert np.ptp(shares) > 0.02
      np.testing.assert_allclose(found[name], shares, atol=tolerance)


@pytest.mark.parametrize(
  'format, beside, package, absent',
  [
    ('stablehlo', False, 'jax', {'flax'}),
    ('stablehlo', True, 'jax', {'flax'}),
    slow('savedmodel', False, 'tensorflow', {'flax'}),
    ('tflite', False, 'ai_edge_litert', {'jax', 'tensorflow'}),
    ('onnx', False, 'jax2onnx', {'jax', 'jax2onnx', 'tensorflow'}),
  ],
)
def test_the_usage_in_its_description_runs_without_this_package(
  format, beside, package, absent, tmp_path
):
  if not importlib.util.find_spec(package):
    pytest.skip(f'{package} is not installed')
  model = predictor()
  folder = export.export(model, tmp_path / 'out', format=format, beside=beside)
  about = json.loads((folder / 'model.json').read_text('utf-8'))
  program = '\n'.join(
    [
      *about['usage'],
      'import sys',
      f'assert not {absent | {"vivit_jax"}} & set(sys.modules)',
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
  assert (folder / 'parameters.npz').exists() == beside
  if beside:
    size = (folder / 'model.jax_export').stat().st_size
    assert size < (folder / 'parameters.npz').stat().st_size


@pytest.mark.parametrize('size', [(30, 50), (16, 24), (9, 40), (64, 20)])
def test_frames_of_another_size_are_cut_as_in_evaluation(size):
  """To a level: it is rounded once, where cv2 counts in fixed point."""
  frames = clips(1, size)[0]
  box = sampling.uniform_boxes(size, CROP, 20, 1)[0]
  expected = [sampling.crop_and_resize(frame, box, CROP) for frame in frames]
  found = np.asarray(export_program.centre_crop(size, CROP, 20)(frames))
  assert found.shape == (FRAMES, *CROP, 3)
  assert np.abs(found - np.stack(expected)).max() <= 1


@pytest.mark.parametrize(
  'format', ['stablehlo', slow('savedmodel'), slow('tflite'), 'onnx']
)
def test_resizing_is_inside(format, tmp_path):
  if format == 'onnx':
    pytest.importorskip('jax2onnx')
  model, video = predictor(), clips(3, (40, 50))
  folder = export.export(
    model, tmp_path / 'out', format=format, size=(40, 50), batch=3
  )
  found = run(folder, video, format=format, counts=(3,))
  fitted = np.asarray(
    export_program.centre_crop((40, 50), CROP, 20)(video), np.uint8
  )
  for name, shares in expected_of(model, fitted, 3).items():
    np.testing.assert_allclose(found[name], shares, atol=1e-5)
  about = json.loads((folder / 'model.json').read_text())
  assert about['inputs']['video']['shape'] == [3, FRAMES, 40, 50, 3]


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


def test_existing_files_are_not_overwritten(tmp_path):
  (tmp_path / 'kept').write_text('mine')
  for path in (tmp_path, tmp_path / 'kept'):
    with pytest.raises(UserError, match=str(path)):
      export.export(predictor(), path, platforms=['cpu'])
  assert [path.name for path in tmp_path.iterdir()] == ['kept']
  assert (tmp_path / 'kept').read_text() == 'mine'


@pytest.mark.parametrize('format', ['stablehlo', 'tflite'])
def test_parameters_above_the_limit_are_refused(format, tmp_path, monkeypatch):
  monkeypatch.setattr(export_formats, 'MAX_INSIDE', 1 << 10)
  with pytest.raises(UserError, match='--parameters=beside'):
    export.export(predictor(), tmp_path / 'out', format=format)
  assert not list(tmp_path.iterdir())


def test_onnx_keeps_parameters_above_the_limit_beside(tmp_path, monkeypatch):
  pytest.importorskip('jax2onnx')
  monkeypatch.setattr(export_formats, 'MAX_INSIDE', 1 << 10)
  model, video = predictor(), clips(1)
  folder = export.export(model, tmp_path / 'out', format='onnx')
  about = json.loads((folder / 'model.json').read_text('utf-8'))
  assert set(about['sha256']) == {'model.onnx', 'model.onnx.data'}
  found = run(folder, video, format='onnx', counts=(1,))
  for name, shares in expected_of(model, video, 1).items():
    np.testing.assert_allclose(found[name], shares, atol=1e-4)


@pytest.mark.parametrize(
  'options, words',
  [
    ({'format': 'tflite', 'beside': True}, '--parameters=beside .*tflite'),
    ({'format': 'onnx', 'platforms': ['cpu']}, '--platforms .*onnx'),
    ({'format': 'onyx'}, "--format .*'onyx'"),
    ({'platforms': ['gpu']}, "--platforms .*'gpu'"),
    ({'platforms': []}, '--platforms'),
  ],
)
def test_options_that_a_format_lacks_are_refused(options, words, tmp_path):
  with pytest.raises(UserError, match=words):
    export.export(predictor(), tmp_path / 'out', **options)
  assert not list(tmp_path.iterdir())


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'jax2onnx', None)
  with pytest.raises(UserError, match='jax2onnx.*requirements-export.txt'):
    export.export(predictor(), tmp_path / 'out', format='onnx')
  assert not list(tmp_path.iterdir())


def test_a_model_that_a_converter_refuses(tmp_path, monkeypatch):
  def fail(*_):
    raise NotImplementedError('no such operation\nmore')

  tflite = dataclasses.replace(export_formats.FORMATS['tflite'], write=fail)
  monkeypatch.setitem(export_formats.FORMATS, 'tflite', tflite)
  with pytest.raises(UserError, match='tflite.*no such operation'):
    export.export(predictor(), tmp_path / 'out', format='tflite')
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
