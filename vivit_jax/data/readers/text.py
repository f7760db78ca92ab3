"""Reading of annotation files: text of any usual encoding, CSV, JSON."""

import codecs
import contextlib
import csv
import io
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from vivit_jax.errors import UserError

_SEPARATORS = {',': 'commas', ';': 'semicolons', '\t': 'tabs'}


def lines(
  file: pathlib.Path, separator: str | None = None
) -> Iterator[tuple[str, list[str]]]:
  """Yields ('<file> line <number>', cells) of each non-blank CSV line.

  Args:
    file: the CSV file.
    separator: between cells; None for the one of the first line (`form`).
  """
  text = _without_hint(read_text(file)[0])
  stream = io.StringIO(text, newline='')
  separator = separator or _separator(text)
  reader = csv.reader(stream, delimiter=separator, skipinitialspace=True)
  with _reading(file):
    for cells in reader:
      cells = [cell.strip() for cell in cells]
      if any(cells):
        yield f'{file} line {reader.line_num}', cells


def plain_lines(file: pathlib.Path) -> Iterator[tuple[str, str]]:
  """Yields ('<file> line <number>', line) of each non-blank line, stripped."""
  for number, line in enumerate(read_text(file)[0].splitlines(), 1):
    if line.strip():
      yield f'{file} line {number}', line.strip()


def words(file: pathlib.Path) -> Iterator[tuple[str, list[str]]]:
  """Yields ('<file> line <number>', words) of each non-blank line."""
  for where, line in plain_lines(file):
    yield where, line.split()


def form(file: pathlib.Path) -> str:
  """Returns the encoding and separator of a CSV file, for the user."""
  text, encoding = read_text(file)
  separator = _separator(_without_hint(text))
  return f'{encoding}, separated by {_SEPARATORS[separator]}'


def first_line(file: pathlib.Path) -> str:
  """Returns the first line that is not blank; '' if there is none."""
  return next(plain_lines(file), ('', ''))[1]


def _without_hint(text: str) -> str:
  """Drops a first line 'sep=;', which is for Excel."""
  return re.sub(r'\A(sep=.)?\s*', '', text)


def _separator(text: str) -> str:
  """Returns what separates cells: the most frequent in the first line.

  The text begins with that line (`_without_hint`).
  """
  return max(_SEPARATORS, key=re.match(r'[^\r\n]*', text)[0].count)


def read_text(file: pathlib.Path) -> tuple[str, str]:
  """Returns the text of a file and its encoding: UTF-8, UTF-16 or cp1252.

  UTF-16 is known by its byte order mark; cp1252 (Excel's "CSV" in Western
  countries) is what is left if a text is not UTF-8.

  Raises:
    UserError: no such file, or it is not text.
  """
  with _reading(file):
    data = file.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
      return data.decode('utf-16'), 'UTF-16'
    if b'\0' in data:
      raise UserError(f'{file} is not text: save it as CSV UTF-8.')
    with contextlib.suppress(UnicodeDecodeError):
      return data.decode('utf-8-sig'), 'UTF-8'
    return data.decode('cp1252'), 'cp1252 (Windows)'


def read_json(file: pathlib.Path) -> Any:
  """Returns the content of a JSON file."""
  try:
    return json.loads(read_text(file)[0])
  except ValueError as error:
    raise UserError(f'{file} is not JSON: {error}.') from None


@contextlib.contextmanager
def _reading(file: pathlib.Path) -> Iterator[None]:
  """Raises a UserError if an annotation file cannot be read."""
  try:
    yield
  except FileNotFoundError:
    raise UserError(f'no annotations at {file}.') from None
  except UnicodeDecodeError:
    raise UserError(f'{file} is not text: save it as CSV UTF-8.') from None
  except csv.Error as error:
    raise UserError(f'{file} is not a CSV file: {error}.') from None
  except OSError as error:
    raise UserError(f'cannot read {file}: {error.strerror}.') from None
