"""Runs the benchmarks one after another, and writes benchmarks/RESULTS.md.

  python -m benchmarks
  python -m benchmarks --only memory compile_time
  python -m benchmarks --torch_python=PATH/python

On a machine with a GPU, the set for a GPU; on others, that for CPUs
(`benchmarks.sections`). The file is written after each section, whose own line
says when and on what it ran; sections that are not run stay as they are. The
code is 1 if a command failed: its section says so.
"""

import argparse
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from benchmarks import machine, results
from benchmarks.sections import SECTIONS, Section
from vivit_jax.errors import UserError, exit_on_interrupt, exit_on_user_error

_ROOT = pathlib.Path(__file__).parent.parent
_RESULTS = _ROOT / 'benchmarks' / 'RESULTS.md'
_NO_GPU = """No figure has been taken on a GPU. On a machine with one,

    make bench TORCH_PYTHON=PATH/python

takes them; PATH/python has torch and transformers, and may be left out."""


def run(section: Section, about: str, torch_python: str | None) -> tuple:
  """Runs a section's commands.

  Args:
    section: what to run.
    about: the line on the machine.
    torch_python: an interpreter for what compares with torch.

  Returns:
    The section's body in Markdown, and whether all commands ended well.
  """
  parts, well = [about], True
  for command in section.commands:
    flags = shlex.split(command)
    shown = f'python -m benchmarks.{command}'
    print(shown, file=sys.stderr, flush=True)
    if section.torch and torch_python:
      flags.append(f'--torch_python={torch_python}')
      shown += ' --torch_python=PATH'
    begin = time.monotonic()
    code, output, last = call(
      [sys.executable, '-m', f'benchmarks.{flags[0]}', *flags[1:]]
    )
    took = f'{time.monotonic() - begin:.0f} s'
    print(f'  {took}, code {code}', file=sys.stderr, flush=True)
    parts += [f'    {shown}  # {took}', output.strip('\n')]
    if code:
      parts.append(f'**Failed** with code {code}: {last}')
      well = False
  return '\n\n'.join(part for part in parts if part), well


def call(command: Sequence[str]) -> tuple[int, str, str]:
  """Runs a command in the repository's root; its errors are seen at once.

  Returns:
    Its code, what it wrote to the standard output, and its last line of errors.
  """
  last = 'it said nothing'
  with tempfile.TemporaryFile('w+', encoding='utf-8') as output:
    with subprocess.Popen(
      command,
      cwd=_ROOT,
      stdout=output,
      stderr=subprocess.PIPE,
      text=True,
      errors='replace',
    ) as process:
      for line in process.stderr:
        print(line, end='', file=sys.stderr, flush=True)
        last = line.strip() or last
    output.seek(0)
    return process.returncode, output.read(), last


def chosen(names: Sequence[str] | None, gpu: bool) -> list[Section]:
  """Returns the machine's sections, or those of the names, in their order."""
  if not names:
    return [s for s in SECTIONS if s.gpu == gpu and not s.extra]
  return [section for section in SECTIONS if section.name in names]


def write_all(
  path: pathlib.Path,
  sections: Sequence[Section],
  gpu: str | None,
  torch_python: str | None,
) -> bool:
  """Runs sections, and writes each into the file when it is done.

  Returns whether all commands ended well.
  """
  order = [section.title for section in SECTIONS]
  results.write(path, with_gpu_told(results.read(path), order))
  all_well = True
  for section in sections:
    asked = (torch_python or sys.executable) if section.torch else None
    about = machine.describe(gpu, asked)
    body, well = run(section, about, torch_python)
    all_well &= well
    text = results.read(path)  # perhaps somebody wrote into it meanwhile
    results.write(path, results.with_section(text, section.title, body, order))
  return all_well


def with_gpu_told(text: str, order: Sequence[str]) -> str:
  """Returns the text, with a section on GPUs that says that it is empty."""
  title = next(section.title for section in SECTIONS if section.gpu)
  if title in results.split(text)[1]:
    return text
  return results.with_section(text, title, _NO_GPU, order)


def main(argv: Sequence[str]) -> int:
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  names = [section.name for section in SECTIONS]
  add('--only', nargs='+', choices=names, help='sections; else the whole set')
  add('--torch_python', help='an interpreter that has torch and transformers')
  add(
    '--out', type=pathlib.Path, default=_RESULTS, help='benchmarks/RESULTS.md'
  )
  flags = parser.parse_args(argv)
  machine.check_python(flags.torch_python)
  gpu = machine.gpu()
  sections = chosen(flags.only, gpu is not None)
  if gpu is None and any(section.gpu for section in sections):
    raise UserError('--only: jax sees no GPU here; install jax[cuda13] on one.')
  return not write_all(flags.out, sections, gpu, flags.torch_python)


if __name__ == '__main__':
  with exit_on_user_error(), exit_on_interrupt('interrupted'):
    sys.exit(main(sys.argv[1:]))
