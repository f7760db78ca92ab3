"""The one exception for what a user can mend, and how a command ends on it."""

import contextlib
import difflib
import os
import sys
from collections.abc import Iterable, Iterator

# Exit codes after signals, as of a shell.
INTERRUPTED = 130  # SIGINT, Ctrl-C
TERMINATED = 143  # SIGTERM, which schedulers send before they take a machine


class UserError(ValueError):
  """A mistake in input: the message says what, where, and what to do."""


def nearest(name: str, names: Iterable[str], at_least: float = 0.5) -> str:
  """Returns " Did you mean 'x'?" for the nearest of `names`, or ""."""
  matches = difflib.get_close_matches(name, list(names), n=1, cutoff=at_least)
  return f" Did you mean '{matches[0]}'?" if matches else ''


@contextlib.contextmanager
def exit_on_user_error(at_once: bool = False) -> Iterator[None]:
  """Ends the process with the message alone, and code 2, on a UserError.

  Args:
    at_once: without Python's own ending, in which the threads of a storage
      library that failed would print tracebacks after the message.
  """
  try:
    yield
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    if at_once:
      sys.stdout.flush()
      sys.stderr.flush()
      os._exit(2)
    sys.exit(2)


@contextlib.contextmanager
def exit_on_interrupt(message: str) -> Iterator[None]:
  """Ends the process with a message, and code 130, on Ctrl-C."""
  try:
    yield
  except KeyboardInterrupt:
    print(f'\n{message}', file=sys.stderr)
    sys.exit(INTERRUPTED)


def damaged(path: str | os.PathLike, why: object) -> UserError:
  """Returns the error for a file that is not what it seems to be."""
  reason = (str(why).splitlines() or [repr(why)])[0][:200]
  return UserError(
    f'{path} is damaged, or no checkpoint ({reason}): get it again.'
  )
