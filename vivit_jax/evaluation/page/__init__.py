"""report.html: an evaluation on one page, which needs nothing but itself."""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax import files
from vivit_jax.data.datasets import VideoSplit
from vivit_jax.errors import UserError
from vivit_jax.evaluation.page import curves, heads, scores
from vivit_jax.evaluation.page.document import (
  count,
  document,
  name,
  section,
  text,
)
from vivit_jax.evaluation.predictions import Table

_LISTED = 1000  # unreadable videos; more are in metrics.json


def write(
  path: str | os.PathLike,
  table: Table,
  results: Mapping[str, Any],
  *,
  source: VideoSplit | None = None,
  workdir: str | os.PathLike | None = None,
) -> None:
  """Writes the page; the same bytes for the same evaluation.

  What it holds is bounded: 24 mistakes of 8 small frames, 60 pairs and 1000
  classes of a head, 300 points of a curve; so it stays below a few MB for any
  number of videos.

  Args:
    path: of the file, which appears whole or not at all.
    table: the predictions.
    results: what metrics.json holds: 'scores', 'protocol'; and, where they are,
      'intervals', 'views' and 'config'.
    source: the split, for frames of the mistakes; None: without frames.
    workdir: of the run, for its curves; None: without.

  Raises:
    UserError: a file that cannot be written.
  """
  page = render(table, results, source=source, workdir=workdir)
  try:
    with files.replacing(path) as temporary:
      temporary.write_text(page, encoding='utf-8', newline='\n')
  except OSError as error:
    raise UserError(
      f'the page cannot be written to {path} ({error.strerror or error}): '
      'choose another folder with --out.'
    ) from None


def render(
  table: Table,
  results: Mapping[str, Any],
  *,
  source: VideoSplit | None = None,
  workdir: str | os.PathLike | None = None,
) -> str:
  """Returns the page as HTML; arguments as of `write`."""
  names = list(table.logits)
  protocol = results.get('protocol', table.protocol)
  averaged, probabilities = table.averaged(), table.probabilities()
  sections = [
    (
      'scores',
      'Scores',
      section('Scores', scores.tiles(results, names), 'scores'),
    ),
    ('views', 'Views', scores.against_views(results, names)),
  ]
  for number, head in enumerate(names):
    told = heads.told(
      head, number, table, averaged[head], probabilities[head], source
    )
    sections.append((f'head-{number}', heads.title(head, table), told))
  if workdir is not None:
    training = curves.training(workdir, protocol.get('step'))
    sections.append(('training', 'Training', training))
  sections.append(('protocol', 'Protocol', _protocol(results, protocol)))
  sections = [part for part in sections if part[2]]
  links = ''.join(
    f'<li><a href="#{anchor}">{words}</a></li>' for anchor, words, _ in sections
  )
  title = _title(protocol)
  header = (
    f'<h1>{text(title)}</h1>\n'
    + ''.join(
      f'<p class="quiet">{line}</p>\n' for line in _about(table, protocol)
    )
    + f'<nav aria-label="Sections"><ul>{links}</ul></nav>'
  )
  return document(title, header, '\n'.join(body for _, _, body in sections))


def _title(protocol: Mapping[str, Any]) -> str:
  dataset, split = protocol.get('dataset', 'evaluation'), protocol.get('split')
  return f'{dataset}, {split}' if split else str(dataset)


def _about(table: Table, protocol: Mapping[str, Any]) -> list[str]:
  """Returns the lines under the title: what was scored, and how."""
  first = [text(count(len(table.ids), 'video'))]
  unreadable = protocol.get('unreadable', [])
  if unreadable:
    first.append(f'{len(unreadable):,} more cannot be read, and count nowhere')
  if 'checkpoint' in protocol:
    first.insert(0, f'Checkpoint {name(protocol["checkpoint"])}')
  lines = [', '.join(first), text(protocol_line(protocol))]
  if str(protocol.get('class_order', '')).startswith('assumed'):
    lines.append(
      'The checkpoint does not name its classes: they are taken to be in the '
      'order of the dataset&#x27;s.'
    )
  return lines


def protocol_line(protocol: Mapping[str, Any]) -> str:
  """Returns how a model was scored, in words, as far as it is known."""
  parts = []
  if 'temporal_views' in protocol:
    temporal, spatial = protocol['temporal_views'], protocol['spatial_crops']
    views = temporal * spatial
    said = f'{temporal} temporal x {spatial} spatial views'
    if views == 1:
      said = '1 view'
    elif 'average' in protocol:
      said += f', their {protocol["average"]} averaged'
    parts.append(said)
  if 'frames' in protocol:
    clips = f'clips of {protocol["frames"]} frames'
    if protocol.get('stride') is not None:
      clips += f' at stride {protocol["stride"]}'
    if protocol.get('frames_per_second') is not None:
      clips += f', {protocol["frames_per_second"]:g} a second'
    parts.append(clips)
  if 'crop' in protocol:
    crop = np.atleast_1d(protocol['crop'])
    parts.append(f'{" x ".join(str(side) for side in crop)} pixels')
  return '; '.join(parts)


def _protocol(results: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
  """Returns the section that tells all that the scores depend on."""
  unreadable = list(protocol.get('unreadable', []))
  told = {key: value for key, value in protocol.items() if key != 'unreadable'}
  parts = []
  if unreadable:
    items = ''.join(f'<li>{name(each)}</li>' for each in unreadable[:_LISTED])
    more = len(unreadable) - _LISTED
    rest = f'<p>And {more:,} more, in metrics.json.</p>' if more > 0 else ''
    parts.append(
      '<details class="card"><summary>'
      f'{text(count(len(unreadable), "video"))} that cannot be read</summary>'
      f'<ul class="listed">{items}</ul>{rest}</details>'
    )
  for title, value in (('Protocol', told), ('Config', results.get('config'))):
    if value:
      written = json.dumps(value, indent=2, ensure_ascii=False, default=str)
      parts.append(
        f'<details class="card"><summary>{title}</summary>'
        f'<pre dir="ltr">{text(written)}</pre></details>'
      )
  return section('Protocol', '\n'.join(parts), 'protocol') if parts else ''
