"""Fonts for names in any script, in pictures that matplotlib draws."""

import contextlib
import functools
import warnings
from collections.abc import Iterator

from matplotlib import font_manager

# The first one comes with matplotlib, and has Latin, Greek and Cyrillic; of the
# others those that the system has, for what the first one lacks.
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
  """Returns the fonts that are there, each for what those before it lack."""
  there = {font.name for font in font_manager.fontManager.ttflist}
  return [name for name in _FONTS if name in there]


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
  """Draws a box for what no font has, and does not tell the terminal."""
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', message='Glyph')
    yield
