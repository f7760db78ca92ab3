"""report.html: an evaluation as one self-contained page."""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.data.datasets import VideoSplit
from vivit_jax.evaluation.page import curves, document, heads, scores
from vivit_jax.evaluation.page.document import count, isolated
from vivit_jax.evaluation.predictions import Table


def render(
  table: Table,
  results: Mapping[str, Any],
  *,
  source: VideoSplit | None = None,
  workdir: str | os.PathLike | None = None,
) -> str:
  """Returns the page as HTML; the same bytes for the same evaluation.

  The page stays below a few MB for any number of videos, because it shows at
  most 24 mistakes with 8 small frames each, 60 pairs and 1000 classes per head,
  and 300 points per curve.

  Args:
    table: the predictions.
    results: contents of metrics.json: 'scores', and if known 'protocol',
      'intervals', 'views' and 'config'.
    source: the split, to show frames of mistakes; None: without frames.
    workdir: of the run, to show training curves; None: without curves.
  """
  names = list(table.logits)
  protocol = results.get('protocol', table.protocol)
  averaged, probabilities = table.averaged(), table.probabilities()
  titles = scores.head_titles(names)
  parts = {
    'tiles': scores.tiles(results, names),
    'views': scores.by_views(results, names),
    'heads': [
      {
        'id': id,
        **heads.section(
          head, table, averaged[head], probabilities[head], source
        ),
      }
      for id, head in zip(titles, names)
    ],
    'training': []
    if workdir is None
    else curves.training(workdir, protocol.get('step')),
    'protocol': _protocol(results, protocol),
  }
  sections = {'scores': 'Scores', 'views': 'Accuracy by number of views'}
  sections |= titles | {'training': 'Training', 'protocol': 'Protocol'}
  shown = {'scores', *titles, *(part for part in parts if parts[part])}
  return document.render(
    _title(protocol),
    _header(table, protocol),
    {id: words for id, words in sections.items() if id in shown},
    **parts,
  )


def _title(protocol: Mapping[str, Any]) -> str:
  dataset, split = protocol.get('dataset', 'evaluation'), protocol.get('split')
  return f'{dataset}, {split}' if split else str(dataset)


def _header(table: Table, protocol: Mapping[str, Any]) -> list[str]:
  """Returns the lines below the title: checkpoint, videos and protocol."""
  videos = [count(len(table.ids), 'video')]
  if 'checkpoint' in protocol:
    videos.insert(0, f'Checkpoint {isolated(protocol["checkpoint"])}')
  if protocol.get('unreadable'):
    unreadable = len(protocol['unreadable'])
    videos.append(f'{unreadable:,} more unreadable, not scored')
  lines = [', '.join(videos), protocol_line(protocol)]
  if str(protocol.get('class_order', '')).startswith('assumed'):
    lines.append(
      'The checkpoint does not name its classes: the class order of the '
      'dataset is assumed.'
    )
  return lines


def protocol_line(protocol: Mapping[str, Any]) -> str:
  """Returns the protocol in words; missing keys are left out."""
  parts = []
  if 'temporal_views' in protocol:
    temporal, spatial = protocol['temporal_views'], protocol['spatial_crops']
    views = f'{temporal} temporal x {spatial} spatial views'
    if temporal * spatial == 1:
      views = '1 view'
    elif 'average' in protocol:
      views += f', {protocol["average"]} averaged'
    parts.append(views)
  if 'frames' in protocol:
    clips = f'clips of {protocol["frames"]} frames'
    if protocol.get('stride') is not None:
      clips += f' at stride {protocol["stride"]}'
    if protocol.get('frames_per_second') is not None:
      clips += f', {protocol["frames_per_second"]:g} per second'
    parts.append(clips)
  if 'crop' in protocol:
    crop = np.atleast_1d(protocol['crop'])
    parts.append(f'{" x ".join(str(side) for side in crop)} pixels')
  return '; '.join(parts)


def _protocol(
  results: Mapping[str, Any], protocol: Mapping[str, Any]
) -> dict[str, Any] | None:
  """Returns unreadable videos, protocol and config, or None without any."""
  unreadable = list(protocol.get('unreadable', []))
  rest = {key: value for key, value in protocol.items() if key != 'unreadable'}
  documents = {
    title: json.dumps(value, indent=2, ensure_ascii=False, default=str)
    for title, value in (('Protocol', rest), ('Config', results.get('config')))
    if value
  }
  if not (unreadable or documents):
    return None
  return {'unreadable': unreadable, 'documents': documents}
