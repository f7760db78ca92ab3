"""Models that read frame numbers get the right ones from every command.

The features of the toy family here are its clip's frame numbers. With an
identity as the head, so are its first logits.
"""

import contextlib
import dataclasses
import json

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import vivit_jax
from vivit_jax import config as configs
from vivit_jax import models, parallel
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.data import datasets
from vivit_jax.errors import UserError
from vivit_jax.evaluation import evaluate, forward
from vivit_jax.evaluation.predictions import Table
from vivit_jax.inference import explain, export
from vivit_jax.models import family as families
from vivit_jax.models import rollout as rollouts
from vivit_jax.models.pools import Encoded
from vivit_jax.training import inputs, optim, step, validation

T = 4
SHAPE = (T, 16, 16, 3)


class Same(nn.Module):
  def __call__(self, x):
    return x


class Backbone(nn.Module):
  @nn.compact
  def __call__(self, video, mode):
    numbers = mode.frame_BxT
    if numbers is None:
      numbers = jnp.broadcast_to(jnp.arange(T), video.shape[:2])
    x = Same(name='query')(numbers.astype(jnp.float32))
    return Encoded(einops.rearrange(x, 'B D -> B 1 1 1 D'))


def numbers_as_attention(captured, config, batch, grid):
  del config, batch, grid
  numbers = captured['query']['__call__'][0]
  return rollouts.Rollout(numbers[..., None, None], 0 * numbers[:, 0])


@dataclasses.dataclass(frozen=True)
class Options:
  pass


NUMBERED = families.Family(
  name='numbered',
  options=Options,
  sizes={'small': 1},
  build=lambda config, _: Backbone(),
  grid=lambda options, frames, crop: (frames, 1, 1),
  layers=lambda config: families.Layers(0, []),
  attention_flow=numbers_as_attention,
  reads_frame_numbers=True,
)


@pytest.fixture(scope='module', autouse=True)
def registered():
  for family in (
    NUMBERED,
    dataclasses.replace(NUMBERED, name='other', reads_frame_numbers=False),
  ):
    families.register(family)
  yield
  for name in ('numbered', 'other'):
    families._FAMILIES.pop(name)


@pytest.fixture(scope='module')
def split(prepared):
  return datasets.open_split('moving_shapes', prepared, 'test')


@pytest.fixture(scope='module')
def config(split, prepared):
  """Returns a config of clips of every fourth frame: 13 of 18 frames."""
  keys = configs.default('numbered')
  keys.data.dataset, keys.data.data_dir = 'moving_shapes', str(prepared)
  keys.data.frames, keys.data.stride = T, 4
  keys.data.crop, keys.data.short_side = SHAPE[1:3], 16
  keys.data.workers = 0
  keys.evaluation.split = 'test'
  keys.evaluation.temporal_views = 2
  return configs.resolve_heads(configs.resolve(keys), split.label_names)


@pytest.fixture(scope='module')
def run(config, split, tmp_path_factory):
  """Returns a workdir whose logits of each head begin with the numbers."""
  sizes = config.model.heads.values()
  kernel = np.concatenate([np.eye(T, size) for size in sizes], axis=1)
  head = {'kernel': kernel.astype(np.float32), 'bias': np.zeros(sum(sizes))}
  head['bias'] = head['bias'].astype(np.float32)
  folder = tmp_path_factory.mktemp('numbered') / 'run'
  folder.mkdir()
  (folder / 'config.json').write_text(configs.to_json(config))
  with Store(folder) as store:
    description = Description(config, split.label_names)
    store.save(1, {'params': {'output_projection': head}}, description)
  return folder


@pytest.fixture(scope='module')
def loaded(run):
  return vivit_jax.load(run)


# 18 frames have room for starts 0 to 5, each with three crops.
VIEWS = [[0, 4, 8, 12]] * 3 + [[5, 9, 13, 17]] * 3


@pytest.mark.parametrize('max_bytes', [2**21, 1])  # at once, and one by one
def test_evaluation(run, tmp_path, monkeypatch, max_bytes):
  monkeypatch.setattr(forward, '_MAX_BYTES', max_bytes)
  evaluate.evaluate(run, out=tmp_path / 'out', batch_size=10)  # 22 videos
  table = Table.read(tmp_path / 'out')
  for logits in table.logits.values():
    assert logits[..., :T].tolist() == [VIEWS] * 22
    assert not logits[..., T:].any()


def test_validation(config, split):
  """Of the middle clip, from frame 2 on."""
  model = models.build(config.model)
  size = sum(config.model.heads.values())
  params = {'output_projection': {
    'kernel': np.eye(T, size, dtype=np.float32),
    'bias': np.zeros(size, np.float32),
  }}  # fmt: skip
  scores = validation.scorer(model, config, split)(parallel.replicate(params))
  logits = np.zeros(size)
  logits[:T] = [2, 6, 10, 14]
  first, other = config.model.heads
  expected = special.log_softmax(logits[: config.model.heads[first]])
  loss = -expected[split.labels[first]].mean()
  assert scores[f'{first}/loss'] == pytest.approx(loss, rel=1e-5)
  uniform = np.log(config.model.heads[other])
  assert scores[f'{other}/loss'] == pytest.approx(uniform, rel=1e-5)


def softmax_gradient(kernel, bias, x, targets):
  """Returns the mean gradient of softmax regression, by hand."""
  error = special.softmax(x @ kernel + bias, axis=1) - targets
  return x.T @ error / len(x), error.mean(axis=0)


@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'train.accumulate': 4},
    {'augment.mixup': 1.0},
    {'augment.mixup': 1.0, 'train.accumulate': 2},
    {'optim.sam_rho': 0.5},
  ],
)
def test_training(changes):
  """A step moves the head by what the clips' own numbers say."""
  keys = configs.default('numbered')
  keys.model.heads = {'label': 3}
  keys.data.frames, keys.data.crop, keys.data.short_side = T, SHAPE[1:3], 16
  keys.optim.update(learning_rate=1.0, momentum=0.0, clip_norm=None)
  keys.train.batch_size = 8
  keys.update_from_flattened_dict(changes)
  config = configs.resolve(keys)
  model = models.build(config.model)
  optimiser = optim.optimiser(config.optim, lambda _: 1.0, config.model)
  draw = np.random.default_rng(0)
  numbers = draw.integers(0, 5, (8, T)).astype(np.int32)
  labels = draw.integers(0, 3, 8).astype(np.int32)
  batch = {
    'video': np.zeros((8, *SHAPE), np.uint8),
    'frame_numbers': numbers,
    'labels': {'label': labels},
    'unreadable': np.zeros(8),
  }
  arrays = parallel.shard(inputs.arrays(batch))
  ready = parallel.map_over_devices(
    lambda x: inputs.preprocess(x, jnp.int32(0), config, model.heads)
  )(arrays)
  targets = np.asarray(parallel.unshard(ready.targets)['label'], float)
  assert ('augment.mixup' in changes) == bool((targets.max(1) < 1).any())

  head = {'kernel': draw.normal(size=(T, 3)), 'bias': draw.normal(size=3)}
  params = {'output_projection': jax.tree.map(np.float32, head)}
  state = step.initialise(model, optimiser, config).replace(params=params)
  update = step.train_step(model, optimiser, config)
  after, _ = update(parallel.replicate(state), arrays)
  after = parallel.unreplicate(after).params['output_projection']

  kernel, bias = head['kernel'], head['bias']
  gradient = softmax_gradient(kernel, bias, numbers, targets)
  if rho := config.optim.sam_rho:
    norm = np.sqrt(sum((g**2).sum() for g in gradient))
    up = kernel + rho * gradient[0] / norm, bias + rho * gradient[1] / norm
    gradient = softmax_gradient(*up, numbers, targets)
  np.testing.assert_allclose(after['kernel'], kernel - gradient[0], atol=1e-5)
  np.testing.assert_allclose(after['bias'], bias - gradient[1], atol=1e-5)


def video(frames):
  return np.zeros((frames, 16, 16, 3), np.uint8)


def seen(heads):
  """Returns the numbers that a prediction shows, averaged over views."""
  numbers = [np.log(r.every[:T] / r.every[T]) for r in heads.values()]
  np.testing.assert_allclose(*numbers, atol=1e-4)
  return np.round(numbers[0], 3).tolist()


def test_prediction(loaded):
  clips, numbers = loaded.clips_and_numbers(video(18))
  assert numbers.tolist() == VIEWS and numbers.dtype == np.int32
  logits = loaded.logits(clips, numbers)
  assert logits['verb'][:, :T].tolist() == VIEWS
  many = np.tile(clips, (4, 1, 1, 1, 1)), np.tile(numbers, (4, 1))
  assert loaded.logits(*many)['verb'][:, :T].tolist() == VIEWS * 4  # in parts
  # The mean of 0 and 5, 4 and 9, ...
  middle = [2.5, 6.5, 10.5, 14.5]
  assert seen(loaded.predict(video(18)).heads) == middle
  found = loaded.predict_clips(clips, frame_numbers=numbers.tolist())
  assert seen(found.heads) == middle
  np.testing.assert_allclose(loaded.features(video(18)), middle)
  tokens = loaded.features(video(18), tokens=True)
  assert tokens.ravel().tolist() == [2, 6, 10, 14]


def test_numbers_are_never_guessed(loaded):
  clips, numbers = loaded.clips_and_numbers(video(18))
  for wrong in (None, numbers[:1], numbers[0]):
    with pytest.raises(UserError, match='numbered .*clips_and_numbers'):
      loaded.logits(clips, wrong)
  assert np.array_equal(loaded.clips(video(18)), clips)


@pytest.mark.parametrize('live', [False, True])
def test_windows_count_from_the_beginning_of_the_video(loaded, live):
  source = iter(video(30)) if live else video(30)
  windows = loaded.timeline(
    source, window=1.3, stride=0.7, frames_per_second=10
  )
  # 13 frames, which is one clip; the last window ends with the video.
  assert [seen(window.heads) for window in windows] == [
    [start, start + 4, start + 8, start + 12] for start in (0, 7, 14, 17)
  ]


def test_explanation(loaded):
  found = explain.Explainer(loaded).explain(video(18), {})
  shares = np.array([2, 6, 10, 14]) / 32  # of the middle clip
  np.testing.assert_allclose(found.time, T * shares, rtol=1e-6)


def call_stablehlo(folder):
  data = (folder / 'model.jax_export').read_bytes()
  return jax.export.deserialize(bytearray(data)).call


def call_savedmodel(folder):
  import tensorflow as tf

  model = tf.saved_model.load(str(folder / 'savedmodel'))
  call = model.signatures['serving_default']
  return lambda clips, numbers: call(
    video=tf.constant(clips), frame_numbers=tf.constant(numbers)
  )


def call_tflite(folder):
  import tensorflow as tf

  path = str(folder / 'model.tflite')
  call = tf.lite.Interpreter(path).get_signature_runner()
  return lambda clips, numbers: call(video=clips, frame_numbers=numbers)


def call_onnx(folder):
  onnxruntime = pytest.importorskip('onnxruntime')
  session = onnxruntime.InferenceSession(str(folder / 'model.onnx'))
  heads = [output.name for output in session.get_outputs()]

  def call(clips, numbers):
    inputs = {'video': clips, 'frame_numbers': numbers}
    return dict(zip(heads, session.run(heads, inputs)))

  return call


@pytest.mark.parametrize(
  'format, call, options',
  [
    ('stablehlo', call_stablehlo, {'platforms': ['cpu']}),
    ('stablehlo', call_stablehlo, {'platforms': ['cpu'], 'batch': 2}),
    pytest.param('savedmodel', call_savedmodel, {}, marks=pytest.mark.slow),
    pytest.param('tflite', call_tflite, {}, marks=pytest.mark.slow),
    pytest.param('onnx', call_onnx, {}, marks=pytest.mark.slow),
  ],
)
def test_export(loaded, tmp_path, format, call, options):
  if format == 'onnx':
    pytest.importorskip('jax2onnx')
  folder = export.export(loaded, tmp_path / 'out', format=format, **options)
  numbers = np.array([[0, 1, 2, 3], [5, 0, 7, 2]], np.int32)
  shares = call(folder)(np.zeros((2, *SHAPE), np.uint8), numbers)
  assert sorted(shares) == ['noun', 'verb']
  for x in map(np.asarray, shares.values()):
    np.testing.assert_allclose(np.log(x[:, :T] / x[:, T:][:, :1]), numbers,
                               atol=1e-4)  # fmt: skip


def test_an_exported_program_says_that_it_takes_numbers(loaded, tmp_path):
  folder = export.export(loaded, tmp_path / 'out', platforms=['cpu'])
  about = json.loads((folder / 'model.json').read_text())
  assert about['inputs']['frame_numbers']['shape'] == ['b', T]
  names: dict = {}
  with contextlib.chdir(folder):
    exec('\n'.join(about['usage']), names)
  assert {k: x.shape for k, x in names['probabilities'].items()} == {
    head: (1, size) for head, size in loaded.config.model.heads.items()
  }


def test_a_family_that_does_not_ask_gets_none(config):
  """It sees the default of `Mode`, numbers from 0."""
  model = models.build(dataclasses.replace(config.model, family='other'))
  size = sum(config.model.heads.values())
  head = {'kernel': np.eye(T, size), 'bias': np.zeros(size)}
  params = parallel.replicate(
    {'output_projection': jax.tree.map(np.float32, head)}
  )
  batch = {
    'video': np.zeros((1, 1, *SHAPE), np.uint8),
    'frame_numbers': np.full((1, 1, T), 7, np.int32),
  }
  logits = forward.every_view(model, config.data)(params, batch)
  assert np.concatenate([*logits.values()], -1)[0, 0, :T].tolist() == [
    0,
    1,
    2,
    3,
  ]
