"""Shared parts of all commands: flags, exit codes, errors, signals.

A command is a module with a `main`, which defines flags and ends with
`sys.exit(commands.run(main, __doc__))`. Flags of config keys are in
`config_flags`.
"""

import inspect
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence

from absl import flags

from vivit_jax.errors import (
  INTERRUPTED,
  TERMINATED,
  UserError,
  exit_on_interrupt,
  exit_on_user_error,
  nearest,
)

# Flags defined here belong to the command that requests them, so that its
# --help lists them.
flags.disclaim_key_flags()

SWEEP = 'VIVIT_SWEEP'  # environment variable: process id of a sweep.py
_HELP = ('--help', '-h', '-help', '--helpshort')

# (error, arguments) -> the sentence for a parsing error, or None.
Explainer = Callable[[Exception, list[str]], Exception | None]
_explainers: list[Explainer] = []


def run(
  main: Callable[[list[str]], int | None],
  usage: str,
  required: Sequence[str] = (),
  interrupted: str | None = None,
) -> int:
  """Parses the flags, runs `main` and returns the exit code.

  A UserError ends with its sentence and code 2, Ctrl-C with code 130; neither
  prints a traceback.

  Args:
    main: takes the program's name and the positional arguments.
    usage: text before the flags in --help.
    required: names of flags that must be set.
    interrupted: message on Ctrl-C, after a KeyboardInterrupt in `main`; None
      ends the process at once.
  """
  quieten_libraries()
  if interrupted is None:
    signal.signal(signal.SIGINT, end_at_once)
  arguments = sys.argv
  if any(argument in _HELP for argument in arguments[1:]):
    text = flags.FLAGS.main_module_help().strip().partition('\n')[2]
    print(f'{usage.strip()}\n\nFlags:\n{text}')
    return 0
  with (
    exit_on_user_error(at_once=interrupted is None),
    exit_on_interrupt(interrupted or 'interrupted'),
  ):
    rest = _parse(arguments)
    for argument in arguments[1:]:
      if re.fullmatch(r'--?\w+=', argument):
        raise UserError(f'{argument} is empty; it takes a value.')
    for name in required:
      if not flags.FLAGS[name].present:
        raise UserError(f'--{name} is missing; --help shows the usage.')
    try:
      return main(rest) or 0
    except BrokenPipeError:  # `| head` has closed the standard output
      return 1
    except Exception as error:
      _exit_from_others(error)
      raise


def positional(arguments: Sequence[str], *names: str) -> list[str]:
  """Returns the positional arguments of a command.

  Args:
    arguments: of `main`: the program's name comes first.
    *names: of the positional arguments that the command takes.

  Raises:
    UserError: one is missing, or there are more.
  """
  values = list(arguments[1:])
  if len(values) < len(names):
    missing = ' '.join(name.upper() for name in names[len(values) :])
    raise UserError(f'{missing} is missing; --help shows the usage.')
  if len(values) > len(names):
    raise UserError(
      f"unexpected argument '{values[len(names)]}': flags start with --."
    )
  return values


def no_positional(arguments: Sequence[str]) -> None:
  """Raises a UserError for arguments that are not flags."""
  positional(arguments)


def _exit_from_others(error: Exception) -> None:
  """Ends this process, if it is one of several, without waiting for them."""
  if 'vivit_jax.distributed' in sys.modules:  # else jax would take a second
    from vivit_jax import distributed

    distributed.exit_after(error)


class NoOutput(UserError):
  """The standard output cannot be written."""


def say(text: object) -> None:
  """Prints a line to the standard output and flushes it.

  Raises:
    BrokenPipeError: the reader has closed the pipe, as `| head` does.
    NoOutput: any other failure, such as a full disk.
  """
  try:
    print(text, flush=True)
  except OSError as error:
    # Buffered text must not fail once more when the process ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
      raise
    raise NoOutput(
      f'cannot write to the standard output: {error.strerror or error}.'
    ) from None


def end_at_once(*_) -> None:
  """Ends the process on Ctrl-C.

  Some libraries lose a KeyboardInterrupt while they are imported. It is safe:
  files are replaced atomically, and worker processes end with their parent.
  """
  print('\ninterrupted', file=sys.stderr, flush=True)
  os._exit(INTERRUPTED)


def quieten_libraries() -> None:
  """Silences library messages that no user can act on."""
  # TensorFlow, which clu writes summaries with.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
  # Python's tracker of shared memory, about prefetched batches at the end.
  os.environ.setdefault('PYTHONWARNINGS', 'ignore:resource_tracker:UserWarning')
  # Orbax (absl) and its threads: their errors are raised as UserErrors.
  for name in ('absl', 'asyncio', 'concurrent.futures'):
    logging.getLogger(name).setLevel(logging.CRITICAL + 1)
  sys.unraisablehook = _print_unraisable


def _print_unraisable(unraisable) -> None:
  """Prints the traceback of an ignored exception, unless storage raised it.

  Storage reads arrays concurrently. After the first error, which is raised, the
  other coroutines fail too, or find their event loop closed. No other code here
  uses coroutines.
  """
  closed = str(unraisable.exc_value) == 'Event loop is closed'
  if not closed and not inspect.iscoroutine(unraisable.object):
    sys.__unraisablehook__(unraisable)


def end_on_sigterm() -> None:
  """Makes SIGTERM end the process at once, with its own exit code."""

  def end(*_):
    print('\nterminated', file=sys.stderr, flush=True)
    os._exit(TERMINATED)

  signal.signal(signal.SIGTERM, end)


def obey_sweep() -> None:
  """Sends this process SIGTERM when the sweep.py that started it ends.

  So the runs of a killed sweep write checkpoints and end.
  """
  parent = os.environ.get(SWEEP)
  if parent is None:
    return
  from vivit_jax import processes

  processes.end_with_parent(signal.SIGTERM)
  try:
    os.kill(int(parent), 0)
  except ProcessLookupError:  # it ended before the line above
    sys.exit(TERMINATED)


def define_processes() -> None:
  """Defines the flags of a run in several processes."""
  flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0.')
  flags.DEFINE_integer('processes', None, 'Number of processes.')
  flags.DEFINE_integer('process', None, 'Index of this process, from 0.')


def connect() -> None:
  """Connects the processes of a run, if flags or a launcher name several."""
  from vivit_jax import distributed  # importing jax takes a second

  values = flags.FLAGS
  distributed.initialise(values.coordinator, values.processes, values.process)


def define_compilation_cache() -> None:
  """Defines --compilation_cache."""
  flags.DEFINE_string(
    'compilation_cache',
    None,
    "Folder for compiled programs, or 'off'; the default is in the user's "
    'cache folder.',
  )


def keep_programs() -> None:
  """Sets up the compilation cache that --compilation_cache names."""
  from vivit_jax import compilation_cache  # importing jax takes a second

  compilation_cache.set_up(flags.FLAGS.compilation_cache)


def explain_with(explainer: Explainer) -> None:
  """Adds a function that explains errors of flag parsing."""
  _explainers.append(explainer)


def _parse(arguments: list[str]) -> list[str]:
  """Parses the flags and returns the other arguments."""
  try:
    return flags.FLAGS(arguments)
  except Exception as error:  # a config file may raise anything
    for explain in (*_explainers, _explain):
      if (sentence := explain(error, arguments)) is not None:
        raise sentence from None
    raise


def _explain(error: Exception, _: list[str]) -> Exception | None:
  """Returns the sentence for an error that absl raised."""
  if isinstance(error, flags.UnrecognizedFlagError):
    names = [name for name in flags.FLAGS if not name.startswith('config.')]
    head, dot, rest = error.flagname.partition('.')
    hint = nearest(head, names).replace("'?", f"{dot}{rest}'?")
    hint = hint or ' --help shows the flags.'
    return UserError(f'unknown flag --{error.flagname}.{hint}')
  if isinstance(error, flags.Error):
    sentence = str(error).strip().splitlines()[-1].rstrip('.')
    sentence = re.sub(
      r'invalid literal for int\(\).*: ', 'no integer: ', sentence
    )
    sentence = re.sub(
      'could not convert string to float: ', 'no number: ', sentence
    )
    sentence = re.sub(
      r"\('Non-boolean argument to boolean flag', (.*)\)$",
      r'\1 is not true or false',
      sentence,
    )
    return UserError(f'{sentence}.')
  return None
