"""Renders template.html into a self-contained page."""

import base64
import hashlib
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jinja2
import markupsafe

_PARTS = (
  'tiles', 'views', 'heads', 'training', 'protocol', 'compared', 'clips',
)  # fmt: skip
# Control characters have no meaning in HTML, and half a surrogate pair cannot
# be written as UTF-8.
_UNPRINTABLE = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]')


def render(
  title: str,
  lines: list[str],
  sections: Mapping[str, str] | None = None,
  **parts: Any,
) -> str:
  """Returns a page as HTML.

  The lines are below the title. `sections` has each section's heading by its
  id, for the links. `parts` has the content of the template's sections, see
  `_PARTS`; missing or empty ones are left out.
  """
  content = dict.fromkeys(_PARTS, ()) | parts
  return _ENVIRONMENT.get_template('template.html').render(
    title=title, lines=lines, sections=sections, **content
  )


def percent(fraction: float, digits: int = 1) -> str:
  """Returns a fraction as a percentage; 100% only if it is exactly 1."""
  shown = f'{100 * fraction:.{digits}f}%'
  if fraction < 1 and float(shown[:-1]) == 100:
    return f'{100 - 10.0**-digits:.{digits}f}%'
  return shown


def share(number: int, total: int) -> str:
  """Returns number / total as a whole percentage, '0' and '100' only if exact.

  Other values near them are '<1' and '>99'.
  """
  if 0 < number < 0.01 * total:
    return '<1'
  if 0.99 * total < number < total:
    return '>99'
  return f'{100 * number / total:.0f}'


def signed(value: float, digits: int = 2) -> str:
  """Returns '+1.20', '−0.30'; '0.00' has no sign."""
  shown = f'{value:+.{digits}f}'
  if not float(shown):
    return shown[1:]
  return shown.replace('-', '−')


def count(number: int, noun: str) -> str:
  """Returns '1 video', '1,234 videos'."""
  return f'{number:,} {noun}' + ('' if number == 1 else 's')


def isolated(name: Any) -> str:
  """Isolates a name, or right-to-left names would reorder the words around."""
  return f'\u2068{name}\u2069'


def _printable(value: Any) -> Any:
  """Replaces unprintable characters in a value that the template prints."""
  if isinstance(value, str) and not isinstance(value, markupsafe.Markup):
    return _UNPRINTABLE.sub('\ufffd', value)
  return value


def _sha256(text: str) -> str:
  return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


_ENVIRONMENT = jinja2.Environment(
  loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
  autoescape=True,
  finalize=_printable,
  trim_blocks=True,
  lstrip_blocks=True,
  undefined=jinja2.StrictUndefined,
)
_ENVIRONMENT.filters |= {
  'percent': percent, 'signed': signed, 'sha256': _sha256,
}  # fmt: skip
_ENVIRONMENT.globals |= {'count': count, 'share': share}
