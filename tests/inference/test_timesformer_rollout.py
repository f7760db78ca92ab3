"""TimeSformer's attention rollout equals products of full matrices."""

import numpy as np
import pytest
from test_rollout import H, T, W, parameters_of, product, read_out, recorded_by

from vivit_jax.inference import rollout
from vivit_jax.models import builder
from vivit_jax.models.family import ModelConfig

LAYERS, SPACE = 2, H * W
CLIPS = np.random.default_rng(3).normal(size=(2, T, H * 4, W * 4, 3))
CLIPS = CLIPS.astype(np.float32)


def config_of(attention, **changes):
  options = {
    'attention': attention, 'patch': 4, 'layers': LAYERS, 'width': 32,
    'attention_heads': 2, 'mlp_width': 48,
  }  # fmt: skip
  return ModelConfig(
    'timesformer', heads={'label': 3}, options=options, **changes
  )


def divided(over_time, over_space, n):
  """Returns a block's matrix over cls and patches (s t), n class tokens.

  Args:
    over_time: [s, t, t], over_space: [t, n + s, n + s], means over heads.
    n: 0 or 1.
  """
  size = n + SPACE * T
  time, space = np.eye(size), np.zeros((size, size))
  for s in range(SPACE):
    own = n + s * T + np.arange(T)
    time[np.ix_(own, own)] = 0.5 * np.eye(T) + 0.5 * over_time[s]
  for t in range(T):
    seen = np.concatenate([np.arange(n), n + np.arange(SPACE) * T + t])
    for row, token in enumerate(seen):
      share = over_space[t, row] / (T if row < n else 1)
      space[token, seen] += share
  return (0.5 * np.eye(size) + 0.5 * space) @ time


def expected_rollout(config, weights, clip):
  """Returns the shares [t, h, w] and the class token's."""
  attention, pool = config.options.attention, builder.pool_of(config)
  means = [x[clip].mean(axis=-3) for x in weights]  # over heads
  if attention == 'space':
    kept, places = 0.0, []
    for t in range(T):
      held, shares = read_out(product([layer[t] for layer in means]), pool)
      kept += held / T
      places.append(shares.reshape(H, W) / T)
    return np.stack(places), kept
  if attention == 'joint':
    kept, shares = read_out(product(means), pool)
  else:
    whole = np.eye(int(pool == 'token') + SPACE * T)
    for layer in range(LAYERS):
      pair = means[2 * layer : 2 * layer + 2]
      whole = divided(*pair, int(pool == 'token')) @ whole
    kept, shares = read_out(whole, pool)
  return shares.reshape(H, W, T).transpose(2, 0, 1), kept


@pytest.mark.parametrize('pool', ['token', 'mean'])
@pytest.mark.parametrize('attention', ['divided', 'joint', 'space'])
def test_rollout_is_the_product_of_full_matrices(attention, pool, monkeypatch):
  config = config_of(attention, pool=pool)
  params = parameters_of(config, CLIPS)
  result = rollout.attention_rollout(config)(params, CLIPS)
  weights = recorded_by(config, params, CLIPS, monkeypatch)
  for clip in range(2):
    expected, kept = expected_rollout(config, weights, clip)
    assert expected.max() > 1.3 * expected.min()
    np.testing.assert_allclose(result.attention[clip], expected, atol=2e-6)
    np.testing.assert_allclose(result.kept[clip], kept, atol=2e-6)
    np.testing.assert_allclose(expected.sum() + kept, 1, atol=1e-6)
