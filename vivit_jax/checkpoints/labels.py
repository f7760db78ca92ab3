"""Compares the class names of a checkpoint with those of a dataset."""

from collections.abc import Mapping, Sequence

from vivit_jax.errors import UserError, nearest


def check_label_names(
  checkpoint: Mapping[str, Sequence[str]], dataset: Mapping[str, Sequence[str]]
) -> None:
  """Raises a UserError unless class i has the same name in both.

  A dataset that lacks a label numbers the other ones differently, so scores
  would be silently wrong.

  Args:
    checkpoint: head -> class names, in output order.
    dataset: the same; it may have more heads.
  """
  for head, names in checkpoint.items():
    if head not in dataset:
      raise UserError(
        f"the checkpoint predicts '{head}', but the dataset has the heads "
        f'{", ".join(sorted(dataset)) or "none"}: evaluate on a dataset with '
        f"the training's heads.{nearest(head, dataset)}"
      )
    if difference := _difference(list(names), list(dataset[head])):
      raise UserError(
        f"the dataset's labels of head {head} are not the checkpoint's: "
        f"{difference}: prepare the split with the training's label names "
        '(python -m vivit_jax.data.prepare ... --label_names=FILE.json).'
      )


def _difference(checkpoint: list[str], dataset: list[str]) -> str:
  """Returns how two lists of class names differ; '' if they are equal."""
  known, found = set(checkpoint), set(dataset)
  if unknown := [name for name in dataset if name not in known]:
    return f"'{unknown[0]}' is unknown ({len(unknown)} of {len(dataset)} are)"
  if missing := [name for name in checkpoint if name not in found]:
    count = f'{len(missing)} of {len(checkpoint)} are'
    return f"'{missing[0]}' is missing ({count})"
  for number, (old, new) in enumerate(zip(checkpoint, dataset)):
    if old != new:
      return f"class {number} is '{new}', not '{old}'"
  if len(checkpoint) != len(dataset):
    return f'{len(dataset)} classes, not {len(checkpoint)}'
  return ''
