"""Which classes are taken for which: as a table, or as a picture and pairs."""

import base64

import cv2
import einops
import numpy as np

from vivit_jax.evaluation.page.document import (
  count,
  data,
  name,
  percent,
  scrolled,
  table,
  text,
)

_WRITTEN = 24  # classes whose cells can be written out
_PAIRS = 60  # rows of the table of pairs
_SIDE = 800  # pixels of the picture, about; of more classes some share a pixel
_TOLD = 20_000  # cells that can tell their count under a pointer
_RIGHT, _WRONG = (70, 125, 230), (225, 95, 30)  # seen on white and on black
_FAINTEST = 0.45  # opacity of the rarest confusion, lest it be lost to sight


def matrix(counts: np.ndarray, names: list[str]) -> str:
  """Returns a card with the confusion matrix, HTML.

  Args:
    counts: int [K, K]; rows are labels, columns predictions.
    names: K names of the classes.
  """
  if len(names) <= _WRITTEN:
    shown = _table(counts, names)
    told = 'in percent of the videos of the class'
  else:
    shown = _map(counts, names)
    told = (
      'the stronger, the larger its share of the videos of the class; classes '
      'are numbered from 0, in the order of the labels'
    )
  return (
    '<div class="card"><h3>Confusion matrix</h3>\n<p class="quiet">A row is a '
    f'true class, a column a predicted one: {told}. '
    '<span><i class="key" style="background:var(--right)"></i>right, on the '
    'diagonal</span>, <span><i class="key" style="background:var(--wrong)">'
    f'</i>wrong, beside it</span>.</p>\n{shown}</div>'
  )


def pairs(counts: np.ndarray, names: list[str]) -> str:
  """Returns a card with the commonest confusions, the commonest first."""
  rows = worst_pairs(counts)
  if not len(rows):
    return '<div class="card"><h3>Worst pairs</h3><p>No mistakes.</p></div>'
  totals = counts.sum(axis=1)
  body = [
    f'<tr><td><span class="name">{name(names[truth])}</span></td>'
    f'<td><span class="name">{name(names[guess])}</span></td>'
    f'<td class="number">{counts[truth, guess]:,} of {totals[truth]:,}</td>'
    '<td class="number">'
    f'{text(share(counts[truth, guess], totals[truth]))}%</td></tr>'
    for truth, guess in rows
  ]
  every = int(np.count_nonzero(counts) - np.count_nonzero(counts.diagonal()))
  told = count(every, 'pair of classes', 'pairs of classes')
  if every > len(rows):
    told += f', of which the first {len(rows)}'
  return (
    f'<div class="card long"><h3>Worst pairs</h3><p class="quiet">{told}, by '
    'the number of videos.</p>\n'
    + table(
      ('true class', 'predicted as', 'videos', 'share'),
      body,
      'worst pairs',
      numbers=2,
      kind='pairs',
    )
    + '</div>'
  )


def worst_pairs(counts: np.ndarray, most: int = _PAIRS) -> np.ndarray:
  """Returns the commonest confusions as (label, prediction), int [m, 2].

  Sorted by count; of equal counts the larger share of its class comes first,
  then the lower classes.
  """
  truth, guess = np.nonzero(counts * (1 - np.eye(len(counts), dtype=int)))
  number = counts[truth, guess]
  share = number / counts.sum(axis=1)[truth]
  order = np.lexsort((guess, truth, -share, -number))[:most]
  return np.stack([truth, guess], axis=1)[order]


def _table(counts: np.ndarray, names: list[str]) -> str:
  """Returns every cell written out."""
  totals = counts.sum(axis=1)
  header = ''.join(
    f'<th scope="col"><span class="cut" title="{text(each)}">{name(each)}'
    '</span></th>'
    for each in names
  )
  rows = []
  for truth, row in enumerate(counts):
    cells = ''.join(
      _cell(number, totals[truth], truth == guess)
      for guess, number in enumerate(row)
    )
    rows.append(
      f'<tr><th scope="row"><span class="cut" title="{text(names[truth])}">'
      f'{name(names[truth])}</span></th>{cells}</tr>'
    )
  return scrolled(
    f'<table class="matrix" style="max-width:{9 + 4.5 * len(names)}rem">'
    f'<thead><tr><td></td>{header}</tr></thead>'
    '\n<tbody>' + '\n'.join(rows) + '</tbody></table>',
    'confusion matrix',
  )


def _cell(number: int, total: int, right: bool) -> str:
  if not number:
    return f'<td>{"0" if right and total else ""}</td>'
  part = number / total
  kind = 'right' if right else 'wrong'
  opacity = max(part**0.5, 0.12)
  return (
    f'<td class="{kind}" style="--s:{opacity:.2f}" title="{number:,} of '
    f'{total:,}">{text(share(number, total))}</td>'
  )


def share(number: int, total: int) -> str:
  """Returns a percentage, which is 0 or 100 of none or of all alone."""
  if 0 < number < 0.01 * total:
    return '<1'
  if 0.99 * total < number < total:
    return '>99'
  return f'{100 * number / total:.0f}'


def _map(counts: np.ndarray, names: list[str]) -> str:
  """Returns a picture, which names the cell under the pointer."""
  png = base64.b64encode(picture(counts)).decode()
  last = len(names) - 1
  truth, guess = np.nonzero(counts)
  order = np.lexsort((guess, truth, -counts[truth, guess]))[:_TOLD]
  truth, guess = truth[order], guess[order]
  cells = np.stack([truth * len(names) + guess, counts[truth, guess]], axis=1)
  told = data(
    {'names': [str(each) for each in names], 'cells': cells.ravel().tolist()}
  )
  right = counts.trace() / max(counts.sum(), 1)
  return (
    '<figure class="map"><div class="field"><span></span>'
    f'<span class="axis"><span>0</span><span>predicted class</span>'
    f'<span>{last}</span></span>\n<span class="axis upright"><span>0</span>'
    f'<span>true class</span><span>{last}</span></span>'
    f'<img width="{_SIDE}" height="{_SIDE}" alt="Confusion matrix of '
    f'{len(names)} classes: {percent(right)} of the videos lie on the '
    'diagonal; the table of worst pairs tells the largest cells beside it." '
    f'src="data:image/png;base64,{png}"></div>\n<output></output>'
    f'<script type="application/json">{told}</script></figure>'
  )


def picture(counts: np.ndarray) -> bytes:
  """Returns a PNG that is transparent where there is nothing."""
  totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
  shares = counts / totals
  right = np.eye(len(counts), dtype=bool)
  alpha = np.where(shares > 0, np.maximum(np.sqrt(shares), _FAINTEST), 0)
  # Of more classes than pixels, neighbours share one: the strongest is seen.
  factor = -(-len(counts) // _SIDE)
  edge = -len(counts) % factor
  alpha, right = (np.pad(x, ((0, edge), (0, edge))) for x in (alpha, right))
  alpha, right = (
    einops.reduce(x, '(h i) (w j) -> h w', 'max', i=factor, j=factor)
    for x in (alpha, right)
  )
  colours = np.where(right[..., None], _RIGHT, _WRONG)[..., ::-1]
  pixels = np.concatenate([colours, 255 * alpha[..., None]], axis=-1)
  pixels[alpha == 0] = 0
  larger = max(_SIDE // len(pixels), 1)
  pixels = einops.repeat(
    np.round(pixels).astype(np.uint8),
    'h w c -> (h i) (w j) c',
    i=larger,
    j=larger,
  )
  return cv2.imencode('.png', pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])[
    1
  ].tobytes()
