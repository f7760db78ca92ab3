"""The settings that an evaluation prints before it begins."""

import dataclasses

import numpy as np

from vivit_jax import config as configs
from vivit_jax.checkpoints.loaded import LoadedModel
from vivit_jax.evaluation import describe
from vivit_jax.evaluation.checkpoint_selection import Candidate

CONFIG = configs.TrainConfig()
LOADED = LoadedModel(
  'step 300, averaged weights',
  CONFIG,
  {'a': np.zeros((1000, 1200)), 'b': {'c': np.zeros(50_000)}},
  {'verb': ['take', 'put', 'open', 'close'], 'noun': ['x' * 99, 'cup']},
  step=300,
  averaged=True,
)


def test_a_checkpoint():
  candidate = Candidate('step 300', 'step_300', None, 'runs/a/300', 'best')
  line = describe.checkpoint(candidate, LOADED)
  assert all(word in line for word in ('runs/a/300', 'best', 'averaged'))
  foreign = dataclasses.replace(LOADED, step=None, averaged=False)
  assert describe.checkpoint(
    Candidate('x.npz', 'x', None, 'x.npz'), foreign
  ).split() == ['checkpoint', 'x.npz']


def test_settings():
  lines = describe.settings(CONFIG, LOADED, 123)
  rows = {line.split()[0] for line in lines}
  assert rows == {'model', 'head', 'split', 'pixels', 'views'}
  text = '\n'.join(lines)
  for word in (
    CONFIG.model.family, '1.2 M', 'verb: 4 classes (take, put, open, ...)',
    'noun: 2', '123 videos', CONFIG.evaluation.split, '224 x 224', '0.5 0.5',
    'stride 2', '32 frames', '4 clips', '3 crops', '12 views', 'logits',
  ):  # fmt: skip
    assert word in text
  assert max(map(len, lines)) < 100
  data = dataclasses.replace(CONFIG.data, frames_per_second=12.5)
  config = dataclasses.replace(CONFIG, data=data)
  text = '\n'.join(describe.settings(config, LOADED, 1))
  assert '12.5 frames per second' in text and 'stride' not in text
