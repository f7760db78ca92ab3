"""Whether a dataset's labels mean what a checkpoint's outputs mean."""

import itertools
from collections.abc import Mapping, Sequence

from vivit_jax.errors import UserError, nearest

_MEND = (
  "prepare the split with the training's label names (python -m "
  'vivit_jax.data.prepare ... --label_names=FILE.json).'
)


def check_label_names(
  known: Mapping[str, Sequence[str]], there: Mapping[str, Sequence[str]]
) -> None:
  """Checks that class i has the same name in a checkpoint and in a dataset.

  Strict: even a dataset that merely lacks some of the labels numbers the
  others differently, and would be scored wrongly without a sign of it.

  Args:
    known: names of the classes, in order, of each head of the checkpoint.
    there: the same of the dataset; it may have further heads.

  Raises:
    UserError: the first head that the dataset lacks, or whose names differ.
  """
  for head, names in known.items():
    if head not in there:
      raise UserError(
        f"the checkpoint predicts '{head}', but the dataset's heads are "
        f'{", ".join(sorted(there)) or "none"}: evaluate on a dataset with '
        f"the training's heads.{nearest(head, there)}"
      )
    if list(names) != list(there[head]):
      raise UserError(_difference(head, list(names), list(there[head])))


def _difference(head: str, known: list[str], there: list[str]) -> str:
  """Says how two unlike lists of names differ, and what to do."""
  ours, theirs = set(known), set(there)
  foreign = [name for name in there if name not in ours]
  if foreign:
    return (
      f"the dataset's label '{foreign[0]}' of head {head} is unknown to the "
      f'checkpoint ({len(foreign)} of {len(there)} are): {_MEND}'
      f'{nearest(foreign[0], known)}'
    )
  lacking = [name for name in known if name not in theirs]
  if lacking:
    return (
      f"the dataset lacks the checkpoint's label '{lacking[0]}' of head "
      f'{head} ({len(lacking)} of {len(known)} are lacking), so its labels '
      f'are numbered differently: {_MEND}'
    )
  pairs = itertools.zip_longest(known, there)
  place, (one, other) = next(
    (place, pair) for place, pair in enumerate(pairs) if pair[0] != pair[1]
  )
  return (
    f'the labels of head {head} are in another order: class {place} is '
    f'{_quoted(one)} in the checkpoint and {_quoted(other)} in the '
    f'dataset; {_MEND}'
  )


def _quoted(name: str | None) -> str:
  return 'missing' if name is None else f"'{name}'"
