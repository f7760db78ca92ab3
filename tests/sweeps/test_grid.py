"""Runs of a sweep: crossed, named, checked; mistakes are named."""

import json

import numpy as np
import pytest
from planned import planned

from vivit_jax import config as configs
from vivit_jax import sweeps
from vivit_jax.errors import UserError


def test_parts_are_crossed_and_chained():
  crossed = sweeps.product(
    sweeps.values('a', [1, 2]),
    sweeps.chain(sweeps.values('b', [3, 4]), sweeps.fixed({'c': 5})),
    sweeps.fixed({'d': 6}),
  )
  assert crossed == [
    {'a': 1, 'b': 3, 'd': 6},
    {'a': 1, 'b': 4, 'd': 6},
    {'a': 1, 'c': 5, 'd': 6},
    {'a': 2, 'b': 3, 'd': 6},
    {'a': 2, 'b': 4, 'd': 6},
    {'a': 2, 'c': 5, 'd': 6},
  ]
  with pytest.raises(ValueError, match='two parts of a product override a'):
    sweeps.product(sweeps.values('a', [1]), sweeps.fixed({'a': 2}))


def test_a_run_is_the_config_with_its_overrides(tmp_path):
  runs = planned(
    tmp_path,
    "sweeps.product(sweeps.values('optim.clip_norm', [None, 2]),"
    " sweeps.values('optim.learning_rate', np.geomspace(0.01, 1, 3)),"
    " sweeps.fixed({'model.heads': {'verb': 3}}))",
  )
  assert [run.name for run in runs][:2] == [
    'clip_norm=None,learning_rate=0.01',
    'clip_norm=None,learning_rate=0.1',
  ]
  last = runs[-1].config
  assert (last.optim.clip_norm, last.optim.learning_rate) == (2.0, 1.0)
  assert last.model.heads == {'verb': 3}
  assert runs[0].config.optim.clip_norm is None
  assert type(runs[0].overrides['optim.learning_rate']) is float
  assert not isinstance(runs[0].overrides['optim.learning_rate'], np.generic)


def test_arrays_of_numpy_are_lists(tmp_path):
  runs = planned(
    tmp_path,
    "sweeps.product(sweeps.values('data.crop', np.array([[32, 64], [64, 32]])),"
    " [{'data.mean': [np.float64(0.5)] * 3}, {'data.mean': np.zeros(3)}],"
    " sweeps.fixed({'data.short_side': np.array(64),"
    " 'model.heads': {'verb': np.int64(3)}}))",
  )
  assert len(runs) == 4 and runs[1].name == 'crop=32x64,mean=0x0x0'
  first = runs[0].config
  assert first.data.crop == (32, 64) and first.data.mean == (0.5, 0.5, 0.5)
  assert first.model.heads == {'verb': 3} and first.data.short_side == 64
  assert json.loads(configs.to_json(first))['data']['crop'] == [32, 64]


def test_names_are_what_differs():
  name = sweeps.names
  assert name([{'a.x': 1, 'b.y': 2}, {'a.x': 3, 'b.y': 2}]) == ['x=1', 'x=3']
  assert name([{'a.x': 1, 'b.x': 2}, {'a.x': 3, 'b.x': 4}]) == [
    'a.x=1,b.x=2',
    'a.x=3,b.x=4',
  ]
  assert name([{'a.x': 1}, {}, {'b.y': 2}]) == ['x=1', 'default', 'y=2']
  assert name([{'a.x': 1}]) == ['x=1'] and name([{}]) == ['default']
  assert name([{'crop': (8, 4)}]) == ['crop=8x4']


def test_names_are_safe_and_unique():
  paths = ['/a/b c', '/a/b:c', 'CaSe', 'case', '../x', 'x' * 300]
  found = sweeps.names([{'init_from': path} for path in paths])
  assert len({name.lower() for name in found}) == len(paths)
  for name in found:
    assert len(name) <= 120 and set(name) < set(
      'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_=.-+'
    )
  # Alike when rounded, and the same in every process.
  near = [{'x': 0.1234567}, {'x': 0.1234568}]
  assert sweeps.names(near) == sweeps.names(near)
  assert len(set(sweeps.names(near))) == 2


@pytest.mark.parametrize(
  'body, words',
  [
    (
      "[{'optim.learning_rat': 1.0}]",
      r"mine.py: unknown config key 'optim.learning_rat'. Did you mean "
      "'optim.learning_rate'",
    ),
    ("[{'batch_size': 4}]", "'batch_size'. Did you mean 'train.batch_size'"),
    ("[{'train': {}}]", "'train' is a section of keys; override one"),
    ("[{'train.seed': 'x'}]", "run seed=x: train.seed is 'x'.*int"),
    ("[{'train.batch_size': 0}]", 'batch_size=0: train.batch_size is 0; above'),
    (
      "[{'optim.learning_rate': np.geomspace(0.1, 1, 3)}]",
      r'optim.learning_rate is \[0.1, .*\]; it takes a value of float',
    ),
    (
      "[{'train.accumulate': 3}]",
      'accumulate=3: train.batch_size is 64, which train.accumulate cuts in 3',
    ),
    ('[]', 'returns an empty list'),
    ('None', 'returns no list of dicts'),
    ("['train.seed']", 'returns no list of dicts'),
    ("[{'optim.b1': 0.5}]", 'optim.b1 is overridden by a flag and by sweep'),
    ('1 / 0', 'mine.py, line 4: ZeroDivisionError: division by zero'),
    (
      "sweeps.product([{'a': 1}], [{'a': 2}])",
      'mine.py, line 4: ValueError: two parts of a product override a',
    ),
  ],
)
def test_mistakes_are_named(tmp_path, body, words):
  with pytest.raises(UserError, match=words):
    planned(tmp_path, body, given=['optim.b1'])


def test_a_file_without_a_sweep_is_named(tmp_path):
  (tmp_path / 'mine.py').write_text('x = 3\n')
  with pytest.raises(UserError, match='mine.py has no function sweep'):
    sweeps.read(str(tmp_path / 'mine.py'))
  with pytest.raises(UserError, match='there is no config file .*absent.py'):
    sweeps.read(str(tmp_path / 'absent.py'))


def test_the_same_run_twice_is_one(tmp_path):
  runs = planned(
    tmp_path, "[{'train.seed': 1}, {'train.seed': 2}, {'train.seed': 1}]"
  )
  assert [run.name for run in runs] == ['seed=1', 'seed=2']
