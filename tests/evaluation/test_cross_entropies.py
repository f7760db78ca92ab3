"""Losses of predictions against those of training, and by hand."""

import numpy as np
import pytest

from vivit_jax.evaluation.cross_entropies import cross_entropies
from vivit_jax.training import losses


def test_losses_are_those_of_training():
  """By JAX, without label smoothing; and one by hand."""
  draw = np.random.default_rng(0)
  logits = {
    'verb': draw.normal(size=(5, 3)).astype(np.float32) * 4,
    'tags': draw.normal(size=(5, 4)).astype(np.float32) * 4,
  }
  labels = {
    'verb': np.array([0, 2, 1, 1, 0]),
    'tags': (draw.random((5, 4)) < 0.5).astype(np.float32),
  }
  weights = {'tags': 0.25}
  targets = {
    'verb': losses.smooth_targets(labels['verb'], 3, 0.0),
    'tags': labels['tags'],
  }
  found = cross_entropies(logits, labels, weights)
  expected = losses.cross_entropy(logits, targets, ['tags'], weights)
  assert found['loss'] == pytest.approx(float(expected), rel=1e-5)
  assert found['loss'] == found['verb/loss'] + 0.25 * found['tags/loss']
  even = cross_entropies({'a': np.zeros((2, 4))}, {'a': np.array([1, 3])})
  assert even['loss'] == pytest.approx(np.log(4))
  sure = cross_entropies({'a': np.array([[0.0, -900.0]])}, {'a': np.array([1])})
  assert sure['loss'] == pytest.approx(900.0)
