"""Heads side by side are the heads that train.py trains one by one."""

import csv
import dataclasses
import pathlib
import shutil

import demo
import jax
import numpy as np
import pytest

from vivit_jax import config as configs
from vivit_jax import files
from vivit_jax.checkpoints import load, names
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.errors import UserError
from vivit_jax.evaluation import evaluate
from vivit_jax.probing import experiment, grid, winner
from vivit_jax.training import experiment as experiments
from vivit_jax.training import loop

GRID = {
  'probe__pools': ('mean', 'attention/vjepa'),
  'probe__learning_rates': (1e-2, 1e-3),
  'probe__weight_decays': (0.5,),
  'train__epochs': 1.0,
  'train__validate_every': 6,
  'train__log_every': 3,
  'model__dropout': 0.3,
  'model__stochastic_depth': 0.5,
}


@pytest.fixture(scope='session')
def encoder(prepared, tmp_path_factory) -> pathlib.Path:
  """Returns a workdir with an encoder of random weights."""
  folder = tmp_path_factory.mktemp('encoder')
  config = configs.resolve(demo.config(prepared, model__pool='mean'))
  built, state = experiments.build_experiment(config, folder)
  description = Description(built.config, built.source.label_names)
  (folder / 'config.json').write_text(configs.to_json(built.config))
  with Store(folder) as store:
    store.save(1, jax.tree.map(np.asarray, state), description)
  return folder


def config_of(data_dir, encoder, **changes) -> configs.TrainConfig:
  config = demo.config(data_dir, **GRID | changes)
  config.init_from = str(encoder)
  return configs.resolve(config)


def read_table(folder: pathlib.Path) -> list[dict]:
  """Returns the rows of probe.csv, with numbers."""
  with open(folder / 'probe.csv', newline='') as file:
    rows = list(csv.DictReader(file))
  texts = ('head', 'pool')
  return [
    {k: v if k in texts else float(v) for k, v in row.items()} for row in rows
  ]


def last_params(folder: pathlib.Path) -> dict:
  with Store(folder, read_only=True) as store:
    return names.flatten(store.restore_parameters(store.find('last')))


def test_heads_are_those_trained_alone(prepared, encoder, tmp_path):
  """With mixup and dropout, beside heads whose updates overflow.

  The frozen arrays stay as they are.
  """
  config = config_of(
    prepared, encoder, augment__mixup=0.5, augment__erasing=0.5,
    train__ema=0.9, probe__learning_rates=(1e-2, 1e38, 1e-3),
  )  # fmt: skip
  folder = tmp_path / 'probe'
  assert experiment.probe(config, folder) == 0
  heads, table = grid.heads(config), read_table(folder)
  assert {row['rate'] for row in table if row['skipped']} == {1e38}
  assert sorted(row['head'] for row in table) == sorted(h.name for h in heads)
  with Store(folder / 'grid', read_only=True) as store:
    side_by_side = store.restore_parameters(6)
  frozen = last_params(encoder)
  kernel = side_by_side['mean']['output_projection']['kernel']
  np.testing.assert_array_equal(kernel[1], 0.0)  # as it began
  for number in (2, 3):
    head = heads[number]
    alone = tmp_path / str(number)
    assert loop.train(head.config(config), alone) == 0
    found = names.flatten(side_by_side[head.pool])
    for name, expected in last_params(alone).items():
      if name not in found:
        np.testing.assert_array_equal(frozen[name], expected)
        continue
      assert not np.array_equal(expected, frozen.get(name))
      one = found[name][number % 3]
      np.testing.assert_allclose(one, expected, rtol=2e-4, atol=2e-6)
    [loss] = [row['loss'] for row in table if row['head'] == head.name]
    expected = demo.rows(alone)[-1]['validation/loss']
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_the_winner_is_an_ordinary_checkpoint(prepared, encoder, tmp_path):
  config = config_of(
    prepared, encoder, model__attention_pool__form='vjepa',
    probe__pools=('mean', 'attention'), model__attention_pool__blocks=1,
  )  # fmt: skip
  folder = tmp_path / 'probe'
  assert experiment.probe(config, folder) == 0
  table = read_table(folder)
  best = table[0]
  assert best['top1'] == max(row['top1'] for row in table)
  for name, array in last_params(encoder).items():
    found = last_params(folder).get(name)
    if not name.startswith('output_projection'):
      np.testing.assert_array_equal(found, array)
  results = evaluate.evaluate(folder, split='validation', views='1x1')
  [scores] = [result['scores'] for result in results.values()]
  for name in ('verb/top1', 'noun/top1'):
    assert scores[name] == pytest.approx(best[name])
  # The same command changes nothing, even without the log and the encoder.
  before = last_params(folder)
  (folder / 'grid' / 'metrics.jsonl').write_text('{')
  gone = dataclasses.replace(config, init_from='hf://of/nobody')
  assert experiment.probe(gone, folder) == 0
  for name, array in last_params(folder).items():
    np.testing.assert_array_equal(array, before[name])
  assert read_table(folder) == table
  with pytest.raises(UserError, match='probe.learning_rates') as error:
    experiment.probe(
      config_of(prepared, encoder, probe__learning_rates=(1e-1, 1e-3)), folder
    )
  assert 'optim.' not in str(error.value)


def test_other_encoders_are_refused(prepared, encoder, tmp_path):
  """A copy elsewhere is not another encoder; the heads alone are no model."""
  config = config_of(prepared, encoder, train__epochs=0.5)
  folder = tmp_path / 'probe'
  assert experiment.probe(config, folder) == 0
  shutil.rmtree(folder / 'checkpoints')
  (folder / 'config.json').unlink()  # as of a probe that is not finished
  with pytest.raises(UserError, match=str(folder)):
    load.load(folder)
  with pytest.raises(UserError, match='probe'):
    load.load(folder / 'grid')
  copy = tmp_path / 'copy'
  shutil.copytree(encoder, copy)
  moved = dataclasses.replace(config, init_from=str(copy))
  assert experiment.probe(moved, folder) == 0
  with pytest.raises(UserError, match=str(folder)):
    experiments.open_data(config, folder)  # as train.py does
  with Store(copy) as store:
    params = store.restore_parameters(1)
    params['embedding']['bias'] += 1.0
    store.save(2, {'params': params}, store.describe(1))
  with pytest.raises(UserError, match=str(copy)):
    experiment.probe(moved, folder)


@pytest.mark.parametrize('step', [3, 5])
def test_a_winner_is_deleted_after_the_next_is_saved(
  step, encoder, tmp_path, monkeypatch
):
  """It may be all that has the encoder."""
  folder = tmp_path / 'probe'
  shutil.copytree(encoder, folder)
  with Store(folder) as store:
    about, old = store.describe(1), store.restore_parameters(1)
  new = {'params': jax.tree.map(lambda x: x + 1, old)}

  def fail(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patched:
    patched.setattr(winner.Store, 'save', fail)
    with pytest.raises(KeyboardInterrupt):
      winner._save(folder, step, new, about, {})
  np.testing.assert_array_equal(
    last_params(folder)['embedding/bias'], old['embedding']['bias']
  )
  for _ in range(2):
    winner._save(folder, step, new, about, {})
    assert [x.name for x in (folder / 'checkpoints').iterdir()] == [str(step)]
    np.testing.assert_array_equal(
      last_params(folder)['embedding/bias'], new['params']['embedding']['bias']
    )


def stored(config: configs.TrainConfig, **keys) -> configs.TrainConfig:
  probe = dataclasses.replace(config.probe, tokens='stored', **keys)
  return dataclasses.replace(config, probe=probe)


def test_stored_tokens_give_the_head_of_the_encoder(
  prepared, encoder, tmp_path
):
  """In float32, of clips without random draws; and they are used again."""
  config = config_of(
    prepared, encoder, data__sampling='whole', data__short_side=40,
    augment__repeats=2,
  )  # fmt: skip
  assert experiment.probe(config, tmp_path / 'through') == 0
  place = tmp_path / 'tokens'
  config = stored(config, dtype='float32', folder=str(place))
  assert experiment.probe(config, tmp_path / 'stored') == 0
  through, found = (
    last_params(tmp_path / name / 'grid') for name in ('through', 'stored')
  )
  assert through.keys() == found.keys()
  for name, array in through.items():
    np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-6)
  stamps = {path: files.stamp(path) for path in place.rglob('*.npy')}
  assert len(stamps) == 2
  [path] = place.glob('validation/**/*.npy')
  whole = path.read_bytes()
  path.write_bytes(whole[:-40] + b'\7' + whole[-39:])
  with pytest.raises(UserError, match=str(path)):  # another head might win
    experiment.probe(config, tmp_path / 'damaged')
  assert experiment.probe(config, tmp_path / 'damaged') == 0
  assert path.read_bytes() == whole
  found = last_params(tmp_path / 'damaged')
  for name, array in last_params(tmp_path / 'stored').items():
    np.testing.assert_array_equal(found[name], array)
  stamps[path] = files.stamp(path)
  probe = dataclasses.replace(config.probe, pools=('mean',))
  other = dataclasses.replace(config, probe=probe)
  assert experiment.probe(other, tmp_path / 'again') == 0
  assert stamps == {path: files.stamp(path) for path in place.rglob('*.npy')}
  augment = dataclasses.replace(config.augment, flip=0.25)
  other = dataclasses.replace(config, augment=augment)
  with pytest.raises(UserError, match='augment.flip is 0.0 there'):
    experiment.probe(other, tmp_path / 'flipped')


def test_equal_splits_have_two_folders(prepared, encoder, tmp_path, capsys):
  config = config_of(prepared, encoder, train__validation_split='train')
  config = stored(config, max_gigabytes=1e-9)
  with pytest.raises(UserError, match='probe.max_gigabytes'):
    experiment.probe(config, tmp_path)
  lines = capsys.readouterr().out.splitlines()
  places = [line.split()[1] for line in lines if line.startswith('tokens ')]
  assert len(set(places)) == 2
  # The arrays of the encoder are listed once, not for each pool.
  assert sum(line.startswith('starting from') for line in lines) == 1
