"""Finds the checkpoints to evaluate, and names their output folders."""

import dataclasses
import functools
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
  """A checkpoint to evaluate, not read yet.

  Attributes:
    name: in messages and results.
    folder: name of the subfolder for its results.
    load: reads the checkpoint; raises a UserError if it cannot be read.
    path: of the checkpoint.
    role: 'best', 'last', 'best, last' or ''.
  """

  name: str
  folder: str
  load: Callable[[], LoadedModel]
  path: str = ''
  role: str = ''


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

  A missing step raises its UserError only in `Candidate.load`, so that the
  other checkpoints are still evaluated.

  Args:
    workdir: of the run.
    which: 'best', 'last', 'all', or step numbers.
    override: changes the run's config.

  Raises:
    UserError: the run has no finished checkpoint, or a name is unknown.
  """
  existing = metadata.steps(workdir)
  selected: dict[int, str] = {}  # step -> role, in order
  for name in which:
    if name in ('all', 'last', 'best') and not existing:
      raise UserError(f'{workdir} has no finished checkpoint yet.')
    if name == 'all':
      steps = existing
    elif name == 'last':
      steps = existing[-1:]
    elif name == 'best':
      steps = [_best(workdir)]
      selected[steps[0]] = 'best'
    elif name.isdecimal():
      steps = [int(name)]
    else:
      raise _unknown(workdir, name, existing)
    for step in steps:
      selected.setdefault(step, '')
  candidates = []
  for step, role in selected.items():
    roles = [role] if role else []
    if existing[-1:] == [step]:
      roles.append('last')
    candidate = of_step(workdir, step, override, ', '.join(roles))
    if existing and step not in existing:
      refuse = functools.partial(_refuse, workdir, str(step), existing)
      candidate = dataclasses.replace(candidate, load=refuse)
    candidates.append(candidate)
  return candidates


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
  """Returns the checkpoints at paths and in folders, each once.

  Args:
    paths: checkpoints of any format, or folders with checkpoints.
    config: of the model.
    dataset_names: class names of each head.
    grid: token grid of the checkpoints, see `pretrained.from_file`.

  Raises:
    UserError: a folder that cannot be read.
  """
  candidates: list[Candidate] = []
  taken: set[str] = set()
  seen: set[pathlib.Path] = set()
  for path in paths:
    for one in sources.within(path):
      place = sources.place(one)
      if place in seen:
        continue
      seen.add(place)
      folder = _unique_name(one, taken)
      taken.add(folder)
      read = functools.partial(
        pretrained.from_file, one, config, dataset_names, grid
      )
      candidates.append(Candidate(str(one), folder, read, str(one)))
  return candidates


def _best(workdir: str | os.PathLike) -> int:
  with store.Store(workdir, read_only=True) as run:
    step = run.find('best')
  if step is None:
    raise UserError(f'{workdir} has no finished checkpoint yet.')
  return step


def _unknown(
  workdir: str | os.PathLike, name: str, existing: Sequence[int]
) -> UserError:
  return UserError(
    f"no checkpoint '{name}' in {workdir}; there are best, last, all and "
    f'steps {", ".join(map(str, existing))}. A path needs --config instead of '
    '--workdir.'
  )


def _refuse(
  workdir: str | os.PathLike, name: str, existing: Sequence[int]
) -> LoadedModel:
  raise _unknown(workdir, name, existing)


def _unique_name(path: pathlib.Path, taken: set[str]) -> str:
  """Returns an unused file name made of the last parts of a path."""
  parts = [re.sub(r'[^\w.-]+', '_', part) for part in path.absolute().parts[1:]]
  for count in range(1, len(parts) + 1):
    name = '-'.join(parts[-count:]).lstrip('.')
    if name and name not in taken:
      return name
  return next(
    f'checkpoint-{i}' for i in range(len(taken) + 1)
    if f'checkpoint-{i}' not in taken
  )  # fmt: skip
