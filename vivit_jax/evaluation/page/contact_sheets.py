"""Clips as contact sheets: a page of HTML, or one picture."""

import base64
import dataclasses
import html
import os
import pathlib
import textwrap
from collections.abc import Sequence

import cv2
import einops
import numpy as np
from matplotlib.figure import Figure

_COLUMNS = 8  # frames in a row of a picture
_SMALL = 96  # pixels; frames of fewer are enlarged, pixel by pixel
_QUALITY = 90  # of JPEGs
_LINE = 100  # characters of a line of a picture
_STYLE = """
:root { color-scheme: light dark; --quiet: #666; --line: #ddd; }
@media (prefers-color-scheme: dark) { :root { --quiet: #aaa; --line: #444; } }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1rem;
  max-width: 75rem; }
h1 { font-size: 1.35rem; margin: 0 0 .4rem; overflow-wrap: anywhere; }
p { margin: .2rem 0; overflow-wrap: anywhere; }
.quiet { color: var(--quiet); font-size: .9rem; }
article { border-top: 1px solid var(--line); margin-top: 1.2rem;
  padding-top: .8rem; }
h2 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
.frames { display: grid; gap: 2px; margin-top: .5rem;
  grid-template-columns: repeat(auto-fill, minmax(5.2rem, 1fr)); }
.frames img { display: block; width: 100%; }
.small img { image-rendering: pixelated; }
"""


@dataclasses.dataclass(frozen=True)
class Sheet:
  """One clip.

  Attributes:
    frames: uint8 [T, H, W, 3].
    name: of its video.
    labels: of each head, in words.
    operations: of RandAugment, in words; empty if there are none.
  """

  frames: np.ndarray
  name: str
  labels: dict[str, str]
  operations: str = ''


def write_html(
  path: str | os.PathLike, title: Sequence[str], sheets: Sequence[Sheet]
) -> None:
  """Writes clips as one page that needs nothing else.

  Args:
    path: file to write.
    title: lines above them, the first one being the heading.
    sheets: the clips.
  """
  heading, *lines = (html.escape(line) for line in title)
  body = [f'<h1>{heading}</h1>']
  body += [f'<p class="quiet">{line}</p>' for line in lines]
  body += [_article(sheet) for sheet in sheets]
  pathlib.Path(path).write_text(
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f'<title>{heading}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n'
    + '\n'.join(body)
    + '\n</body>\n</html>\n',
    encoding='utf-8',
  )


def write_png(
  path: str | os.PathLike, title: Sequence[str], sheets: Sequence[Sheet]
) -> None:
  """Writes clips as one picture; arguments as of `write_html`."""
  pictures = [contact_sheet(sheet.frames) for sheet in sheets]
  texts = [_caption(sheet) for sheet in sheets]
  width = 10.0  # inches; heights of text and pictures, of each clip
  text = 0.2 * max(caption.count('\n') + 1 for caption in texts) + 0.15
  height, across = pictures[0].shape[:2]
  title = [part for line in title for part in textwrap.wrap(line, _LINE)]
  head, one = 0.25 * len(title) + 0.2, text + (width - 0.4) * height / across
  whole = head + one * len(sheets) + 0.2
  figure = Figure(figsize=(width, whole), dpi=100)
  figure.text(
    0.02,
    1 - 0.15 / whole,
    '\n'.join(title),
    va='top',
    fontsize=11,
    parse_math=False,
  )
  for place, (picture, caption) in enumerate(zip(pictures, texts)):
    bottom = whole - head - one * (place + 1)
    axes = figure.add_axes(
      (0.02, bottom / whole, 0.96, (one - text) / whole), frameon=False
    )
    axes.imshow(picture, interpolation='nearest', aspect='auto')
    axes.set_axis_off()
    axes.set_title(caption, loc='left', fontsize=10, pad=4, parse_math=False)
  figure.savefig(path, format='png')


def contact_sheet(frames: np.ndarray) -> np.ndarray:
  """Returns the frames of a clip in rows, with white lines between them.

  Args:
    frames: uint8 [T, H, W, 3]; small ones are enlarged.
  """
  factor = -(-_SMALL // frames.shape[2])
  frames = einops.repeat(
    frames, 't h w c -> t (h i) (w j) c', i=factor, j=factor
  )
  columns = min(_COLUMNS, len(frames))
  missing = -len(frames) % columns
  edges = ((0, missing), (0, 2), (0, 2), (0, 0))
  framed = np.pad(frames, edges, constant_values=255)
  framed[len(frames) :] = 255
  return einops.rearrange(framed, '(r n) h w c -> (r h) (n w) c', n=columns)[
    :-2, :-2
  ]


def _caption(sheet: Sheet) -> str:
  lines = [sheet.name]
  lines += [f'{head}: {words}' for head, words in sheet.labels.items()]
  if sheet.operations:
    lines.append(f'RandAugment: {sheet.operations}')
  return '\n'.join(_shorten(line) for line in lines)


def _shorten(line: str) -> str:
  return line if len(line) <= _LINE else line[: _LINE - 1] + '…'


def _article(sheet: Sheet) -> str:
  """Returns one clip in HTML: labels, video, operations, frames."""
  labels = [f'{head}: {words}' for head, words in sheet.labels.items()]
  small = ' small' if sheet.frames.shape[2] < _SMALL else ''
  quiet = [sheet.name]
  if sheet.operations:
    quiet.append(f'RandAugment: {sheet.operations}')
  quality = None if small else _QUALITY
  images = [
    f'<img alt="frame {number}" src="{embedded(frame, quality)}">'
    for number, frame in enumerate(sheet.frames)
  ]
  return (
    '<article>\n'
    + ''.join(f'<h2>{html.escape(label)}</h2>\n' for label in labels)
    + ''.join(f'<p class="quiet">{html.escape(line)}</p>\n' for line in quiet)
    + f'<div class="frames{small}">\n'
    + '\n'.join(images)
    + '\n</div>\n</article>'
  )


def embedded(frame: np.ndarray, quality: int | None) -> str:
  """Returns a frame as a data URL.

  Args:
    frame: uint8 [H, W, 3].
    quality: of a JPEG, up to 100; None: a PNG, without loss.
  """
  kind, options = '.png', []
  if quality is not None:
    kind, options = '.jpg', [cv2.IMWRITE_JPEG_QUALITY, quality]
  _, data = cv2.imencode(kind, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
  media = {'.jpg': 'jpeg', '.png': 'png'}[kind]
  return f'data:image/{media};base64,{base64.b64encode(data).decode()}'
