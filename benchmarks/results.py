"""The file of results: a section a benchmark, each replaced in its place.

A section begins at a line `## Title` and goes to the next one. What is before
the first is kept as it is.
"""

import os
import pathlib
from collections.abc import Sequence

from vivit_jax.errors import UserError

_INTRODUCTION = """# Results

Each section is one run of its commands: ratios are comparable, and figures of
two machines are not. `make bench` writes this file; `python -m benchmarks
--only NAMES` those sections too that it leaves out.
"""
_MARK = '## '


def with_section(
  text: str, title: str, body: str, order: Sequence[str] = ()
) -> str:
  """Returns the text with a section in place of that of the same title.

  Args:
    text: of the file, or ''.
    title: of the section.
    body: Markdown without headings of this level.
    order: titles as they follow one another: a section that is new comes after
      the last one that is there and before it in the order. A title that is
      not listed, or of which none is before it, comes at the end or at the
      beginning.
  """
  before, sections = split(text or _INTRODUCTION)
  if title not in sections:
    titles = list(sections)
    earlier = order[: order.index(title)] if title in order else titles
    place = max(
      (titles.index(other) + 1 for other in earlier if other in titles),
      default=0,
    )
    titles.insert(place, title)
    sections = {each: sections.get(each, '') for each in titles}
  sections[title] = body
  # Spaces before the first line may make it code.
  parts = [before.strip('\n')]
  for name, each in sections.items():
    parts += [f'{_MARK}{name}', each.strip('\n')]
  return '\n\n'.join(parts) + '\n'


def split(text: str) -> tuple[str, dict[str, str]]:
  """Returns what is before the first section, and each one's body by title."""
  before, sections, title = '', {}, None
  for line in text.splitlines(keepends=True):
    if line.startswith(_MARK):
      title = line.removeprefix(_MARK).strip()
      sections[title] = ''
    elif title is None:
      before += line
    else:
      sections[title] += line
  return before, sections


def read(path: pathlib.Path) -> str:
  """Returns the file's text, '' if there is none yet.

  Raises:
    UserError: it cannot be read.
  """
  try:
    return path.read_text(encoding='utf-8')
  except FileNotFoundError:
    return ''
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f'cannot read {path}: {error}.') from None


def write(path: pathlib.Path, text: str) -> None:
  """Writes the file whole, or leaves it as it was.

  Raises:
    UserError: it cannot be written.
  """
  part = path.with_name(f'{path.name}.part')
  try:
    part.write_text(text, encoding='utf-8')
    os.replace(part, path)
  except OSError as error:
    part.unlink(missing_ok=True)
    raise UserError(f'cannot write {path}: {error.strerror}.') from None
