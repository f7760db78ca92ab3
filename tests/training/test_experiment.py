"""Class weights of an experiment, from the training videos."""

import types

import numpy as np
import pytest

from vivit_jax import config as configs
from vivit_jax.errors import UserError
from vivit_jax.training import experiment


def weights_of(labels, heads, rule, multi_label=()):
  config = configs.default()
  config.train.class_weights = rule
  config.model.heads = heads
  source = types.SimpleNamespace(labels=labels, multi_label=set(multi_label))
  return experiment.class_weights(configs.resolve(config), source)


def test_classes_are_counted_in_the_videos_to_train_on():
  labels = {
    'verb': np.array([0, 0, 0, 1], np.int32),
    'noun': np.array([2, 2, 2, 2], np.int32),
    'tags': [[0], [], [1, 0], []],
    'other': np.array([0, 1, 0, 1], np.int32),
  }
  heads = {'noun': 4, 'tags': 2, 'verb': 2}
  found = weights_of(labels, heads, 'inverse', ['tags'])
  assert sorted(found) == ['noun', 'verb']
  np.testing.assert_allclose(found['verb'], [4 / 6, 2], rtol=1e-6)
  np.testing.assert_allclose(found['noun'], [0, 0, 1, 0])
  assert weights_of(labels, heads, None, ['tags']) == {}


def test_there_must_be_a_head_to_weight():
  with pytest.raises(UserError, match='train.class_weights'):
    weights_of({'tags': [[0], [1]]}, {'tags': 2}, 'inverse', ['tags'])
