"""Which checkpoints an evaluation is of, and what their results are called."""

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence

from vivit_jax.checkpoints import foreign, load, on_disk, sources, store
from vivit_jax.checkpoints.loaded import LoadedModel
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.models.family import Grid


@dataclasses.dataclass(frozen=True)
class Candidate:
  """A checkpoint that is not read yet.

  Attributes:
    name: for people.
    folder: name of the folder of its results, among those of others.
    load: reads it; UserError where it is no such checkpoint.
  """

  name: str
  folder: str
  load: Callable[[], LoadedModel]


def split(values: Sequence[str]) -> list[str]:
  """Returns the parts of flags 'a,b'; a path that exists stays whole.

  Raises:
    UserError: nothing but commas.
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
  """Returns checkpoints of a run, each once, in the order that they are named.

  Args:
    workdir: of the run.
    which: 'best', 'last', steps, and 'all' of them.
    override: changes the run's config.

  Raises:
    UserError: no checkpoints, or what is none of these.
  """
  there = on_disk.steps(workdir)
  steps: dict[int, None] = {}  # a set in order
  for name in which:
    if name == 'all' or name == 'last':
      if not there:
        raise UserError(f'{workdir} has no finished checkpoint yet.')
      steps |= dict.fromkeys(there if name == 'all' else there[-1:])
    elif name == 'best':
      with store.Store.of_run(workdir) as run:
        best = run.find('best')
      if best is None:
        raise UserError(f'{workdir} has no finished checkpoint yet.')
      steps[best] = None
    elif name.isdecimal():
      steps[int(name)] = None
    else:
      raise _unknown(workdir, name, there)
  found = [of_step(workdir, step, override) for step in steps]
  # Only when it is read, so that the others are scored all the same.
  return [
    dataclasses.replace(
      one, load=functools.partial(_refuse, workdir, str(step), there)
    )
    if there and step not in there
    else one
    for step, one in zip(steps, found, strict=True)
  ]


def _unknown(
  workdir: str | os.PathLike, name: str, there: Sequence[int]
) -> UserError:
  return UserError(
    f"no checkpoint '{name}' in {workdir}; there are best, last, all and "
    f'steps {", ".join(map(str, there))}. A path needs --config instead of '
    '--workdir.'
  )


def _refuse(
  workdir: str | os.PathLike, name: str, there: Sequence[int]
) -> LoadedModel:
  raise _unknown(workdir, name, there)


def of_step(
  workdir: str | os.PathLike,
  step: int,
  override: Callable[[TrainConfig], TrainConfig],
) -> Candidate:
  """Returns the checkpoint of a run at a step."""
  read = functools.partial(load.from_run, workdir, str(step), override)
  return Candidate(f'step {step}', f'step_{step}', read)


def of_paths(
  paths: Sequence[str],
  config: TrainConfig,
  dataset_names: Mapping[str, list[str]],
  grid: Grid | None = None,
) -> list[Candidate]:
  """Returns the checkpoints at paths, of folders that hold several, each once.

  Args:
    paths: of any format.
    config: of the model.
    dataset_names: of each head's classes.
    grid: of their tokens, as `foreign.from_file` takes it.

  Raises:
    UserError: a folder that cannot be read.
  """
  found: list[Candidate] = []
  taken: set[str] = set()
  places: set[pathlib.Path] = set()
  for path in paths:
    for one in sources.within(path):
      place = sources.place(one)
      if place in places:
        continue
      places.add(place)
      folder = _folder_name(one, taken)
      read = functools.partial(
        foreign.from_file, one, config, dataset_names, grid
      )
      found.append(Candidate(str(one), folder, read))
  return found


def _folder_name(path: pathlib.Path, taken: set[str]) -> str:
  """Returns a name that tells a path from the others, and takes it."""
  parts = [re.sub(r'[^\w.-]+', '_', part) for part in path.absolute().parts[1:]]
  for count in range(1, len(parts) + 1):
    name = '-'.join(parts[-count:]).lstrip('.')
    if name and name not in taken:
      break
  else:
    name = next(
      f'checkpoint-{i}' for i in range(len(taken) + 1)
      if f'checkpoint-{i}' not in taken
    )  # fmt: skip
  taken.add(name)
  return name
