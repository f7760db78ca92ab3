"""What train.py and evaluate.py share: flags, and how a mistake is told."""

import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence

from absl import flags

from vivit_jax import config as configs
from vivit_jax.errors import (
  INTERRUPTED,
  UserError,
  exit_on_user_error,
  nearest,
)


def no_positional(arguments: Sequence[str]) -> None:
  """Raises a UserError for arguments that are no flags."""
  if len(arguments) > 1:
    raise UserError(f"'{arguments[1]}' is no flag; flags begin with --.")


def run(
  main: Callable[[list[str]], int | None],
  usage: str,
  required: Sequence[str] = (),
) -> int:
  """Parses flags, runs `main`, and returns the exit code.

  A user's mistake ends with one sentence and code 2, Ctrl-C with code 130,
  neither with a traceback.
  """
  _quieten_libraries()
  signal.signal(signal.SIGINT, _end_at_once)
  arguments = sys.argv
  if any(a in ('--help', '-h', '-help', '--helpshort') for a in arguments):
    print(usage.strip() + '\n')
    print(flags.FLAGS.main_module_help() or flags.FLAGS.get_help())
    return 0
  with exit_on_user_error(at_once=True):
    rest = _parse(arguments)
    for name in required:
      if flags.FLAGS[name].value is None:
        raise UserError(f'--{name} is missing; --help shows the usage.')
    try:
      return main(rest) or 0
    except KeyboardInterrupt:
      _end_at_once()
  return 0


def _end_at_once(*_) -> None:
  """Ends the process on Ctrl-C.

  Python's own KeyboardInterrupt gets lost in the imports of some libraries.
  Files are written whole or not at all, and worker processes end with this.
  """
  print('\ninterrupted', file=sys.stderr, flush=True)
  os._exit(INTERRUPTED)


def _quieten_libraries() -> None:
  """Keeps what no user can act on off the terminal."""
  # TensorFlow, which clu writes its summaries with.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
  # Python's tracker of shared memory, when it frees the batches that were
  # ready but not asked for.
  os.environ.setdefault('PYTHONWARNINGS', 'ignore:resource_tracker:UserWarning')
  logging.getLogger('absl').setLevel(logging.ERROR)  # Orbax


def read_config(holder) -> configs.TrainConfig:
  """Returns the checked experiment of a --config flag.

  Raises:
    UserError: no such file, or values that do not fit.
  """
  try:
    config = holder.value.to_dict()
  except OSError:
    path = flags.FLAGS['config'].config_filename
    raise UserError(f'there is no config file {path}.') from None
  except AttributeError:
    raise UserError('the config file returns no ConfigDict.') from None
  resolved = configs.from_mapping(config)
  configs.check(resolved)
  return resolved


def _parse(arguments: list[str]) -> list[str]:
  """Parses flags; whatever ml_collections raises becomes one sentence."""
  try:
    return flags.FLAGS(arguments)
  except flags.Error as error:
    sentence = str(error).strip().splitlines()[-1].rstrip('.')
    raise UserError(f'{sentence}.') from None
  except (AttributeError, KeyError) as error:
    raise _unknown_key(arguments, error) from None


def _unknown_key(arguments: list[str], error: Exception) -> UserError:
  """Returns the sentence for the first --config.<key> that is not a key."""
  for argument in arguments[1:]:
    name = argument.lstrip('-').partition('=')[0]
    if not name.startswith('config.'):
      continue
    level = configs.default()
    for part in name.split('.')[1:]:
      if not hasattr(level, 'keys') or part not in level:
        known = list(level) if hasattr(level, 'keys') else []
        return UserError(
          f"unknown config key '{name[len('config.') :]}' in flag "
          f'{argument}.{nearest(part, known)}'
        )
      level = level[part]
  missing = re.search(r'Key "(\w+)" does not exist', str(error))
  if missing:
    meant = re.search(r'Did you mean "(\w+)"', str(error))
    hint = f" Did you mean '{meant[1]}'?" if meant else ''
    return UserError(f"unknown key '{missing[1]}' in the config file.{hint}")
  return UserError(f'the config file has a mistake: {str(error).strip()}')
