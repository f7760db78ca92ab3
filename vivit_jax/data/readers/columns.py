"""What the columns of a user's own CSV file are, by their names."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence

from vivit_jax.data.annotations import Example, Label
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError, nearest

_MULTI_LABEL = '[]'  # suffix in the header of a multi-label column
_SEPARATOR = ';'  # between labels


def _times_of(*words: str) -> tuple[str, ...]:
  forms = ('{}', '{}time', 'time{}', '{}timestamp', '{}seconds', '{}sec')
  return tuple(form.format(word) for word in words for form in forms)


# Names in any case and without underscores; the first that is there is taken.
_NAMES = {
  'path': ('path', 'filename', 'videopath', 'filepath', 'video', 'file'),
  'split': ('split', 'subset'),
  'start': _times_of('start', 'begin'),
  'end': _times_of('end', 'stop'),
  'first': ('startframe', 'framestart', 'firstframe', 'beginframe'),
  'last': ('endframe', 'frameend', 'lastframe', 'stopframe'),
}
_BOUND = re.compile(r'(?<![a-z])(start|begin|end|stop|duration)', re.I)
_NONE = ('nan', 'na', 'none', 'null')  # an empty cell, as pandas may write it
_LABELS = re.compile(r'(label|label_.*|class|verb|noun|action|.*\[\])', re.I)


@dataclasses.dataclass(frozen=True)
class Columns:
  """The columns of a CSV file; None for those it does not have."""

  path: str  # a video, or a folder of frames
  heads: Sequence[str]  # labels; each column is a head of the model
  split: str | None  # without it, the file's name tells the split
  start: str | None  # of the segment; an empty cell is the video's start
  end: str | None  # exclusive; an empty cell is the video's end
  first: str | None  # frame number, see `Example.frames`
  last: str | None  # included
  unused: Sequence[str]

  @property
  def required(self) -> list[str]:
    """The columns whose cells must not be empty."""
    single = [h for h in self.heads if not h.endswith(_MULTI_LABEL)]
    return [self.path, *filter(None, [self.split]), *single]

  def __str__(self) -> str:
    """Says what is read from which column, and which are not read."""
    parts = [f'path: {self.path}', f'labels: {", ".join(self.heads)}']
    if self.split:
      parts.append(f'split: {self.split}')
    for unit, *bounds in (
      ('seconds', self.start, self.end),
      ('frames', self.first, self.last),
    ):
      if any(bounds):
        names = ' to '.join(bound or '...' for bound in bounds)
        parts.append(f'segment in {unit}: {names}')
    if self.unused:
      names = (column or "'' (an index?)" for column in self.unused)
      parts.append(f'not read: {", ".join(names)}')
    return '; '.join(parts)

  def example(
    self,
    path: str,
    cells: tables.Cells,
    where: str,
    frames_rate: float | None = None,
  ) -> Example:
    """Returns the example of a row, which is at `where`, for errors.

    With `frames_rate`, folders of frames are cut by `start` and `end`.
    """
    bounds = (self.start, self.end, self.first, self.last)
    texts = [cells[column] if column else '' for column in bounds]
    texts = ['' if text.lower() in _NONE else text for text in texts]
    start, end = (tables.seconds(t, where) if t else None for t in texts[:2])
    first, last = (tables.whole(t, where) if t else None for t in texts[2:])
    reverse = end is not None and end <= (start or 0)
    if reverse or (last is not None and last < (first or 0)):
      raise UserError(f'{where} has a segment that ends before it starts.')
    by_frames = any(texts[2:]) and not (frames_rate and any(texts[:2]))
    return Example(
      path=path,
      id=f'{path} {"-".join(texts)}' if any(texts) else path,
      labels={_head(c): _label(c, cells[c]) for c in self.heads},
      start=start,
      end=end,
      frames=(first, last) if by_frames else None,
      frames_rate=frames_rate,
    )


def _head(column: str) -> str:
  """Returns the head of a column: 'label' of 'Label', 'tags' of 'tags[]'."""
  name = column.removesuffix(_MULTI_LABEL)
  return name.lower() if _LABELS.fullmatch(name) else name


def _label(column: str, cell: str) -> Label:
  if not column.endswith(_MULTI_LABEL):
    return cell
  names = (name.strip() for name in cell.split(_SEPARATOR))
  return tuple(dict.fromkeys(name for name in names if name))


def path_column(header: Sequence[str]) -> str | None:
  """Returns the column of paths, or None."""
  return _named('path', header)


def _named(kind: str, header: Sequence[str]) -> str | None:
  plain = {c.lower().replace('_', ''): c for c in reversed(header)}
  return next((plain[name] for name in _NAMES[kind] if name in plain), None)


def columns_of(
  file: pathlib.Path, header: Sequence[str], labels: Sequence[str] | None
) -> Columns:
  """Returns the columns of a file with a header.

  `labels` are the columns of labels; None for those that are named like labels.
  """
  for column in labels or ():
    if column not in header:
      raise UserError(
        f"{file} has no column '{column}' for --labels, but "
        f'{", ".join(header)}.{nearest(column, header)}'
      )
  free = [column for column in header if column not in (labels or ())]
  named = {kind: _named(kind, free) for kind in _NAMES}
  if named['path'] is None:
    raise UserError(
      f"{file} has neither a column 'path' (or 'file_name') nor lines 'path "
      f"label'; its first line is '{','.join(header)}'."
      f'{nearest("path", header, 0.7)}'
    )
  others = [column for column in header if column not in named.values()]
  heads = labels or [column for column in others if _LABELS.fullmatch(column)]
  unused = [column for column in others if column not in heads]
  for bound, other in (('start', 'end'), ('end', 'start')):
    doubtful = [c for c in unused if _BOUND.search(c) and 'frame' not in c]
    if named[bound] and not named[other] and doubtful:
      raise UserError(
        f"{file} has the column '{named[bound]}', but no '{other}': rename "
        f"'{doubtful[0]}' to '{other}' if it is that, or remove it."
      )
  if not heads:
    raise UserError(
      f"{file} has no column 'label', 'class', 'verb', 'noun' or 'action', but "
      f'{", ".join(unused) or "no others"}: name the columns of labels with '
      '--labels=A,B.'
    )
  names = [_head(column) for column in heads]
  for column, head in zip(heads, names):
    # Metrics and the report's files are named after heads.
    if not re.fullmatch(r'[\w-]+', head) or head == 'joint':
      raise UserError(
        f"{file} has the column '{column}', which becomes a head of the model: "
        "use letters, digits, '_' and '-', and not the name 'joint'."
      )
    if names.count(head) > 1:
      raise UserError(
        f"{file} has two columns of the head '{head}', of {','.join(heads)}: "
        'rename one.'
      )
  return Columns(heads=heads, unused=unused, **named)
