"""The demo's models learn: the order of time, and in bfloat16 too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import moving_shapes_ti8x2_avg, moving_shapes_ti8x2_fe
from vivit_jax import config as configs
from vivit_jax import models, parallel
from vivit_jax.config import TrainConfig
from vivit_jax.data import scenes
from vivit_jax.models import pixels
from vivit_jax.training import optim, step

SCENE = scenes.Scene(pixels=40)  # else as the demo's
VERBS = scenes.VERBS[:4]  # two pairs: left and right, up and down
CROP = 32
STEPS, BATCH = 1000, 32  # three seeds of three reach 0.99 by step 700


def config(experiment, **changes) -> TrainConfig:
  """Returns the config of a demo with a smaller model and smaller clips."""
  keys = experiment.get_config()
  small = dict(width=64, attention_heads=4, mlp_width=128, spatial_layers=1)
  keys.model.options.update(small)
  keys.model.heads = {'verb': len(VERBS)}
  keys.data.crop, keys.data.short_side = (CROP, CROP), SCENE.pixels
  keys.optim.learning_rate = 2e-3
  keys.train.batch_size = BATCH
  keys.update_from_flattened_dict(changes)
  return configs.resolve(keys)


@functools.cache
def videos(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns rendered videos, uint8 [B, T, H, W, 3], and their verbs [B]."""
  verbs = np.arange(count, dtype=np.int32) % len(VERBS)
  nouns = np.arange(count) // len(VERBS) % len(scenes.NOUNS)
  rendered = [
    scenes.render(
      VERBS[verb],
      scenes.NOUNS[noun],
      SCENE,
      np.random.default_rng([seed, number]),
    )
    for number, (verb, noun) in enumerate(zip(verbs, nouns))
  ]
  return np.stack(rendered), verbs


def cut(video: np.ndarray, start: int, top: int, left: int) -> np.ndarray:
  """Returns clips of every second frame."""
  rows, columns = slice(top, top + CROP), slice(left, left + CROP)
  return video[:, start : start + 16 : 2, rows, columns]


class Training:
  """A model, its state, and steps on batches from memory."""

  def __init__(self, experiment: TrainConfig, steps: int):
    self.config = experiment
    self.model = models.build(experiment.model)
    rate = optim.schedule(
      experiment.optim, steps=steps, steps_per_epoch=steps / 10
    )
    optimiser = optim.optimiser(experiment.optim, rate, experiment.model)
    state = step.initialise(self.model, optimiser, experiment)
    self.state = parallel.replicate(state)
    self._update = step.train_step(self.model, optimiser, experiment)

  def step(self, clips: np.ndarray, verbs: np.ndarray) -> float:
    """Makes a step and returns its loss."""
    batch = {'video': clips, 'labels': {'verb': verbs}}
    self.state, metrics = self._update(self.state, parallel.shard(batch))
    return float(parallel.unreplicate(metrics['loss']))

  def accuracy(self, clips: np.ndarray, verbs: np.ndarray) -> float:
    """Returns the share of clips whose verb is the most probable one."""
    data = self.config.data
    clips = pixels.normalise(clips, data.mean, data.std)
    params = {'params': parallel.unreplicate(self.state).params}
    logits = jax.jit(self.model.apply)(params, clips)['verb']
    return float((logits.argmax(-1) == verbs).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
  'experiment, low, high',
  [(moving_shapes_ti8x2_fe, 0.9, 1.0), (moving_shapes_ti8x2_avg, 0.4, 0.6)],
)
def test_the_order_of_time_takes_a_temporal_encoder(experiment, low, high):
  """Without it, the verbs of a pair look alike: half the guesses are right."""
  training = Training(config(experiment), STEPS)
  video, verbs = videos(1024, seed=0)
  draw = np.random.default_rng(0)
  for _ in range(STEPS):
    chosen = draw.integers(len(video), size=BATCH)
    places = draw.integers([3, 9, 9])
    training.step(cut(video[chosen], *places), verbs[chosen])
  video, verbs = videos(256, seed=1)
  assert low <= training.accuracy(cut(video, 1, 4, 4), verbs) <= high


def losses(dtype: str, steps: int = 20) -> np.ndarray:
  """Returns the losses of steps on one batch."""
  changes = {
    'model.dtype': dtype,
    'model.options.temporal_layers': 1,
    'optim.schedule': 'constant',
  }
  training = Training(config(moving_shapes_ti8x2_fe, **changes), steps)
  video, verbs = videos(BATCH, seed=0)
  found = [training.step(cut(video, 1, 4, 4), verbs) for _ in range(steps)]
  # Parameters are float32, whatever the computation is in.
  leaves = jax.tree.leaves(training.state.params)
  assert {x.dtype for x in leaves} == {jnp.dtype('float32')}
  return np.array(found)


@pytest.mark.slow
def test_bfloat16_learns_as_float32_does():
  single, half = losses('float32'), losses('bfloat16')
  assert (single != half).any()  # the precision has an effect
  assert half[-1] < 0.5 * half[0]
  # At first losses differ by bfloat16's resolution, 2 ** -8; Adam's steps then
  # amplify the difference, which stays far below the fall of the loss.
  np.testing.assert_allclose(half[:5], single[:5], rtol=2**-8)
  np.testing.assert_allclose(half.mean(), single.mean(), rtol=0.05)
