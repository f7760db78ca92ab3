"""Models of BGR pixels: what they see is RGB reversed, in every command."""

import jax
import numpy as np
import pytest
from made import parameters

from vivit_jax import config as configs
from vivit_jax import models, parallel
from vivit_jax.checkpoints.loaded import LoadedModel
from vivit_jax.evaluation import forward
from vivit_jax.inference import explain, export
from vivit_jax.inference.predictor import Predictor
from vivit_jax.inference.rollout import attention_rollout
from vivit_jax.models import pixels
from vivit_jax.training import optim, step

MEAN, STD = (0.1, 0.5, 0.6), (0.2, 0.3, 0.5)
NAMES = {'label': ['a', 'b', 'c']}


def config(channels, **augment):
  keys = configs.default('joint')
  keys.model.heads = {'label': 3}
  keys.model.options.update(
    tubelet=(1, 8, 8), width=16, attention_heads=2, mlp_width=32, layers=1
  )
  keys.data.frames, keys.data.crop, keys.data.short_side = 2, (16, 16), 16
  keys.data.stride, keys.data.channels = 1, channels
  keys.data.mean, keys.data.std = MEAN, STD
  keys.augment.flip = 0.0
  keys.augment.update(augment)
  keys.train.batch_size = 4
  keys.optim.learning_rate = 0.1
  return configs.resolve(keys)


@pytest.fixture(scope='module')
def clips():
  draw = np.random.default_rng(0)
  return draw.integers(0, 256, (4, 2, 16, 16, 3), np.uint8)


def predictor(channels):
  asked = config(channels)
  return Predictor(LoadedModel('a', asked, parameters(asked), NAMES))


def test_pixels_by_hand():
  pixel = np.array([[255, 51, 0]], np.uint8)
  bgr = pixels.normalise(pixel, MEAN, STD, 'bgr')
  expected = [(0 - 0.1) / 0.2, (0.2 - 0.5) / 0.3, (1 - 0.6) / 0.5]
  np.testing.assert_allclose(bgr[0], expected, rtol=1e-6)
  rgb = pixels.normalise(pixel, MEAN, STD)
  expected = [(1 - 0.1) / 0.2, (0.2 - 0.5) / 0.3, (0 - 0.6) / 0.5]
  np.testing.assert_allclose(rgb[0], expected, rtol=1e-6)
  for channels, x in (('rgb', rgb), ('bgr', bgr)):
    assert pixels.restore(x, MEAN, STD, channels).tolist() == pixel.tolist()


def test_prediction_evaluation_and_export(clips, tmp_path):
  model, plain = predictor('bgr'), predictor('rgb')
  expected = plain.logits(clips[..., ::-1])['label']
  assert np.ptp(plain.logits(clips)['label'] - expected) > 1e-3
  np.testing.assert_allclose(model.logits(clips)['label'], expected, atol=1e-5)
  apply = forward.every_view(model.model, model.config.data)
  logits = apply(parallel.replicate(model.params), {'video': clips[:, None]})
  np.testing.assert_allclose(logits['label'][:, 0], expected, atol=1e-5)
  assert model.preprocessing['channels'] == 'bgr'
  folder = export.export(model, tmp_path / 'out', platforms=['cpu'])
  data = (folder / 'model.jax_export').read_bytes()
  shares = jax.export.deserialize(bytearray(data)).call(clips)['label']
  np.testing.assert_allclose(shares, jax.nn.softmax(expected), atol=1e-5)


def test_pictures_are_of_rgb(clips):
  """The explanation shows RGB, and is of what the model sees."""
  model = predictor('bgr')
  found = explain.Explainer(model).explain(clips[0], {})
  np.testing.assert_array_equal(found.frames, clips[0])
  video = pixels.normalise(clips[:1, ..., ::-1], MEAN, STD)
  rollout = attention_rollout(model.config.model)(model.params, video)
  space, _ = explain.relative(np.asarray(rollout.attention[0]))
  np.testing.assert_allclose(found.space, space, rtol=1e-4)


def after_a_step(asked, clips):
  """Returns the parameters after a training step."""
  model = models.build(asked.model)
  optimiser = optim.optimiser(asked.optim, lambda _: 0.1, asked.model)
  state = step.initialise(model, optimiser, asked)
  state = state.replace(params=parameters(asked))
  labels = np.array([0, 1, 2, 0], np.int32)
  batch = {'video': clips, 'labels': {'label': labels}}
  update = step.train_step(model, optimiser, asked)
  after, _ = update(parallel.replicate(state), parallel.shard(batch))
  return parallel.unreplicate(after).params


def test_training_and_its_augmentation(clips):
  found = after_a_step(config('bgr'), clips)
  expected = after_a_step(config('rgb'), clips[..., ::-1])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected
  )
  # All channels of grey are equal, and its weights are of red, green and blue.
  found = after_a_step(config('bgr', colour_drop=1.0), clips)
  expected = after_a_step(config('rgb', colour_drop=1.0), clips)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected
  )
