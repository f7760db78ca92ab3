"""Reading of annotation files: text of any usual encoding, CSV, JSON.

All functions raise UserError for a file that is missing or invalid.
"""

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

  The default separator is the most frequent one in the first line.
  """
  text = read_text(file)[0].lstrip()
  reader = csv.reader(
    io.StringIO(text, newline=''),
    delimiter=separator or _separator(text),
    skipinitialspace=True,
    strict=True,  # an open quote is an error
  )
  try:
    for cells in reader:
      cells = [cell.strip() for cell in cells]
      if any(cells):
        yield f'{file} line {reader.line_num}', cells
  except csv.Error as error:
    where = f'{file} line {reader.line_num}'
    raise UserError(f'{where} is not valid CSV: {error}.') from None


def plain_lines(file: pathlib.Path) -> Iterator[tuple[str, str]]:
  """Yields ('<file> line <number>', line) of each non-blank line, stripped."""
  for number, line in enumerate(read_text(file)[0].splitlines(), 1):
    if line.strip():
      yield f'{file} line {number}', line.strip()


def form(file: pathlib.Path) -> str:
  """Returns the encoding and separator of a CSV file, for the user."""
  text, encoding = read_text(file)
  return f'{encoding}, separated by {_SEPARATORS[_separator(text.lstrip())]}'


def _separator(text: str) -> str:
  return max(_SEPARATORS, key=re.match(r'[^\r\n]*', text)[0].count)


def read_text(file: pathlib.Path) -> tuple[str, str]:
  """Returns the text of a file and its encoding: UTF-8, UTF-16 or cp1252.

  UTF-16 is known by its byte order mark; cp1252 (Excel's "CSV" in Western
  countries) is what is left if a text is not UTF-8.
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
  try:
    yield
  except UnicodeDecodeError:
    raise UserError(f'{file} is not text: save it as CSV UTF-8.') from None
  except OSError as error:
    raise UserError(f'cannot read {file}: {error.strerror}.') from None
