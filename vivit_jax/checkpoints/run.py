"""The folder of a run: its config, written once and held to."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from vivit_jax import config as configs
from vivit_jax import files, locks, typed
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError

# Sections and keys that may change between stopping and going on: the curve
# of the loss does not depend on them.
_FREE = (
  'model.scan',
  'model.remat',
  'data.data_dir',
  'data.short_videos',
  'data.workers',
  'data.max_unreadable',
  'train.accumulate',
  'train.max_skipped',
  'train.log_every',
  'train.profile_first',
  'train.profile_steps',
  'train.wandb',
  'train.checkpoint_every',
  'train.keep_checkpoints',
  'train.validate_every',
  'train.validate_epochs',
  'train.validation_split',
  'evaluation.',
)
_PATHS = ('init_from', 'class_order')  # the same file, however it is named


def check(workdir: str | os.PathLike, config: TrainConfig) -> None:
  """Raises what `claimed` would, and leaves the folder as it is.

  Heads that are the dataset's, not named in the config, are not compared.
  """
  folder = pathlib.Path(workdir)
  if (folder / 'config.json').exists():
    there = _read(folder / 'config.json')
    if not config.model.heads:
      there = configs.with_heads(there, {})
    check_same(there, config, folder)
  parents = [p for p in (folder, *folder.absolute().parents) if p.exists()]
  if (reason := _why_not_writable(parents[0])) is not None:
    raise UserError(
      f'cannot write to the workdir {folder}: {parents[0]} {reason}. Choose '
      'another --workdir.'
    )


def _why_not_writable(there: pathlib.Path) -> str | None:
  """Returns why nothing can be written in what is there; None if it can."""
  if not there.is_dir():
    return 'is no folder'
  if os.access(there, os.W_OK | os.X_OK):
    return None
  if os.statvfs(there).f_flag & os.ST_RDONLY:
    return 'is on a read-only file system'
  return 'is not yours to write to'


@contextlib.contextmanager
def claimed(
  workdir: str | os.PathLike, config: TrainConfig
) -> Iterator[pathlib.Path]:
  """Makes the folder and writes `config.json`, or checks the one there.

  A context, in which no other process can claim the folder.

  Raises:
    UserError: a folder that cannot be written, of another experiment, or in
      use.
  """
  folder = pathlib.Path(workdir)
  with contextlib.ExitStack() as stack:
    try:
      folder.mkdir(parents=True, exist_ok=True)
      in_use = f'another process is training in {folder}: wait until it ends.'
      stack.enter_context(locks.locked(folder, in_use))
      path = folder / 'config.json'
      if path.exists():
        check_same(_read(path), config, folder)
      with files.replacing(path) as unfinished:
        unfinished.write_text(configs.to_json(config))
    except OSError as error:
      raise UserError(
        f'cannot write to the workdir {folder}: {error.strerror}. Choose '
        'another --workdir.'
      ) from None
    yield folder


def read_config(workdir: str | os.PathLike) -> TrainConfig:
  """Returns the config of a run.

  Raises:
    UserError: no run there.
  """
  path = pathlib.Path(workdir) / 'config.json'
  try:
    return _read(path)
  except OSError:
    why = 'is no workdir: it has no config.json. Train into it first.'
    if (pathlib.Path(workdir) / 'checkpoints').is_dir():
      why = (
        'has checkpoints, but no config.json any more: the command that '
        'trained them writes it again.'
      )
    raise UserError(f'{workdir} {why}') from None


def _read(path: pathlib.Path) -> TrainConfig:
  """Reads a config; OSError where there is none."""
  try:
    return configs.from_json(path.read_text('utf-8'))
  except (UserError, UnicodeDecodeError) as error:
    raise UserError(
      f'{path} is damaged, or of another version ({error}): train into another '
      '--workdir.'
    ) from None


def check_same(
  there: TrainConfig, asked: TrainConfig, folder: str | os.PathLike
) -> None:
  """Raises a UserError where keys differ that may not change in a run."""
  old, new = (
    {key: _whole(key, value) for key, value in flat(c).items()}
    for c in (there, asked)
  )
  different = [
    f'{key} is {old.get(key)!r} there and {new.get(key)!r} now'
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key) and not key.startswith(_FREE)
  ]
  if different:
    raise UserError(
      f'{folder} holds a run of another config: {"; ".join(different)}. Choose '
      'another --workdir, or the same values.'
    )


def _whole(key: str, value: Any) -> Any:
  """Returns a value, of a key that is a path the whole path."""
  return os.path.abspath(value) if value and key in _PATHS else value


def flat(config: TrainConfig) -> dict[str, Any]:
  """Returns a config's values by their dotted keys, empty mappings left out."""
  return {k: value for k, value in typed.flat(config).items() if value != {}}
