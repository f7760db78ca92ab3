"""UserError, the exception for invalid input, and how commands exit."""

import contextlib
import difflib
import os
import sys
from collections.abc import Iterable, Iterator

# Exit codes after signals, by the convention of shells.
INTERRUPTED = 130  # SIGINT, Ctrl-C
TERMINATED = 143  # SIGTERM, which schedulers send before they stop a job


class UserError(ValueError):
  """Invalid input; the message names the mistake and says what to do."""


def nearest(name: str, names: Iterable[str], at_least: float = 0.5) -> str:
  """Returns " Did you mean 'x'?" for the most similar of `names`, or ""."""
  matches = difflib.get_close_matches(name, list(names), n=1, cutoff=at_least)
  return f" Did you mean '{matches[0]}'?" if matches else ''


@contextlib.contextmanager
def exit_on_user_error(at_once: bool = False) -> Iterator[None]:
  """On a UserError, prints its message and exits with code 2.

  Args:
    at_once: skip Python's shutdown, in which threads of a storage library would
      print tracebacks of the same failure.
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
  """On Ctrl-C, prints a message and exits with code 130."""
  try:
    yield
  except KeyboardInterrupt:
    print(f'\n{message}', file=sys.stderr)
    sys.exit(INTERRUPTED)


def damaged(path: str | os.PathLike, why: object) -> UserError:
  """Returns the error for a checkpoint file that cannot be read."""
  reason = (str(why).splitlines() or [repr(why)])[0][:200]
  return UserError(
    f'{path} is damaged or not a checkpoint ({reason}): get it again.'
  )
