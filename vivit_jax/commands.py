"""What train.py and evaluate.py share: flags, and how a mistake is told."""

import inspect
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence

from absl import flags

from vivit_jax import config as configs
from vivit_jax import config_file
from vivit_jax.errors import (
  INTERRUPTED,
  TERMINATED,
  UserError,
  exit_on_user_error,
  nearest,
)

# The flags that this module defines are those of the command that asks for
# them: so --help tells them.
flags.disclaim_key_flags()

SWEEP = 'VIVIT_SWEEP'  # environment variable: the process of a sweep.py
_families: list[str] = []  # model.family of each --config that was parsed


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
  quieten_libraries()
  signal.signal(signal.SIGINT, end_at_once)
  arguments = sys.argv
  if any(a in ('--help', '-h', '-help', '--helpshort') for a in arguments[1:]):
    print(usage.strip() + '\n')
    print(flags.FLAGS.main_module_help() or flags.FLAGS.get_help())
    return 0
  with exit_on_user_error(at_once=True):
    rest = _parse(arguments)
    for argument in arguments[1:]:
      if re.fullmatch(r'--?\w+=', argument):
        raise UserError(f'{argument} is empty; it takes a value.')
    for name in required:
      if not flags.FLAGS[name].present:
        raise UserError(f'--{name} is missing; --help shows the usage.')
    try:
      return main(rest) or 0
    except KeyboardInterrupt:
      end_at_once()
    except Exception as error:
      _tell_others(error)
      raise
  return 0


def _tell_others(error: Exception) -> None:
  """Ends the other processes of a run, if there are any, with this one."""
  if 'vivit_jax.peers' not in sys.modules:
    return  # not connected: jax takes a second
  from vivit_jax import distributed, peers

  if distributed.several():
    if isinstance(error, UserError):
      peers.tell_end(str(error))
    else:
      peers.end_after(error)


class NoOutput(UserError):
  """The standard output takes no more."""


def say(text: object) -> None:
  """Prints a line on the standard output, at once.

  Raises:
    BrokenPipeError: nobody reads any more, as after `| head`.
    NoOutput: it cannot be written, for a full disk for one.
  """
  try:
    print(text, flush=True)
  except OSError as error:
    # What is still held back must not fail again when the process ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
      raise
    raise NoOutput(
      f'cannot write to the standard output: {error.strerror or error}.'
    ) from None


def end_at_once(*_) -> None:
  """Ends the process on Ctrl-C.

  Python's own KeyboardInterrupt gets lost in the imports of some libraries.
  Files are written whole or not at all, and worker processes end with this.
  """
  print('\ninterrupted', file=sys.stderr, flush=True)
  os._exit(INTERRUPTED)


def quieten_libraries() -> None:
  """Keeps what no user can act on off the terminal."""
  # TensorFlow, which clu writes its summaries with.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
  # Python's tracker of shared memory, when it frees the batches that were
  # ready but not asked for.
  os.environ.setdefault('PYTHONWARNINGS', 'ignore:resource_tracker:UserWarning')
  # Orbax (absl) and its threads, whose errors are told in one sentence.
  for name in ('absl', 'asyncio', 'concurrent.futures'):
    logging.getLogger(name).setLevel(logging.CRITICAL + 1)
  sys.unraisablehook = _print_unraisable


def _print_unraisable(what) -> None:
  """Prints a traceback, but of what storage leaves behind after an error.

  It calls back when its loop is closed; and of arrays that are read at once,
  each has an error, of which the first one is told in a sentence. Nothing else
  here is a coroutine.
  """
  closed = str(what.exc_value) == 'Event loop is closed'
  if not closed and not inspect.iscoroutine(what.object):
    sys.__unraisablehook__(what)


def end_on_sigterm() -> None:
  """Ends the process on SIGTERM as on Ctrl-C, with its own code."""

  def end(*_):
    print('\nterminated', file=sys.stderr, flush=True)
    os._exit(TERMINATED)

  signal.signal(signal.SIGTERM, end)


def obey_sweep() -> None:
  """Lets the end of the sweep.py that started this, if one did, be SIGTERM.

  So a sweep that is killed leaves no process behind, but checkpoints.
  """
  parent = os.environ.get(SWEEP)
  if parent is None:
    return
  from vivit_jax import processes

  processes.end_with_parent(signal.SIGTERM)
  try:
    os.kill(int(parent), 0)
  except ProcessLookupError:  # it ended before that
    sys.exit(TERMINATED)


def define_config(text: str) -> flags.FlagHolder:
  """Defines --config, a file of an experiment, whose keys are flags too.

  `--config.model.family` changes the options with the family, so that flags
  can name the new one's.
  """
  from ml_collections import ConfigDict, config_flags

  holder = config_flags.DEFINE_config_file('config', None, text)
  parser = flags.FLAGS['config'].parser
  parse = parser.parse

  def parse_as_family(path):
    config = parse(path)
    family = _value_of('config.model.family')
    # What is none, or lacks the section, is told of when it is resolved.
    if isinstance(config, ConfigDict) and 'model' in config:
      if family is not None:
        configs.set_family(config, family)
      _families.append(config.model.family)
    return config

  parser.parse = parse_as_family
  return holder


def _value_of(name: str) -> str | None:
  """Returns the last value of a flag on the command line, before parsing."""
  found = None
  for place, argument in enumerate(sys.argv):
    flag, equals, value = argument.lstrip('-').partition('=')
    if argument.startswith('-') and flag == name:
      found = value if equals else ''.join(sys.argv[place + 1 : place + 2])
  return found


def define_processes() -> None:
  """Defines the flags of a run in several processes."""
  flags.DEFINE_string(
    'coordinator', None, 'HOST:PORT of process 0, of several.'
  )
  flags.DEFINE_integer('processes', None, 'How many processes there are.')
  flags.DEFINE_integer('process', None, 'The number of this process, from 0.')


def connect() -> None:
  """Connects this process to the others, if flags or a launcher say so."""
  from vivit_jax import distributed  # jax takes a second

  values = flags.FLAGS
  distributed.initialise(values.coordinator, values.processes, values.process)


def define_compilation_cache() -> None:
  """Defines the flag of a command that compiles."""
  flags.DEFINE_string(
    'compilation_cache',
    None,
    "Folder to keep compiled programs in, or 'off'; else the user's cache.",
  )


def keep_programs() -> None:
  """Keeps what is compiled from here on, as the flag says."""
  from vivit_jax import compilation_cache  # jax takes a second

  compilation_cache.set_up(flags.FLAGS.compilation_cache)


def read_config(holder) -> configs.TrainConfig:
  """Returns the checked experiment of a --config flag.

  Raises:
    UserError: no such file, or values that do not fit.
  """
  path = flags.FLAGS['config'].config_filename
  try:
    return config_file.resolve(holder.value, path)
  except OSError:
    raise UserError(f'there is no config file {path}.') from None


def _parse(arguments: list[str]) -> list[str]:
  """Parses flags, which runs the config file."""
  try:
    return flags.FLAGS(arguments)
  except Exception as error:  # whatever the file raises, or ml_collections
    path = _config_path(arguments)
    in_file = path and config_file.mistake(error, path)
    raise in_file or _mistake_in_flags(error, arguments) from None


def _config_path(arguments: list[str]) -> str | None:
  """Returns the file of --config, without its argument after a colon."""
  for place, argument in enumerate(arguments):
    name, equals, value = argument.partition('=')
    if name in ('--config', '-config'):
      path = value if equals else ''.join(arguments[place + 1 : place + 2])
      return path.split(':')[0]
  return None


def _mistake_in_flags(error: Exception, arguments: list[str]) -> Exception:
  """Returns the sentence for flags that cannot be parsed, or the error."""
  if isinstance(error, flags.UnrecognizedFlagError):
    known = [name for name in flags.FLAGS if not name.startswith('config.')]
    if error.flagname.startswith('config.'):
      return UserError('--config is missing; --help shows the usage.')
    head, dot, rest = error.flagname.partition('.')
    hint = nearest(head, known)
    return UserError(
      f'unknown flag --{error.flagname}.'
      f'{hint.replace(chr(39) + "?", dot + rest + chr(39) + "?")}'
      if hint
      else f'unknown flag --{error.flagname}; --help shows the flags.'
    )
  if isinstance(error.__context__, UserError):  # of `define_config`
    return error.__context__
  if isinstance(error, flags.Error):
    sentence = str(error).strip().splitlines()[-1].rstrip('.')
    return UserError(f'{sentence}.')
  if isinstance(error, (AttributeError, KeyError)):
    for argument in arguments[1:]:
      flag = argument.lstrip('-').partition('=')[0]
      section, _, name = flag[7:].rpartition('.')
      of_family = section == 'model.options' and f"'{name}'" in str(error)
      if flag.startswith('config.') and (
        of_family or not configs.is_key(flag[7:])
      ):
        return _unknown_key(flag[7:], argument)
  return error


def _unknown_key(key: str, argument: str) -> UserError:
  if key.startswith('model.heads.'):
    return UserError(
      f'{argument}: heads are set in the config file, as config.model.heads = '
      "{'name': classes}; left empty, they are the dataset's."
    )
  if key.startswith('train.head_weights.'):
    return UserError(
      f'{argument}: weights are set in the config file, as '
      "config.train.head_weights = {'name': weight}."
    )
  family = _families[-1] if _families else None
  return UserError(f'{argument}: {configs.unknown_key(key, family)}')
