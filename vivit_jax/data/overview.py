"""What `prepare` understood of annotations, told before it begins to work."""

import collections
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from vivit_jax.data.annotations import Annotated, Splits

_SHOWN = 3  # class names at either end


def show(annotated: Annotated, names: Mapping[str, Sequence[str]]) -> None:
  """Prints files, splits, heads with their first and last classes, and notes.

  Args:
    annotated: what a reader returned.
    names: the label names of each head, in the order of their indices.
  """
  for line in annotated.understood:
    print(f'annotations: {line}')
  counts = (f'{len(of)} {split}' for split, of in annotated.splits.items())
  print(f'videos: {", ".join(counts)}')
  for head, of_head in names.items():
    shown = list(of_head)
    if len(shown) > 2 * _SHOWN + 1:
      shown[_SHOWN:-_SHOWN] = ['...']
    print(f'{head}: {len(of_head)} classes, in order: {", ".join(shown)}')
  notes = [*annotated.notes, *_split_notes(annotated.splits)]
  for head, of_head in names.items():
    notes += _label_notes(head, of_head, annotated.splits)
  for note in notes:
    print(f'note: {note}.')


def _split_notes(splits: Splits) -> Iterator[str]:
  if 'train' not in splits:
    yield "no split 'train': models can be evaluated on this, not trained"
  elif 'validation' not in splits:
    other = next((split for split in splits if split != 'train'), None)
    instead = f' or --config.train.validation_split={other}' if other else ''
    yield (
      "no split 'validation', which training asks for: --validation_share=0.1 "
      f'takes a tenth of train{instead}'
    )
  paths = {split: {e.path for e in of} for split, of in splits.items()}
  for first, second in itertools.combinations(paths, 2):
    if count := len(paths[first] & paths[second]):
      yield f'videos that are in both {first} and {second}: {count}'


def _label_notes(
  head: str, names: Sequence[str], splits: Splits
) -> Iterator[str]:
  alike = collections.defaultdict(list)
  for name in names:
    alike[re.sub(r'[\s_-]+', ' ', name).casefold().strip()].append(name)
  for same in alike.values():
    if len(same) > 1:
      quoted = ' and '.join(f"'{name}'" for name in same)
      yield f'{head}: {quoted} differ only in case or spaces'
  labels = (e.labels[head] for of_split in splits.values() for e in of_split)
  counts = collections.Counter(x for x in labels if isinstance(x, str))
  for label, count in counts.items():
    if label.lower() in ('nan', 'none', 'null', 'n/a'):
      yield f"{head}: {count} have the label '{label}': is it missing"
  several = next((label for label in counts if re.search('[;|]', label)), None)
  if several:
    yield (
      f"{head}: '{several}' is one label here; for several of a video, name "
      f"the column '{head}[]' and separate them by ';'"
    )
