"""report.html: an evaluation as one self-contained page."""

import json
import os
from collections.abc import Mapping
from typing import Any

from vivit_jax.data import frame_numbers
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

  Args:
    table: the predictions.
    results: content of metrics.json.
    source: the split, to show frames of mistakes; None: without frames.
    workdir: of the run, to show training curves; None: without curves.
  """
  names = list(table.logits)
  protocol = table.protocol
  averaged, probabilities = table.averaged(), table.probabilities()
  titles = scores.head_titles(names)
  parts = {
    'tiles': scores.tiles(results, names),
    'views': scores.by_views(results['views'], names),
    'heads': [
      {'id': id}
      | heads.section(head, table, averaged[head], probabilities[head], source)
      for id, head in zip(titles, names)
    ],
    'training': curves.training(workdir, protocol['step']) if workdir else [],
    'protocol': _protocol(results),
  }
  sections = {'scores': 'Scores', 'views': 'Accuracy by number of views'}
  sections |= titles | {'training': 'Training', 'protocol': 'Protocol'}
  shown = {'scores', *titles, *(part for part in parts if parts[part])}
  return document.render(
    f'{protocol["dataset"]}, {protocol["split"]}',
    _header(table),
    {id: words for id, words in sections.items() if id in shown},
    **parts,
  )


def _header(table: Table) -> list[str]:
  """Returns the lines below the title: checkpoint, videos and protocol."""
  protocol = table.protocol
  videos = [
    f'Checkpoint {isolated(protocol["checkpoint"])}',
    count(len(table.ids), 'video'),
  ]
  if protocol['unreadable']:
    unreadable = len(protocol['unreadable'])
    videos.append(f'{unreadable:,} more unreadable, not scored')
  lines = [', '.join(videos), protocol_line(protocol)]
  if protocol['class_order'].startswith('assumed'):
    lines.append(
      'The checkpoint does not name its classes: the class order of the '
      'dataset is assumed.'
    )
  return lines


def protocol_line(protocol: Mapping[str, Any]) -> str:
  """Returns views, clips and pixels in words."""
  temporal, spatial = protocol['temporal_views'], protocol['spatial_crops']
  where = frame_numbers.WHERE[protocol.get('views_from') or 'middle']
  views = f'{temporal} temporal x {spatial} spatial views{where}'
  views += f', {protocol["average"]} averaged'
  if temporal * spatial == 1:
    views = f'1 view{where}'
  pace = frame_numbers.describe(
    protocol['sampling'], protocol['stride'], protocol['frames_per_second']
  )
  height, width = protocol['crop']
  clips = f'clips of {protocol["frames"]} frames{pace}'
  return f'{views}; {clips}; {height} x {width} pixels'


def _protocol(results: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the unreadable videos, and protocol and config as JSON."""
  protocol = dict(results['protocol'])
  unreadable = protocol.pop('unreadable')
  documents = {
    title: json.dumps(value, indent=2, ensure_ascii=False)
    for title, value in (('Protocol', protocol), ('Config', results['config']))
  }
  return {'unreadable': unreadable, 'documents': documents}
