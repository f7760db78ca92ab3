"""Shared parts of all commands: flags, exit codes, errors, signals.

A command is a module that defines flags and a `main`, and ends with
`sys.exit(commands.run(main, __doc__))`. `config_flags` defines the flags of
config keys.
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

# Flags defined here belong to the calling command, whose --help lists them.
flags.disclaim_key_flags()

# Environment variable: process id of the sweep.py that started this run.
SWEEP = 'VIVIT_SWEEP'
_HELP = ('--help', '-h', '-help', '--helpshort')

# (parsing error, arguments) -> the error to raise instead, or None.
Explainer = Callable[[Exception, list[str]], Exception | None]
_explainers: list[Explainer] = []


def run(
  main: Callable[[list[str]], int | None],
  usage: str,
  required: Sequence[str] = (),
  interrupted: str | None = None,
) -> int:
  """Parses the flags, runs `main` and returns the exit code.

  After a UserError, prints its message and exits with code 2; after Ctrl-C,
  with code 130. Neither prints a traceback.

  Args:
    main: takes the program's name and the positional arguments; returns the
      exit code, or None for 0.
    usage: text before the flags in --help.
    required: names of flags that must be set.
    interrupted: message after Ctrl-C, which raises KeyboardInterrupt in `main`;
      None: Ctrl-C ends the process at once.
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
      if 'vivit_jax.distributed' in sys.modules:  # importing it takes a second
        from vivit_jax import distributed

        distributed.exit_after(error)
      raise


def positional(arguments: Sequence[str], *names: str) -> list[str]:
  """Returns the positional arguments that `main` got, without the program.

  Raises:
    UserError: one of `names` is missing, or there are more.
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
    # Otherwise, flushing the buffered text at exit would fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
      raise
    raise NoOutput(
      f'cannot write to the standard output: {error.strerror or error}.'
    ) from None


def end_at_once(*_) -> None:
  """Ends the process on Ctrl-C.

  Some libraries swallow a KeyboardInterrupt while they are imported. Ending at
  once is safe: files are replaced atomically, and worker processes end with
  their parent.
  """
  print('\ninterrupted', file=sys.stderr, flush=True)
  os._exit(INTERRUPTED)


def quieten_libraries() -> None:
  """Silences library messages that no user can act on."""
  # TensorFlow: clu writes summaries with it.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
  # Python's resource tracker: at exit, it warns of prefetched batches.
  os.environ.setdefault('PYTHONWARNINGS', 'ignore:resource_tracker:UserWarning')
  # Orbax (absl) and its threads: their errors are raised as UserErrors.
  for name in ('absl', 'asyncio', 'concurrent.futures'):
    logging.getLogger(name).setLevel(logging.CRITICAL + 1)
  sys.unraisablehook = _print_unraisable


def _print_unraisable(unraisable) -> None:
  """Prints the traceback of an ignored exception, unless Orbax caused it.

  Orbax reads arrays in coroutines. After the first error, which is raised, the
  others fail too, or their event loop is closed. No other code here uses
  coroutines.
  """
  closed = str(unraisable.exc_value) == 'Event loop is closed'
  if not closed and not inspect.iscoroutine(unraisable.object):
    sys.__unraisablehook__(unraisable)


def end_on_sigterm() -> None:
  """Makes SIGTERM end the process at once, with code 143."""

  def end(*_):
    print('\nterminated', file=sys.stderr, flush=True)
    os._exit(TERMINATED)

  signal.signal(signal.SIGTERM, end)


def raise_on_signals() -> None:
  """Makes Ctrl-C and SIGTERM raise exceptions, for `finally` clauses to run."""

  def leave(*_):
    print('\nterminated', file=sys.stderr, flush=True)
    sys.exit(TERMINATED)

  signal.signal(signal.SIGINT, signal.default_int_handler)
  signal.signal(signal.SIGTERM, leave)


def obey_sweep() -> None:
  """Makes this run stop by SIGTERM, with a checkpoint, if its sweep.py ends."""
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
  """Defines --coordinator, --processes and --process."""
  flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0.')
  flags.DEFINE_integer('processes', None, 'Number of processes.')
  flags.DEFINE_integer('process', None, 'Index of this process, from 0.')


def connect() -> None:
  """Connects the processes of a run, if flags or a launcher set several."""
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


def define_sampling() -> None:
  """Defines --sampling, which replaces the config's `data.sampling`."""
  flags.DEFINE_enum(
    'sampling',
    None,
    ('clip', 'span', 'segments', 'whole'),
    'Frames of a clip: at the stride, spread over a span of frames x stride, '
    'one per segment of the whole video, or evenly spaced over it.',
  )


def keep_programs() -> None:
  """Sets up the compilation cache, as --compilation_cache says."""
  from vivit_jax import compilation_cache  # importing jax takes a second

  compilation_cache.set_up(flags.FLAGS.compilation_cache)


def explain_with(explainer: Explainer) -> None:
  """Registers a function that explains errors of flag parsing."""
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


# Python's words for wrong values of flags, and ours.
_PLAIN = (
  (r'invalid literal for int\(\).*: ', 'no integer: '),
  ('could not convert string to float: ', 'no number: '),
  (
    r"\('Non-boolean argument to boolean flag', (.*)\)$",
    r'\1 is not true or false',
  ),
)


def _explain(error: Exception, _: list[str]) -> Exception | None:
  """Returns a UserError for an error that absl raised, or None."""
  if isinstance(error, flags.UnrecognizedFlagError):
    names = [name for name in flags.FLAGS if not name.startswith('config.')]
    head, dot, rest = error.flagname.partition('.')
    hint = nearest(head, names).replace("'?", f"{dot}{rest}'?")
    hint = hint or ' --help shows the flags.'
    return UserError(f'unknown flag --{error.flagname}.{hint}')
  if isinstance(error, flags.Error):
    sentence = str(error).strip().splitlines()[-1].rstrip('.')
    for pattern, plain in _PLAIN:
      sentence = re.sub(pattern, plain, sentence)
    return UserError(f'{sentence}.')
  return None
