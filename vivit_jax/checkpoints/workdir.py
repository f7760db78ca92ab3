"""The folder of a run; a resumed run may change few keys of its config."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from vivit_jax import config as configs
from vivit_jax import files, locks, typed
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError

# Prefixes of keys that may change when a run is resumed: they do not affect the
# loss curve.
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
  'probe.folder',
  'probe.max_gigabytes',
)
UNFINISHED = 'has an unfinished probe: repeat its command to finish it.'
GRID = 'grid'  # folder of a probe's workdir, the run of all heads
_EPOCHS = 'train.epochs'  # may grow: the run goes on
_PATHS = ('init_from', 'class_order')  # compared as absolute paths


def check(workdir: str | os.PathLike, config: TrainConfig) -> None:
  """Raises the errors of `claimed` but for the lock; writes nothing.

  If the config has no heads, heads are not compared.
  """
  files.check_local(workdir)
  folder = pathlib.Path(workdir)
  if (folder / GRID).is_dir():
    raise UserError(
      f'{folder} has a probe: choose another --workdir. To train its winner '
      f'further, start from it with --config.init_from={folder}.'
    )
  if (folder / 'config.json').exists():
    saved = _read(folder / 'config.json')
    if not config.model.heads:
      saved = configs.with_heads(saved, {})
    check_same(saved, config, folder)
  parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
  if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
    raise UserError(
      f'cannot write to the workdir {folder}: {parent} is not a folder that '
      'you may write to. Choose another --workdir.'
    )


@contextlib.contextmanager
def claimed(
  workdir: str | os.PathLike, config: TrainConfig
) -> Iterator[pathlib.Path]:
  """Creates a workdir and locks it until the context exits.

  Checks an existing `config.json` (`check_same`), then writes the new config.

  Raises:
    UserError: a folder that cannot be written, that has another config, or that
      another process has locked.
  """
  with locked(workdir) as folder:
    path = folder / 'config.json'
    if path.exists():
      check_same(_read(path), config, folder)
    write_config(folder, config)
    yield folder


@contextlib.contextmanager
def locked(workdir: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Creates a workdir and locks it until the context exits.

  Raises:
    UserError: as `claimed`, but for the config.
  """
  folder = pathlib.Path(workdir)
  in_use = f'another process is training in {folder}: wait until it ends.'
  with contextlib.ExitStack() as stack:
    with _writing(folder):
      folder.mkdir(parents=True, exist_ok=True)
      stack.enter_context(locks.locked(folder, in_use))
    yield folder


def write_config(folder: pathlib.Path, config: TrainConfig) -> None:
  """Writes config.json; raises a UserError if that fails."""
  path = folder / 'config.json'
  with _writing(folder), files.replacing(path) as unfinished:
    unfinished.write_text(configs.to_json(config))


@contextlib.contextmanager
def _writing(folder: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except OSError as error:
    raise UserError(
      f'cannot write to the workdir {folder}: {error.strerror}. Choose '
      'another --workdir.'
    ) from None


def extends(workdir: str | os.PathLike, config: TrainConfig) -> bool:
  """Returns whether a config trains a workdir's run for more epochs."""
  path = pathlib.Path(workdir, 'config.json')
  return path.exists() and _read(path).train.epochs < config.train.epochs


def read_config(workdir: str | os.PathLike) -> TrainConfig:
  """Returns the config of a run.

  Raises:
    UserError: a folder without a config.json, or a damaged one.
  """
  folder = pathlib.Path(workdir)
  try:
    return _read(folder / 'config.json')
  except OSError:
    reason = 'is no workdir: it has no config.json. Train into it first.'
    if (folder / GRID).is_dir():
      reason = UNFINISHED
    if (folder / 'checkpoints').is_dir():
      reason = (
        'has checkpoints, but no config.json: repeat the training command to '
        'write it.'
      )
    raise UserError(f'{workdir} {reason}') from None


def _read(path: pathlib.Path) -> TrainConfig:
  """Reads a config; raises an OSError if the file cannot be read."""
  try:
    return configs.from_json(path.read_text('utf-8'))
  except (UserError, UnicodeDecodeError) as error:
    raise UserError(
      f'{path} is damaged, or of another version ({error}): choose another '
      '--workdir.'
    ) from None


def check_same(
  saved: TrainConfig, requested: TrainConfig, folder: str | os.PathLike
) -> None:
  """Raises a UserError if a key differs that must not change during a run.

  More epochs are allowed: they continue the run.
  """
  old, new = (
    {key: _comparable(key, value) for key, value in flat(c).items()}
    for c in (saved, requested)
  )
  different = [
    f'{key} is {old.get(key)!r} there and {new.get(key)!r} now'
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key)
    and not key.startswith(_FREE)
    and not (key == _EPOCHS and old[key] < new[key])
  ]
  if different:
    raise UserError(
      f'{folder} has a run with another config: {"; ".join(different)}. Choose '
      'another --workdir, or the same values.'
    )


def _comparable(key: str, value: Any) -> Any:
  return files.absolute(value) if value and key in _PATHS else value


def flat(config: TrainConfig) -> dict[str, Any]:
  """Returns a config's values by dotted key, without empty mappings."""
  return {k: value for k, value in typed.flat(config).items() if value != {}}
