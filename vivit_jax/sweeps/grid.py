"""The runs of a sweep: lists of overrides, crossed, named and checked."""

import dataclasses
import hashlib
import itertools
import json
import re
import runpy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vivit_jax import config as configs
from vivit_jax import config_file
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.models import family as families

Overrides = dict[str, Any]  # dotted key -> value

_MOST_LETTERS = 120  # of a name; a file system takes 255 bytes
_NO_DIFFERENCE = 'default'  # the name of a run that overrides nothing


@dataclasses.dataclass(frozen=True)
class Run:
  """One run of a sweep.

  Attributes:
    name: of its folder, told from what it overrides.
    overrides: as `sweep()` gave them.
    config: the experiment, checked.
  """

  name: str
  overrides: Overrides
  config: TrainConfig


def values(key: str, those: Iterable[Any]) -> list[Overrides]:
  """Returns one run for each value of a key."""
  return [{key: value} for value in those]


def fixed(overrides: Mapping[str, Any]) -> list[Overrides]:
  """Returns one run; in a product, what all runs have in common."""
  return [dict(overrides)]


def chain(*parts: Iterable[Mapping[str, Any]]) -> list[Overrides]:
  """Returns the runs of all parts, one part after another."""
  return [dict(run) for run in itertools.chain(*parts)]


def product(*parts: Iterable[Mapping[str, Any]]) -> list[Overrides]:
  """Returns every run of each part with every run of the others.

  The last part changes fastest.

  Raises:
    ValueError: two parts that override the same key.
  """
  runs = []
  for chosen in itertools.product(*parts):
    times = Counter(key for run in chosen for key in run)
    for key in times:
      if times[key] > 1:
        raise ValueError(f'two parts of a product override {key}')
    runs.append({key: v for run in chosen for key, v in run.items()})
  return runs


def read(path: str) -> list[Overrides]:
  """Returns what `sweep()` of a config file gives, each run once.

  Raises:
    UserError: no such file or function, code that fails, or a result that is
      no list of dicts.
  """
  try:
    defined = runpy.run_path(path)
    if 'sweep' not in defined:
      raise UserError(
        f'{path} has no function sweep: let it return a list of overrides, as '
        'in vivit_jax/sweeps/__init__.py.'
      )
    found = defined['sweep']()
  except UserError:
    raise
  except FileNotFoundError:
    raise UserError(f'there is no config file {path}.') from None
  except Exception as error:  # whatever a file may raise
    raise config_file.mistake(error, path) or error from None
  if not isinstance(found, list | tuple) or not all(
    isinstance(run, Mapping) for run in found
  ):
    raise UserError(
      f'sweep() of {path} returns no list of dicts, such as '
      "[{'optim.learning_rate': 0.1}]."
    )
  if not found:
    raise UserError(f'sweep() of {path} returns an empty list: no runs.')
  runs = []
  for run in found:
    run = {key: _plain(value) for key, value in run.items()}
    if run not in runs:
      runs.append(run)
  return runs


def plan(base: TrainConfig, path: str, given: Iterable[str] = ()) -> list[Run]:
  """Returns the runs of a config file's sweep, all checked.

  Args:
    base: what `get_config` describes, with the overrides of flags.
    path: of the file.
    given: the keys that flags override.

  Raises:
    UserError: as of `read`; a key that there is not, or that a flag gives too;
      or values that do not fit.
  """
  overrides = read(path)
  known = configs.keys()
  for key in dict.fromkeys(key for run in overrides for key in run):
    if key not in known:
      what = 'is a section of keys' if configs.is_key(str(key)) else None
      raise UserError(
        f"sweep() of {path}: '{key}' {what}; override one of them."
        if what
        else f'sweep() of {path}: {configs.unknown_key(str(key))}'
      )
    if key in given:
      raise UserError(
        f'{key} is overridden by a flag and by sweep() of {path}: leave one of '
        'them out.'
      )
  return [
    Run(name, run, _experiment(base, run, f'sweep() of {path}, run {name}'))
    for name, run in zip(names(overrides), overrides)
  ]


def _experiment(base: TrainConfig, run: Overrides, where: str) -> TrainConfig:
  mapping = dataclasses.asdict(base)
  if 'model.family' in run:
    model = families.as_family(mapping['model'], run['model.family'])
    mapping['model'] = model
  for key, value in run.items():
    *sections, name = key.split('.')
    part = mapping
    for section in sections:
      part = part[section]
    part[name] = value
  try:
    config = configs.from_mapping(mapping)
    configs.check(config)
  except UserError as error:
    raise UserError(f'{where}: {error}') from None
  return config


def _plain(value: Any) -> Any:
  """Returns numbers and arrays of NumPy, as of `np.geomspace`, as Python's."""
  if isinstance(value, np.generic | np.ndarray):
    return value.tolist()
  if isinstance(value, Mapping):
    return {key: _plain(part) for key, part in value.items()}
  if isinstance(value, list | tuple):
    parts = [_plain(part) for part in value]
    return tuple(parts) if isinstance(value, tuple) else parts
  return value


def names(runs: Sequence[Overrides]) -> list[str]:
  """Returns a name for each run: short, safe as a folder, and unique.

  As in 'learning_rate=0.1,batch_size=64': the keys in which the runs differ,
  without their sections where that is clear. So a sweep that is made to differ
  in one more key gives its runs other names, and trains them again.
  """
  keys = list(dict.fromkeys(key for run in runs for key in run))
  told = [
    key
    for key in keys
    if any(key not in run or run[key] != runs[0].get(key) for run in runs)
  ]
  told = told or keys
  last = Counter(key.rpartition('.')[2] for key in told)
  short = {
    key: name if last[name := key.rpartition('.')[2]] == 1 else key
    for key in told
  }
  found = []
  for run in runs:
    parts = [f'{short[k]}={_word(run[k])}' for k in told if k in run]
    found.append(','.join(parts) or _NO_DIFFERENCE)
  same = Counter(name.lower() for name in found)  # as some file systems do
  return [
    name
    if same[name.lower()] == 1 and len(name) <= _MOST_LETTERS
    else f'{name[: _MOST_LETTERS - 9]}-{_digest(run)}'
    for name, run in zip(found, runs)
  ]


def _word(value: Any) -> str:
  """Returns a value in letters that every file system takes."""
  if isinstance(value, list | tuple):
    return 'x'.join(_word(part) for part in value)
  if isinstance(value, float):
    return f'{value:.6g}'
  return re.sub(r'[^\w.+-]+', '-', str(value), flags=re.ASCII).strip('-')


def _digest(run: Overrides) -> str:
  text = json.dumps(run, sort_keys=True, default=repr)
  return hashlib.sha256(text.encode()).hexdigest()[:8]
