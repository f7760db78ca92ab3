"""A run that diverges stops, says when and how, and keeps what was good."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from configs import moving_shapes_ti8x2_fe
from vivit_jax import config as configs
from vivit_jax import models, parallel
from vivit_jax.checkpoints.store import Store
from vivit_jax.errors import UserError
from vivit_jax.training import divergence, loop, optim, step


@pytest.mark.slow
def test_steps_that_are_not_finite_end_the_run(prepared, tmp_path, monkeypatch):
  """A fake step skips from step 5 on, as the real one does."""
  config = moving_shapes_ti8x2_fe.get_config()
  config.data.data_dir = str(prepared)
  config.data.workers = 0
  config.model.options.spatial_layers = config.model.options.temporal_layers = 1
  config.train.batch_size = 8
  config.train.log_every = config.train.checkpoint_every = 2
  config.train.validate_every = 0
  config.train.max_skipped = 3
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
  steps = resolved.train.epochs * 6
  rate = optim.schedule(resolved.optim, steps=int(steps), steps_per_epoch=6.0)
  assert report['learning_rate'] == pytest.approx(float(rate(4)))
  assert report['learning_rate_of_last_update'] == pytest.approx(float(rate(3)))
  assert len(report['videos']) == 8
  assert all(isinstance(v['id'], str) for v in report['videos'])
  norms = report['gradient_norms']
  assert 'embedding' in norms and all(x >= 0 for x in norms.values())
  assert any('MultiHeadDotProductAttention_0/query' in name for name in norms)
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [x['train/skipped_steps'] for x in rows] == [0, 0, 2]
  assert 'train/loss' not in rows[2]
  rates = [x['train/learning_rate'] for x in rows]
  expected = [float(rate(made)) for made in (1, 3, 4)]
  np.testing.assert_allclose(rates, expected, rtol=1e-6)
  with Store(tmp_path, read_only=True) as store:
    assert store.find('last') == 6
    assert store.describe(6).skipped == 2


@pytest.mark.parametrize('sam_rho', [0.0, 0.5])
def test_norms_are_those_of_the_steps_own_gradient(sam_rho):
  """With a weight of a head, a frozen layer and parts of the batch."""
  config = configs.default()
  config.data.frames, config.data.crop = 4, (16, 16)
  config.data.short_side = 16
  config.train.head_weights = {'verb': 3.0}
  config.train.accumulate = 2
  config.optim.freeze = '^embedding/'
  config.optim.sam_rho = sam_rho
  config = configs.resolve(config)
  model = models.build(
    reference.flat_config(
      family='factorised_encoder',
      size='Ti',
      heads={'noun': 3, 'verb': 4},
      tubelet=(2, 8, 8),
      spatial_layers=1,
      temporal_layers=1,
    )
  )
  optimiser = optim.optimiser(config.optim, lambda _: 0.0)
  state = step.initialise(model, optimiser, config)
  draw = np.random.default_rng(0)
  devices = jax.local_device_count()
  size = 4 * devices
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
  assert '' not in found and 'cls_SpatialTransformer' in found
  total = np.sqrt(sum(norm**2 for norm in found.values()))
  assert total == pytest.approx(whole, rel=1e-5)
