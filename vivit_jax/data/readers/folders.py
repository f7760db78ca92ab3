"""Class folders: the label of a video is the name of its folder."""

import os
import pathlib

from vivit_jax.data import decode, raw_videos
from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError


def read(videos: pathlib.Path) -> Annotated:
  """Reads class folders, as torchvision, pytorchvideo and Keras have them.

  A video is `<class>/<file>` or `<split>/<class>/<file>`, with any folders
  between class and file. A folder of images is a video, too.

  Args:
    videos: the folder of videos.

  Raises:
    UserError: no such videos, or some with and some without a split.
  """
  paths = _paths(videos)
  below = [path for path in paths if '/' in path]
  if not below:
    raise UserError(
      f'{videos} has no folders of videos, one for each class: give a CSV file '
      'as --annotations.'
    )
  collector, with_split = tables.Collector(), {}
  for path in below:
    folders = path.split('/')[:-1]
    split = tables.split_of(folders[0])
    is_split = split in tables.SPLIT_WORDS and len(folders) > 1
    with_split.setdefault(is_split, path)
    label = folders[1] if is_split else folders[0]
    example = Example(path, path, {'label': label})
    collector.add(split if is_split else 'train', example, str(videos / path))
  if len(with_split) > 1:
    raise UserError(
      f'{videos} has {with_split[True]}, in the folder of a split, and '
      f'{with_split[False]}, in none: move the others to train/.'
    )
  form = 'split/class/video' if True in with_split else 'class/video'
  outside = len(paths) - len(below)
  notes = (f'{outside} videos in no class folder are left out',)
  return Annotated(
    collector.splits,
    notes=notes if outside else (),
    understood=(f'{videos}: labels are the names of folders, {form}',),
  )


def _paths(videos: pathlib.Path) -> list[str]:
  """Returns the video files and folders of images below `videos`, sorted."""
  paths = []
  for folder, _, names in os.walk(videos, followlinks=True):
    relative = pathlib.PurePath(folder).relative_to(videos)
    shown = [name for name in names if not name.startswith('.')]
    found = [n for n in shown if _ending(n) in decode.SUFFIXES]
    images = (_ending(n) in raw_videos.IMAGES for n in shown)
    if not found and any(images):
      paths.append(relative.as_posix())
    paths += [(relative / name).as_posix() for name in found]
  hidden = ('.', '__MACOSX')
  return sorted(p for p in paths if not p.split('/')[0].startswith(hidden))


def _ending(name: str) -> str:
  return pathlib.PurePath(name).suffix.lower()
