"""States are saved and restored; the last and the best are kept."""

import dataclasses

import jax
import numpy as np
import pytest

from vivit_jax import config as configs
from vivit_jax.checkpoints import names
from vivit_jax.checkpoints.metadata import (
  Description,
  has_checkpoints,
  last_description,
  steps,
)
from vivit_jax.checkpoints.sources import native
from vivit_jax.checkpoints.store import Store
from vivit_jax.config import OptimConfig
from vivit_jax.errors import UserError
from vivit_jax.models import stacking
from vivit_jax.training import optim, step


@pytest.fixture
def about() -> Description:
  config = configs.default()
  config.model.heads = {'verb': 2}
  return Description(configs.resolve(config), {'verb': ['go', 'come']})


def state(value: float) -> dict:
  return {
    'step': np.int32(value),
    'params': {'a': {'kernel': np.full((2, 3), value, np.float32)}},
    'opt_state': {'trace': np.full((4,), -value, np.float32)},
  }


def test_saved_states_are_restored(tmp_path, about, caplog):
  with Store(tmp_path) as store:
    store.save(7, state(7.5), about, {'top1': 0.5})
  with Store(tmp_path, read_only=True) as store:
    assert store.find('last') == 7
    assert store.describe(7) == about
    assert not store.has_average(7)
    restored = store.restore(7, state(0.0))
    params = store.restore_parameters(7)
  assert not caplog.records  # Orbax warns of read-only folders
  np.testing.assert_array_equal(restored['opt_state']['trace'], [-7.5] * 4)
  np.testing.assert_array_equal(params['a']['kernel'], np.full((2, 3), 7.5))


NAN = float('nan')


@pytest.mark.parametrize(
  'metric, scores, kept, best',
  [
    ('top1', [0.1, 0.9, 0.3, 0.2, None], [2, 4, 5], 2),
    # Of equal scores, the newest; NaN is none.
    ('top1', [0.1, 0.3, NAN, None, 0.3, 0.2], [5, 6], 5),
    ('verb/top1', [0.1, 0.8, 0.5], [2, 3], 2),
    ('verb/loss', [0.9, 0.2, 0.5, 0.7], [2, 3, 4], 2),  # smaller is better
    ('top1', [None, None, None], [2, 3], 3),
  ],
)
def test_the_last_two_and_the_best_are_kept(
  tmp_path, about, metric, scores, kept, best
):
  run = dataclasses.replace(about.config.train, best_metric=metric)
  config = dataclasses.replace(about.config, train=run)
  about = dataclasses.replace(about, config=config)
  with Store(tmp_path, keep=2) as store:
    for step, score in enumerate(scores, start=1):
      others = {'top1': step / 10, 'loss': step / 10}
      save = None if score is None else others | {metric: score}
      store.save(step, state(step), about, save)
  assert steps(tmp_path) == kept
  with Store(tmp_path, read_only=True) as store:
    assert store.find('last') == len(scores)
    assert store.find('best') == best
    assert store.find(str(kept[0])) == kept[0]
    with pytest.raises(UserError, match=f"'1'.* {kept[0]}, "):
      store.find('1')


def test_checkpoints_within_skipped_steps_displace_no_good_ones(
  tmp_path, about
):
  """Also across a restart; a later good one counts again."""
  for numbers in ((1, 2, 3), (4, 5)):
    with Store(tmp_path, keep=2) as store:
      for step in numbers:
        skipped = max(0, step - 2)
        now = dataclasses.replace(about, skipped=skipped)
        store.save(step, state(step), now)
    assert steps(tmp_path) == [1, 2, numbers[-1]]
  with Store(tmp_path, keep=2) as store:
    store.save(6, state(6), about)
  assert steps(tmp_path) == [2, 6]


def test_reading_changes_nothing(tmp_path, about):
  with Store(tmp_path) as store:
    for step in (2, 10):
      store.save(step, state(step), about, {'top1': step / 10})
  folder = tmp_path / 'checkpoints'
  (folder / '2' / 'state' / '_METADATA').write_text('{')
  (folder / '.removed' / '1').mkdir(parents=True)  # the trainer deletes it
  before = sorted(folder.rglob('*'))
  with Store(tmp_path, read_only=True) as store:
    assert [store.find(w) for w in ('last', 'best', '2')] == [10, 10, 2]
    params = store.restore_parameters(10)
    with pytest.raises(UserError, match='checkpoint 2 '):
      store.restore_parameters(2)
  np.testing.assert_array_equal(params['a']['kernel'], np.full((2, 3), 10))
  assert sorted(folder.rglob('*')) == before
  assert steps(tmp_path) == [2, 10]
  assert steps(tmp_path / 'nowhere') == []


def test_an_unfinished_checkpoint_does_not_count(tmp_path, about):
  assert not has_checkpoints(tmp_path)
  unfinished = tmp_path / 'checkpoints' / '4.orbax-checkpoint-tmp-17'
  unfinished.mkdir(parents=True)
  assert not has_checkpoints(tmp_path)
  with Store(tmp_path) as store:
    store.save(5, state(5.0), about)
  assert has_checkpoints(tmp_path)
  with pytest.raises(UserError, match='nowhere'):
    Store(tmp_path / 'nowhere', read_only=True)


@pytest.mark.parametrize(
  'freeze, saved_stacked',
  [
    (None, False),
    (None, True),
    ('encoderblock', True),
    ('Dense/kernel', False),
  ],
)
def test_layers_stacked_or_not_are_the_same_on_disk(
  tmp_path, about, freeze, saved_stacked
):
  """With averages and frozen ones; a run may change `model.scan` between."""
  blocks = {
    f'encoderblock_{n}': {
      'Dense': {'kernel': np.full((2, 3), n, np.float32)},
      'norm': {'scale': np.full(2, n, np.float32)},
    }
    for n in range(11)
  }
  params = {
    'SpatialTransformer': blocks,
    'output_projection': {'bias': np.ones(2, np.float32)},
  }

  def state_of(params):
    keys = OptimConfig(name='lamb', freeze=freeze, layer_decay=0.5)
    optimiser = optim.optimiser(keys, lambda _: 0.1, about.config.model)
    ema = jax.tree.map(lambda x: x + 0.5, params)
    return step.TrainState(np.int32(3), params, optimiser.init(params), ema)

  apart, stacked = state_of(params), state_of(stacking.stack(params))
  before, after = (stacked, apart) if saved_stacked else (apart, stacked)
  with Store(tmp_path) as store:
    store.save(3, before, about)
  with Store(tmp_path, read_only=True) as store:
    restored = store.restore(3, after)
    assert store.has_average(3)
    averaged = store.restore_parameters(3, 'ema')
    plain = store.restore_parameters(3)
  assert isinstance(restored, step.TrainState)
  jax.tree.map(np.testing.assert_array_equal, restored, after)
  jax.tree.map(np.testing.assert_array_equal, averaged, apart.ema)
  jax.tree.map(np.testing.assert_array_equal, plain, params)
  for ema, expected in ((True, averaged), (False, plain)):
    weights = native.read(tmp_path, ema=ema)
    flat = names.flatten(expected)
    jax.tree.map(np.testing.assert_array_equal, weights.arrays, flat)
    assert ('averaged' in weights.format) == ema


def damage(folder, how):
  """Damages the largest file of a checkpoint's folder."""
  files = [path for path in folder.rglob('*') if path.is_file()]
  path = max(files, key=lambda path: path.stat().st_size)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 4
  path.write_bytes(content if how == 'flipped' else content[:10])


@pytest.mark.parametrize(
  'part, how', [('state', 'flipped'), ('state', 'cut'), ('description', 'cut')]
)
def test_the_previous_checkpoint_replaces_a_damaged_one(
  tmp_path, about, capsys, part, how
):
  with Store(tmp_path) as store:
    for step in (1, 2):
      store.save(step, state(step), about, {'top1': 0.5})
  folder = tmp_path / 'checkpoints'
  damage(folder / '2' / part, how)
  assert last_description(tmp_path) == about
  with Store(tmp_path) as store:
    restored, found = store.restore_last(state(0.0))
    assert found == about
    assert store.find('last') == 1
    store.save(2, state(2.0), about, {'top1': 0.5})
  np.testing.assert_array_equal(restored['opt_state']['trace'], [-1.0] * 4)
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1 and 'checkpoint 2 in ' in lines[0]
  assert '2.damaged' in lines[0]
  assert sorted(f.name for f in folder.iterdir()) == ['1', '2', '2.damaged']
  with Store(tmp_path, read_only=True) as store:
    assert int(store.restore(2, state(0.0))['step']) == 2


def test_all_damaged_is_an_error_and_nothing_is_moved(tmp_path, about):
  with Store(tmp_path) as store:
    for step in (1, 2):
      store.save(step, state(step), about)
  for step in ('1', '2'):
    damage(tmp_path / 'checkpoints' / step / 'state', 'flipped')
  with Store(tmp_path) as store:
    with pytest.raises(UserError, match='1, 2'):
      store.restore_last(state(0.0))
  names = sorted(f.name for f in (tmp_path / 'checkpoints').iterdir())
  assert names == ['1', '2']


def test_another_model_is_no_damage(tmp_path, about):
  with Store(tmp_path) as store:
    store.save(1, state(1), about)
  other = state(1) | {'opt_state': {'trace': np.zeros((5,), np.float32)}}
  with Store(tmp_path) as store:
    with pytest.raises(UserError, match='checkpoint 1 .*(4|5),'):
      store.restore_last(other)
  assert (tmp_path / 'checkpoints' / '1').is_dir()


def test_unlogged_metrics_are_restored(tmp_path, about):
  rows = ({'loss': 0.1, 'top1': float(np.float32(0.3))},)
  about = dataclasses.replace(about, unlogged=rows, skipped=3)
  with Store(tmp_path) as store:
    store.save(1, state(1), about)
    store.wait()
    assert store.restore_last(state(0))[1] == about
  with Store(tmp_path / 'empty') as store:
    assert store.restore_last(state(0)) is None


def test_a_full_disk_is_named(tmp_path, about, monkeypatch):
  """TensorStore reports it as a ValueError."""
  with Store(tmp_path) as store:
    store.save(1, state(1), about)
    store.wait()

    def full(*_, **__):
      raise ValueError(
        'RESOURCE_EXHAUSTED: Error writing "a" [OS error 28: ENOSPC No space '
        "left on device] [source locations='x.cc:1']"
      )

    monkeypatch.setattr(store._manager, 'save', full)
    with pytest.raises(UserError, match='checkpoint 2 .*No space left'):
      store.save(2, state(2), about)
    assert store.find('last') == 1
