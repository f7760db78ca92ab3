"""Matplotlib fonts for text in any script."""

import contextlib
import functools
import warnings
from collections.abc import Iterator

from matplotlib import font_manager

# The first one comes with matplotlib and has Latin, Greek and Cyrillic. The
# others add more scripts, if they are installed.
_FONTS = (
  'DejaVu Sans',
  'Noto Sans CJK JP',
  'Noto Sans CJK SC',
  'Hiragino Sans',
  'Yu Gothic',
  'Microsoft YaHei',
  'Malgun Gothic',
  'Arial Unicode MS',
  'Noto Sans',
)


@functools.cache
def families() -> list[str]:
  """Returns the installed fonts, in the order in which glyphs are searched."""
  installed = {font.name for font in font_manager.fontManager.ttflist}
  return [name for name in _FONTS if name in installed]


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
  """Silences the warning that a glyph is missing; it is drawn as a box."""
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', message='Glyph')
    yield


def shortened(text: str, length: int) -> str:
  """Returns text as one printable line of at most `length` characters.

  Longer text loses its middle: the end of a name often identifies it.
  """
  text = ' '.join(''.join(c if c.isprintable() else ' ' for c in text).split())
  if len(text) <= length:
    return text
  end = length // 3
  return f'{text[: length - end - 1]}…{text[len(text) - end :]}'
