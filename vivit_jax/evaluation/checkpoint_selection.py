"""Finds the checkpoints to evaluate, and names their output folders."""

import dataclasses
import functools
import itertools
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence

from vivit_jax.checkpoints import load, metadata, pretrained, sources, store
from vivit_jax.checkpoints.loaded import LoadedModel
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.models.family import Grid


@dataclasses.dataclass(frozen=True)
class Candidate:
  """A checkpoint to evaluate, not read yet."""

  name: str  # in messages and results
  folder: str  # name of the subfolder for its results
  load: Callable[[], LoadedModel]  # raises a UserError if it cannot be read
  path: str
  role: str = ''  # 'best', 'last', 'best, last' or ''


def split(values: Sequence[str]) -> list[str]:
  """Splits values of --checkpoint at commas, except for existing paths.

  Raises:
    UserError: the values are empty or only commas.
  """
  parts = []
  for value in values:
    parts += [value] if os.path.exists(value) else value.split(',')
  parts = [part for part in parts if part]
  if not parts:
    raise UserError(
      f"--checkpoint is '{','.join(values)}', which names none: give best, "
      'last, all or steps, or with --config a path.'
    )
  return parts


def of_run(
  workdir: str | os.PathLike,
  which: Sequence[str],
  override: Callable[[TrainConfig], TrainConfig],
) -> list[Candidate]:
  """Returns checkpoints of a run, each once, in the requested order.

  `which` has 'best', 'last', 'all' and step numbers. `override` changes the
  run's config.

  Raises:
    UserError: the run has no finished checkpoint, or a name is unknown. A
      missing step raises it in `Candidate.load`, so others are still evaluated.
  """
  existing = metadata.steps(workdir)
  roles: dict[int, list[str]] = {}  # of each step, in order
  for name in which:
    if name.isdecimal():
      steps = [int(name)]
    elif name not in ('all', 'last', 'best'):
      raise UserError(
        f"no checkpoint '{name}' in {workdir}; there are best, last, all and "
        f'steps {", ".join(map(str, existing))}. A path needs --config instead '
        'of --workdir.'
      )
    elif not existing:
      raise UserError(f'{workdir} has no finished checkpoint yet.')
    elif name == 'best':
      with store.Store(workdir, read_only=True) as run:
        steps = [run.find('best')]
      roles[steps[0]] = ['best']
    else:
      steps = existing if name == 'all' else existing[-1:]
    for step in steps:
      roles.setdefault(step, [])
  for step in existing[-1:]:
    if step in roles:
      roles[step].append('last')
  return [
    of_step(workdir, step, override, ', '.join(words))
    for step, words in roles.items()
  ]


def of_step(
  workdir: str | os.PathLike,
  step: int,
  override: Callable[[TrainConfig], TrainConfig],
  role: str = '',
) -> Candidate:
  """Returns a run's checkpoint at a step."""
  read = functools.partial(load.from_run, workdir, str(step), override)
  path = pathlib.Path(workdir, 'checkpoints', str(step))
  return Candidate(f'step {step}', f'step_{step}', read, str(path), role)


def of_paths(
  paths: Sequence[str],
  config: TrainConfig,
  dataset_names: Mapping[str, list[str]],
  grid: Grid | None = None,
) -> list[Candidate]:
  """Returns the checkpoints at paths, on the Hub and in folders, each once.

  The other arguments are those of `pretrained.from_file`.

  Raises:
    UserError: a folder that cannot be read.
  """
  candidates: dict[pathlib.Path, Candidate] = {}
  taken: set[str] = set()
  for path in itertools.chain.from_iterable(map(sources.within, paths)):
    place = sources.place(path)
    if place not in candidates:
      folder = _unique_name(path, taken)
      taken.add(folder)
      read = functools.partial(
        pretrained.from_file, path, config, dataset_names, grid
      )
      candidates[place] = Candidate(str(path), folder, read, str(path))
  return list(candidates.values())


def _unique_name(path: str | os.PathLike, taken: set[str]) -> str:
  """Returns an unused file name made of the last parts of a path."""
  parts = pathlib.Path(path).absolute().parts[1:]
  parts = [re.sub(r'[^\w.-]+', '_', part) for part in parts]
  names = ['-'.join(parts[-n:]).lstrip('.') for n in range(1, len(parts) + 1)]
  numbered = (f'checkpoint-{number}' for number in itertools.count())
  every = itertools.chain(names, numbered)
  return next(name for name in every if name and name not in taken)
