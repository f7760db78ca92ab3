"""Shows clips as contact sheets, in an HTML page or a PNG."""

import base64
import dataclasses
import os
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any

import cv2
import einops
import numpy as np
from matplotlib.figure import Figure

from vivit_jax.evaluation.page import document

_COLUMNS = 8  # frames in a row of a contact sheet
_SMALL = 96  # narrower frames, in pixels, are enlarged without smoothing
_QUALITY = 90  # of JPEGs
_LINE = 100  # max characters of a line of text in a PNG


@dataclasses.dataclass(frozen=True)
class Sheet:
  """One clip with its captions."""

  frames: np.ndarray  # uint8 [T, H, W, 3]
  name: str  # of the video
  labels: dict[str, str]  # text for each head
  operations: str = ''  # of RandAugment, as text


def write_html(
  path: str | os.PathLike, title: Sequence[str], sheets: Sequence[Sheet]
) -> None:
  """Writes clips as one self-contained HTML page.

  The title has the lines above the clips; the first one is the heading.
  """
  heading, *lines = title
  clips = [
    {
      'labels': _labels(sheet),
      'frames': [image(frame) for frame in sheet.frames],
      'lines': [sheet.name, *_operations(sheet)],
    }
    for sheet in sheets
  ]
  page = document.render(heading, lines, clips=clips)
  pathlib.Path(path).write_text(page, encoding='utf-8', newline='\n')


def write_png(
  path: str | os.PathLike, title: Sequence[str], sheets: Sequence[Sheet]
) -> None:
  """Writes clips as one PNG; arguments as in `write_html`."""
  pictures = [contact_sheet(sheet.frames) for sheet in sheets]
  captions = [
    '\n'.join(
      line if len(line) <= _LINE else line[: _LINE - 1] + '…'
      for line in (sheet.name, *_labels(sheet), *_operations(sheet))
    )
    for sheet in sheets
  ]
  title = [part for line in title for part in textwrap.wrap(line, _LINE)]
  rows, columns = pictures[0].shape[:2]
  lines = max(caption.count('\n') + 1 for caption in captions)
  one = 0.2 * lines + 0.15 + 9.6 * rows / columns  # in inches
  figure = Figure((10, 0.25 * len(title) + 0.4 + one * len(sheets)), dpi=100)
  figure.set_layout_engine('constrained')
  figure.suptitle(
    '\n'.join(title), x=0.01, ha='left', fontsize=11, parse_math=False
  )
  every = figure.subplots(len(sheets), squeeze=False)[:, 0]
  for axes, picture, caption in zip(every, pictures, captions):
    axes.imshow(picture, interpolation='nearest')
    axes.set_axis_off()
    axes.set_title(caption, loc='left', fontsize=10, pad=4, parse_math=False)
  figure.savefig(path, format='png')


def contact_sheet(frames: np.ndarray) -> np.ndarray:
  """Arranges frames, uint8 [T, H, W, 3], in one image, uint8 [H', W', 3].

  White lines separate the frames. Small frames are enlarged.
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


def image(frame: np.ndarray, quality: int = _QUALITY) -> dict[str, Any]:
  """Returns a frame, uint8 [H, W, 3], for the template: a PNG if it is small.

  `quality`, up to 100, is that of the JPEG otherwise.
  """
  height, width = frame.shape[:2]
  small = width < _SMALL
  kind, options = 'jpeg', [cv2.IMWRITE_JPEG_QUALITY, quality]
  if small:
    kind, options = 'png', []
  bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
  data = base64.b64encode(cv2.imencode(f'.{kind}', bgr, options)[1]).decode()
  source = f'data:image/{kind};base64,{data}'
  return {'source': source, 'width': width, 'height': height, 'small': small}


def _labels(sheet: Sheet) -> list[str]:
  return [f'{head}: {words}' for head, words in sheet.labels.items()]


def _operations(sheet: Sheet) -> list[str]:
  return [f'RandAugment: {sheet.operations}'] if sheet.operations else []
