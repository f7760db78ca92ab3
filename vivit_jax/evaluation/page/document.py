"""One page of HTML that needs nothing else, and words made safe for it."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from typing import Any

from vivit_jax.evaluation.page import style

# Control characters have no meaning in HTML, and half a surrogate pair cannot
# be written as UTF-8.
_UNPRINTABLE = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]')


def text(words: Any) -> str:
  """Returns words as HTML shows them, within an element or an attribute."""
  return html.escape(_UNPRINTABLE.sub('\ufffd', str(words)), quote=True)


def name(words: Any) -> str:
  """Returns a name as HTML, which keeps its direction to itself."""
  return f'<bdi>{text(words)}</bdi>'


def data(value: Any) -> str:
  """Returns a value as JSON that can stand within a script element."""
  written = json.dumps(value, separators=(',', ':'))
  return written.replace('<', '\\u003c').replace('&', '\\u0026')


def percent(fraction: float, digits: int = 1) -> str:
  """Returns a fraction as a percentage; never 100% of what is not all."""
  shown = f'{100 * fraction:.{digits}f}%'
  if fraction < 1 and float(shown[:-1]) == 100:
    return f'{100 - 10.0**-digits:.{digits}f}%'
  return shown


def count(number: int, one: str, several: str | None = None) -> str:
  """Returns '1 video', '1,234 videos'."""
  return f'{number:,} {one if number == 1 else several or one + "s"}'


def section(title: str, body: str, anchor: str) -> str:
  """Returns a section with a heading; `title` and `body` are HTML."""
  return (
    f'<section id="{anchor}" aria-labelledby="{anchor}-title">\n'
    f'<h2 id="{anchor}-title">{title}</h2>\n{body}\n</section>'
  )


def scrolled(body: str, label: str, tall: bool = False) -> str:
  """Returns HTML in a box that scrolls by itself, with the keyboard too.

  Args:
    body: HTML.
    label: what it holds, for those who do not see it; words.
    tall: of a bounded height.
  """
  return (
    f'<div class="scroll{" tall" if tall else ""}" tabindex="0" role="region" '
    f'aria-label="{text(label)}">{body}</div>'
  )


def table(
  columns: Sequence[str],
  rows: Sequence[str],
  label: str,
  *,
  numbers: int,
  kind: str = 'plain',
  anchor: str = '',
) -> str:
  """Returns a table in a box of bounded height.

  Args:
    columns: their headings, HTML; '': none.
    rows: HTML, with as many cells.
    label: what it holds, in words.
    numbers: how many of the last columns are numbers.
    kind: its class in CSS.
    anchor: its id, unique on the page.
  """
  header = []
  for left, words in zip(range(len(columns), 0, -1), columns):
    style = ' class="number"' if left <= numbers else ''
    cell = f'<th scope="col"{style}>{words}</th>' if words else '<td></td>'
    header.append(cell)
  named = f' id="{anchor}"' if anchor else ''
  return scrolled(
    f'<table class="{kind}"{named}><thead><tr>{"".join(header)}</tr></thead>\n'
    '<tbody>' + '\n'.join(rows) + '</tbody></table>',
    label,
    tall=True,
  )


def document(title: str, header: str, body: str) -> str:
  """Returns a whole page.

  It may load nothing, run nothing but the script of `style`, and send nothing.

  Args:
    title: words.
    header, body: HTML.
  """
  digest = hashlib.sha256(style.SCRIPT.encode()).digest()
  policy = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    f"script-src 'sha256-{base64.b64encode(digest).decode()}'; "
    "base-uri 'none'; form-action 'none'"
  )
  return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{text(title)}</title>
<style>{style.STYLE}</style>
</head>
<body>
<header>
{header}
</header>
<main>
{body}
</main>
<script>{style.SCRIPT}</script>
</body>
</html>
"""
