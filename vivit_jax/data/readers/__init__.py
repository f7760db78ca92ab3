"""Readers of the annotation files that dataset owners distribute.

To add a dataset, add a reader here and an entry in `catalogue`. Readers raise
UserError, with file and line, for what they cannot read.
"""

import pathlib
from collections.abc import Mapping, Sequence

from vivit_jax.data.annotations import Annotated
from vivit_jax.data.readers import (
  epic,
  kinetics,
  moments,
  own,
  sequence_examples,
  something,
  ucf,
)
from vivit_jax.errors import UserError

NUMBERED = ('ucf101', 'hmdb51')  # with three splits into train and test
SEGMENTED = ('videos', 'epic_kitchens_100')  # whose examples may be segments


def read_annotations(
  dataset: str,
  annotations: pathlib.Path | None,
  videos: pathlib.Path,
  *,
  split_number: int = 1,
  labels: Sequence[str] | None = None,
  frames_rate: float | None = None,
  label_names: Mapping[str, Sequence[str]] | None = None,
) -> Annotated:
  """Reads the annotations of a dataset.

  Args:
    dataset: a key of `catalogue.DATASETS`.
    annotations: file or folder, as the dataset's reader expects it; None if
      the folder of videos has them.
    videos: the folder of videos.
    split_number: 1 to 3, for `NUMBERED` datasets.
    labels: the columns of labels, for 'videos'.
    frames_rate: of folders of frames, for `SEGMENTED` datasets.
    label_names: of each head, for records that hold only label numbers.
  """
  if dataset == 'sequence_examples':
    return sequence_examples.read(videos, annotations, label_names)
  if dataset == 'videos':
    return own.read(annotations, videos, labels, frames_rate)
  if annotations is None:
    raise UserError('--annotations is missing: see --help.')
  match dataset:
    case 'moving_shapes':
      return kinetics.read(annotations, heads=('verb', 'noun'))
    case 'something_something_v2':
      return something.read(annotations)
    case 'epic_kitchens_100':
      return epic.read(annotations, frames_rate)
    case 'moments_in_time':
      return moments.read(annotations)
    case 'ucf101':
      return ucf.read_ucf(annotations, split_number)
    case 'hmdb51':
      return ucf.read_hmdb(annotations, split_number)
  return kinetics.read(annotations)
