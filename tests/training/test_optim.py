"""Schedules by hand; the clip, the decay's mask, and momentum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vivit_jax.config import OptimConfig
from vivit_jax.training import optim


def test_schedule_warms_up_linearly_then_follows_half_a_cosine():
  rate = optim.schedule(
    OptimConfig(learning_rate=0.1, warmup_epochs=2.0),
    steps=110,
    steps_per_epoch=5.0,
  )
  assert float(rate(0)) == 0.0
  assert float(rate(5)) == pytest.approx(0.05)
  assert float(rate(10)) == pytest.approx(0.1)
  assert float(rate(60)) == pytest.approx(0.05)
  assert float(rate(110)) == pytest.approx(0.0, abs=1e-8)


def test_only_kernels_decay():
  params = {
    'dense': {'kernel': 1.0, 'bias': 1.0},
    'encoder_norm': {'scale': 1.0},
    'posembed_input': {'pos_embedding': 1.0},
    'cls_SpatialTransformer': 1.0,
  }
  true = [
    jax.tree_util.keystr(path)
    for path, value in jax.tree_util.tree_leaves_with_path(
      optim.decayed(params)
    )
    if value
  ]
  assert true == ["['dense']['kernel']"]


def test_sgd_with_momentum_and_clip_by_hand():
  config = OptimConfig(name='sgd', momentum=0.9, clip_norm=1.0)
  optimiser = optim.optimiser(config, lambda _: 0.1)
  params = {'dense': {'kernel': jnp.array([3.0, 4.0])}}
  gradient = {'dense': {'kernel': jnp.array([3.0, 4.0])}}  # norm 5
  state = optimiser.init(params)
  first, state = optimiser.update(gradient, state, params)
  second, state = optimiser.update(gradient, state, params)
  np.testing.assert_allclose(
    first['dense']['kernel'], [-0.06, -0.08], rtol=1e-6
  )
  np.testing.assert_allclose(
    second['dense']['kernel'], [-0.114, -0.152], rtol=1e-6
  )


def test_adamw_decays_kernels_alone_and_apart_from_the_gradient():
  config = OptimConfig(name='adamw', weight_decay=0.5, clip_norm=None)
  optimiser = optim.optimiser(config, lambda _: 0.1)
  params = {'dense': {'kernel': jnp.array([2.0]), 'bias': jnp.array([2.0])}}
  zero = jax.tree.map(jnp.zeros_like, params)
  updates, _ = optimiser.update(zero, optimiser.init(params), params)
  np.testing.assert_allclose(updates['dense']['kernel'], [-0.1], rtol=1e-6)
  np.testing.assert_allclose(updates['dense']['bias'], [0.0])
