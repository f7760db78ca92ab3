"""Class folders: the label of a video is the name of its folder."""

import os
import pathlib

from vivit_jax.data import decode, raw_videos
from vivit_jax.data.annotations import Annotated, Example
from vivit_jax.data.readers import tables
from vivit_jax.errors import UserError


def read(videos: pathlib.Path) -> Annotated:
  """Reads class folders, as torchvision, pytorchvideo and Keras have them.

  A video is `<class>/<file>` or `<split>/<class>/<file>` in the folder of
  videos, with any folders between class and file. A folder of images is a
  video, too. All videos or none must be in folders of splits.
  """
  paths, other = _paths(videos)
  below = [path for path in paths if '/' in path]
  if not below:
    raise UserError(
      f'{videos} has no folders of videos, one for each class: give a CSV file '
      'as --annotations.'
    )
  collector, forms, labels = tables.Collector(), set(), set()
  for path in below:
    names = path.split('/')[:-1]
    split = tables.split_of(names[0])
    is_split = split in tables.SPLIT_WORDS and len(names) > 1
    forms.add('split/class/video' if is_split else 'class/video')
    label, *deeper = names[is_split:]
    labels.add(label)
    if len(forms) > 1 or any(map(_is_split_word, deeper)):
      raise UserError(
        f'{videos} has {path}: the folders of splits must be directly in '
        '--videos, with all classes in them.'
      )
    example = Example(path, path, {'label': label})
    collector.add(split if is_split else 'train', example, str(videos / path))
  if all(tables.split_in(label) for label in labels):
    raise UserError(
      f'{videos} has the folders {", ".join(sorted(labels))}, which are splits '
      'rather than classes: name them train, validation and test, and make a '
      'folder for each class in them.'
    )
  notes = []
  if len(labels) == 1:
    notes.append(f"all videos have the label '{labels.pop()}'")
  if len(paths) > len(below):
    notes.append(f'left out, as in no class folder: {len(paths) - len(below)}')
  if other:
    notes.append(f'left out, as no videos: {len(other)} files, as {other[0]}')
  return Annotated(
    collector.splits,
    notes=tuple(notes),
    understood=(f'{videos}: labels are the names of folders, {forms.pop()}',),
  )


def _is_split_word(name: str) -> bool:
  return tables.split_of(name) in tables.SPLIT_WORDS


def _paths(videos: pathlib.Path) -> tuple[list[str], list[str]]:
  """Returns videos, among them folders of images, and other files.

  Hidden files and folders and those of operating systems are passed over.
  """
  paths, other = [], []
  for folder, below, names in os.walk(videos, followlinks=True):
    below[:] = [n for n in below if not n.startswith(('.', '@', '__MACOSX'))]
    relative = pathlib.PurePath(folder).relative_to(videos)
    files = [relative / name for name in names if not name.startswith('.')]
    found = [x for x in files if x.suffix.lower() in decode.SUFFIXES]
    images = [x for x in files if x.suffix.lower() in raw_videos.IMAGES]
    if images and not found:
      paths.append(relative.as_posix())
    paths += map(str, found)
    other += map(str, {*files}.difference(found, images))
  return sorted(paths), sorted(other)
