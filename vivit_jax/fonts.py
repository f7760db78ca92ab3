"""Matplotlib fonts for names in any script."""

import contextlib
import functools
import warnings
from collections.abc import Iterator

from matplotlib import font_manager

# The first one comes with matplotlib and has Latin, Greek and Cyrillic. Of the
# others, those that are installed fill its gaps.
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
  """Returns the installed fonts; each one fills the gaps of those before."""
  installed = {font.name for font in font_manager.fontManager.ttflist}
  return [name for name in _FONTS if name in installed]


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
  """Context that draws a box for a missing glyph without a warning."""
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', message='Glyph')
    yield


def shortened(text: str, length: int) -> str:
  """Returns printable text of one line, without its middle if it is long.

  The end of a name often identifies it as well as its beginning.
  """
  text = ' '.join(''.join(c if c.isprintable() else ' ' for c in text).split())
  if len(text) <= length:
    return text
  end = length // 3
  return f'{text[: length - end - 1]}…{text[len(text) - end :]}'
