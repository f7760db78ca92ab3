"""Which videos a command line means: files, folders and globs."""

import glob
import os
import pathlib
from collections.abc import Sequence

from vivit_jax.data import decode
from vivit_jax.errors import UserError


def find(asked: Sequence[str]) -> tuple[list[pathlib.Path], list[UserError]]:
  """Returns videos, each once, in the order asked for, and what is not there.

  Args:
    asked: paths of files, which may have any name; of folders, of which all
      files are taken whose names end as videos' do, but hidden ones; or globs
      of both ('**' of any depth), of which the same files are.
  """
  found: dict[str, pathlib.Path] = {}  # of one file, the first spelling
  missing = []
  for text in asked:
    try:
      for path in _of_one(text):
        found.setdefault(os.path.realpath(path), path)
    except UserError as error:
      missing.append(error)
  return list(found.values()), missing


def _of_one(text: str) -> list[pathlib.Path]:
  if '\0' in text:
    raise UserError('the path of a video has a NUL in it.')
  path = pathlib.Path(text)
  # os.path's say no to names that no file can have, where pathlib's raise.
  if os.path.isdir(path):
    inside = _in_folder(path)
    if not inside:
      raise UserError(
        f'the folder {path} holds no videos ({" ".join(decode.SUFFIXES)}).'
      )
    return inside
  if os.path.lexists(path):
    return [path]
  if not glob.has_magic(text):
    raise UserError(f'there is no video {path}.')
  matched = [pathlib.Path(p) for p in sorted(glob.glob(text, recursive=True))]
  files = [path for path in matched if _is_video(path)]
  inside = [p for path in matched if path.is_dir() for p in _in_folder(path)]
  if not files and not inside:
    raise UserError(
      f"'{text}' matches no videos ({' '.join(decode.SUFFIXES)})."
    )
  return [*files, *inside]


def _in_folder(folder: pathlib.Path) -> list[pathlib.Path]:
  return [path for path in sorted(folder.rglob('*')) if _is_video(path)]


def _is_video(path: pathlib.Path) -> bool:
  # What is neither file nor folder, a pipe for one, is told of as no video.
  if path.is_dir():
    return False
  hidden = path.name.startswith('.')  # macOS leaves '._clip.mp4' beside a clip
  return not hidden and path.suffix.lower() in decode.SUFFIXES


def names(paths: Sequence[pathlib.Path]) -> list[str]:
  """Returns a name for each video's own files, all different.

  The name of the file without its ending, where no other one has it; else with
  its folders and its ending, and a number where even that is not enough.
  """
  stems = [path.stem.casefold() for path in paths]
  taken: set[str] = set()
  found = []
  for path, stem in zip(paths, stems):
    name = path.stem
    if stems.count(stem) > 1:
      parts = [part for part in path.parts if part not in ('/', '..', '.')]
      name = '_'.join(parts)
    candidate, number = name, 1
    while candidate.casefold() in taken:
      number += 1
      candidate = f'{name}_{number}'
    taken.add(candidate.casefold())
    found.append(candidate)
  return found
