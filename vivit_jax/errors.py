"""The one exception for what a user can mend, and how a command ends on it."""

import contextlib
import difflib
import sys
from collections.abc import Iterable, Iterator

INTERRUPTED = 130  # exit code after Ctrl-C, as of a shell


class UserError(ValueError):
  """A mistake in input: the message says what, where, and what to do."""


def nearest(name: str, names: Iterable[str]) -> str:
  """Returns " Did you mean 'x'?" for the nearest of `names`, or ""."""
  matches = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
  return f" Did you mean '{matches[0]}'?" if matches else ''


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
  """Ends the process with the message alone, and code 2, on a UserError."""
  try:
    yield
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)
