"""A run that diverges stops, says when and how, and keeps what was good."""

import json

import demo
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from vivit_jax import config as configs
from vivit_jax import parallel
from vivit_jax.checkpoints.store import Store
from vivit_jax.errors import UserError
from vivit_jax.training import divergence, loop, optim, step


@pytest.mark.slow
def test_steps_that_are_not_finite_end_the_run(prepared, tmp_path, monkeypatch):
  """A fake step skips from step 5 on, as the real one does."""
  config = demo.config(
    prepared,
    train__log_every=2,
    train__checkpoint_every=2,
    train__validate_every=0,
    train__max_skipped=3,
  )
  real = step.train_step

  def train_step(*arguments):
    update = real(*arguments)

    def skipping(state, batch):
      bad = int(state.step[0]) >= 4
      before = step.TrainState(
        state.step + 1, *(
          jax.tree.map(jnp.copy, x)
          for x in (state.params, state.opt_state)
        )
      )  # fmt: skip
      state, metrics = update(state, batch)
      metrics['skipped'] = jnp.full_like(metrics['loss'], bad)
      if bad:
        metrics['loss'] = metrics['loss'] * jnp.nan
      return (before if bad else state), metrics

    return skipping

  monkeypatch.setattr(step, 'train_step', train_step)
  with pytest.raises(UserError, match='diverged.* step 7'):
    loop.train(configs.resolve(config), tmp_path)
  report = json.loads((tmp_path / 'diverged.json').read_text())
  assert report['step'] == 7
  # Four updates were made: skipped steps have the rate of the fifth.
  resolved = configs.resolve(config)
  steps = resolved.train.epochs * demo.EPOCH
  rate = optim.schedule(resolved.optim, steps=int(steps), steps_per_epoch=6.0)
  assert report['learning_rate'] == pytest.approx(float(rate(4)))
  assert report['learning_rate_of_last_update'] == pytest.approx(float(rate(3)))
  assert len(report['videos']) == 8
  assert all(isinstance(v['id'], str) for v in report['videos'])
  norms = report['gradient_norms']
  assert 'embedding' in norms and all(x >= 0 for x in norms.values())
  assert any('MultiHeadDotProductAttention_0/query' in name for name in norms)
  rows = demo.rows(tmp_path)
  assert [x['train/skipped_steps'] for x in rows] == [0, 0, 2]
  assert 'train/loss' not in rows[2]
  rates = [x['train/learning_rate'] for x in rows]
  expected = [float(rate(made)) for made in (1, 3, 4)]
  np.testing.assert_allclose(rates, expected, rtol=1e-6)
  with Store(tmp_path, read_only=True) as store:
    assert store.find('last') == 6
    assert store.describe(6).skipped == 2


def test_norms_are_those_of_the_steps_own_gradient():
  """With SAM, a weight of a head and a frozen layer."""
  config = tiny.config(
    data__frames=4,
    train__head_weights={'verb': 3.0},
    optim__freeze='^embedding/',
    optim__sam_rho=0.5,
  )
  model = tiny.model(heads={'noun': 3, 'verb': 4})
  optimiser = optim.optimiser(config.optim, lambda _: 0.0)
  state = tiny.state(model, optimiser, config)
  draw = np.random.default_rng(0)
  size = 4 * jax.local_device_count()
  batch = parallel.shard(
    {
      'video': draw.integers(0, 256, (size, 4, 16, 16, 3)).astype(np.uint8),
      'labels': {
        'noun': draw.integers(0, 3, size).astype(np.int32),
        'verb': draw.integers(0, 4, size).astype(np.int32),
      },
    }
  )
  update = step.train_step(model, optimiser, config)
  state, metrics = update(parallel.replicate(state), batch)
  found = divergence.gradient_norms(state, batch, model, config)
  loss, whole = (
    float(parallel.unreplicate(metrics[key]))
    for key in ('loss', 'gradient_norm')
  )
  assert found.pop('loss') == pytest.approx(loss, rel=1e-6)
  assert found['embedding'] == 0.0
  assert '' not in found and 'cls' in found
  total = np.sqrt(sum(norm**2 for norm in found.values()))
  assert total == pytest.approx(whole, rel=1e-5)
