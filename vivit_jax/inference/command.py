"""Behind `python -m vivit_jax.predict`: predicts videos and writes results."""

import collections
import dataclasses
import glob
import itertools
import json
import math
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vivit_jax import commands, files
from vivit_jax.data import decode
from vivit_jax.errors import UserError

if TYPE_CHECKING:
  from vivit_jax.inference.predictor import Prediction, Predictor, Window


_PICTURES = ('.png', '.gif', '.timeline.png')  # suffixes of a video's pictures


@dataclasses.dataclass(frozen=True)
class Options:
  """Values of the flags in vivit_jax/predict.py that do not select a model."""

  views: str | None = None
  top: int = 5
  json: bool = False
  explain: str | None = None
  features: str | None = None
  tokens: bool = False
  timeline: bool = False
  window: float | None = None
  window_stride: float | None = None
  timeline_pictures: str | None = None

  def check(self) -> None:
    """Raises a UserError if the options contradict each other."""
    for name in ('window', 'window_stride'):
      seconds = getattr(self, name)
      if seconds is not None and not 0 < seconds < math.inf:
        raise UserError(f'--{name}={seconds:g} is not above 0 seconds.')
    for name, required in (
      ('tokens', 'features'),
      ('window', 'timeline'),
      ('window_stride', 'timeline'),
      ('timeline_pictures', 'timeline'),
    ):
      given = getattr(self, name) not in (None, False)
      if given and not getattr(self, required):
        raise UserError(f'--{name} needs --{required}: set that too.')
    for name in ('explain', 'features'):
      if self.timeline and getattr(self, name) is not None:
        raise UserError(
          f'--{name} and --timeline exclude each other: leave out one of them.'
        )
    if self.views is not None and not re.fullmatch(
      r'[1-9]\d*x[13]', self.views
    ):
      raise UserError(
        f'--views={self.views} is not temporal x spatial, such as 4x3, with 1 '
        'or 3 spatial views.'
      )
    if self.features is not None and not self.features.endswith('.npz'):
      raise UserError(
        f'--features={self.features} is not an .npz file: use a name such as '
        'features.npz.'
      )


def run(
  arguments: Sequence[str], options: Options, load: Callable[[], 'Predictor']
) -> int:
  """Predicts videos; returns the exit code, 1 if any video failed, else 0.

  Args:
    arguments: files, folders and globs, see `find_videos`.
    options: what to compute and to report.
    load: returns the model; called only after all checks.

  Raises:
    UserError: the options are invalid, there is no video, or an output cannot
      be written. Unreadable videos are printed as errors and skipped.
  """
  options.check()
  paths, missing = find_videos(arguments)
  if not paths:
    raise missing[0]
  stems = [None] * len(paths)
  outputs = [] if options.features is None else [pathlib.Path(options.features)]
  if folder := options.explain or options.timeline_pictures:
    stems = [pathlib.Path(folder, name) for name in output_names(paths)]
    outputs += [x.with_name(x.name + y) for x in stems for y in _PICTURES]
  _check_outputs(paths, outputs)
  predictor = load()
  report = _Report(predictor, options)
  for error in missing:
    print(f'error: {error}', file=sys.stderr)
  failed = len(missing)
  for path, stem in zip(_progress(paths), stems):
    try:
      report.add(path, stem)
    except commands.NoOutput:
      raise
    except UserError as error:
      failed += 1
      print(f'error: {error}', file=sys.stderr, flush=True)
      if options.json:
        commands.say(json.dumps({'video': str(path), 'error': str(error)}))
  report.save_features()
  return 1 if failed else 0


def find_videos(
  arguments: Sequence[str],
) -> tuple[list[pathlib.Path], list[UserError]]:
  """Returns videos in the order of the arguments, and errors for missing ones.

  Args:
    arguments: files with any name; folders, searched recursively for video
      suffixes; or globs of both. Repeated files are returned once.
  """
  if not arguments:
    raise UserError('no video: give files, folders or globs; see --help.')
  paths: dict[str, pathlib.Path] = {}  # real path -> first spelling
  missing = []
  for argument in arguments:
    try:
      for path in _videos_of(argument):
        paths.setdefault(os.path.realpath(path), path)
    except UserError as error:
      missing.append(error)
  return list(paths.values()), missing


def _videos_of(argument: str) -> list[pathlib.Path]:
  is_folder = os.path.isdir(argument)  # pathlib raises if a name is too long
  if os.path.lexists(argument) and not is_folder:
    return [pathlib.Path(argument)]
  matches = [argument]
  if not is_folder:
    matches = sorted(glob.glob(argument, recursive=True))
  videos = []
  for match in map(pathlib.Path, matches):
    files = sorted(match.rglob('*')) if match.is_dir() else [match]
    videos += [path for path in files if _is_video(path)]
  if not videos and (is_folder or glob.has_magic(argument)):
    raise UserError(
      f"no videos in '{argument}' (suffixes: {' '.join(decode.SUFFIXES)})."
    )
  if not videos:
    raise UserError(f'no such video: {argument}.')
  return videos


def _is_video(path: pathlib.Path) -> bool:
  # macOS writes hidden files such as '._clip.mp4' next to videos.
  hidden = path.name.startswith('.')
  return (
    not hidden and path.suffix.lower() in decode.SUFFIXES and not path.is_dir()
  )


def output_names(paths: Sequence[pathlib.Path]) -> list[str]:
  """Returns a unique file name, without suffix, for the outputs of each video.

  It is the video's stem, or its whole path if several videos share the stem.
  """
  stems = collections.Counter(path.stem.casefold() for path in paths)
  names: dict[str, str] = {}
  for path in paths:
    name = path.stem
    if stems[name.casefold()] > 1:
      name = '_'.join(x for x in path.parts if x not in ('/', '..', '.'))
    while name.casefold() in names:
      name += '_'
    names[name.casefold()] = name
  return list(names.values())


def _check_outputs(
  paths: Sequence[pathlib.Path], outputs: Sequence[pathlib.Path]
) -> None:
  """Raises a UserError if an output is unwritable or would replace a video."""
  videos = {os.path.realpath(path) for path in paths}
  for path in outputs:
    if os.path.realpath(path) in videos:
      raise UserError(f'{path} would overwrite a video: choose another folder.')
    if os.path.isdir(path):
      raise UserError(f'{path} is a folder: choose another name.')
  for folder in {path.parent for path in outputs}:
    while not os.path.lexists(folder):  # missing folders will be created
      folder = folder.parent
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
      raise UserError(f'{folder} is not a folder that you can write to.')


def _progress(paths: Sequence[pathlib.Path]) -> Sequence[pathlib.Path]:
  """Adds a progress bar, if stderr is a terminal and stdout is not."""
  import tqdm

  hidden = not sys.stderr.isatty() or sys.stdout.isatty() or len(paths) < 2
  return tqdm.tqdm(paths, unit='video', disable=hidden)


class _Report:
  """Predicts videos one by one; prints and saves the results."""

  def __init__(self, predictor: 'Predictor', options: Options):
    self._predictor, self._options = predictor, options
    self._ids: list[str] = []
    self._features: list[np.ndarray] = []
    if options.explain is not None:
      from vivit_jax.inference.explain import Explainer  # imports matplotlib

      self._explainer = Explainer(predictor)

  def add(self, path: pathlib.Path, stem: pathlib.Path | None) -> None:
    """Predicts a video and reports the result.

    Args:
      path: of the video.
      stem: path of the pictures without suffix; None for no pictures.

    Raises:
      UserError: the video cannot be read, or an output cannot be written.
    """
    if self._options.timeline:
      self._add_windows(path, stem)
    else:
      self._add_whole(path, stem)

  def save_features(self) -> None:
    """Writes the features of all videos, if requested."""
    if self._options.features is None or not self._ids:
      return
    path = pathlib.Path(self._options.features)
    kind = 'tokens' if self._options.tokens else 'pooled'
    arrays = {'ids': np.asarray(self._ids), kind: np.stack(self._features)}
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      with files.replacing(path) as unfinished:
        with open(unfinished, 'wb') as file:
          np.savez(file, **arrays)
    except OSError as error:
      raise UserError(
        f'cannot write {path}: {error.strerror or error}.'
      ) from None

  def _add_whole(self, path: pathlib.Path, stem: pathlib.Path | None) -> None:
    options, predictor = self._options, self._predictor
    clips = predictor.clips(path, views=options.views)
    prediction = predictor.predict_clips(clips, str(path), top=options.top)
    if options.features is not None:
      features = (
        predictor.features(path, tokens=True)
        if options.tokens
        else predictor.features_of(clips)
      )
      self._ids.append(str(path))
      self._features.append(features)
    pictures = []
    if stem is not None:
      from vivit_jax.inference import explain  # imports matplotlib

      explanation = self._explainer.of_video(path, prediction.heads)
      pictures = [str(p) for p in explain.write(stem, explanation)]
    if options.json:
      more = {'pictures': pictures} if pictures else {}
      commands.say(json.dumps(prediction.to_json() | more))
    else:
      lines = [prediction.video, *_label_lines(prediction)]
      lines += [f'{"picture":>16}  {picture}' for picture in pictures]
      commands.say('\n'.join(lines))

  def _add_windows(self, path: pathlib.Path, stem: pathlib.Path | None) -> None:
    from vivit_jax.inference import timeline  # imports matplotlib

    options, heads = self._options, self._predictor.label_names
    windows = []

    def recorded() -> Iterator['Window']:
      for window in self._predictor.timeline(
        path,
        window=options.window,
        stride=options.window_stride,
        views=options.views,
        top=options.top,
      ):
        if options.json or stem is not None:
          windows.append(window)
        yield window

    segments: dict[str, list[dict[str, Any]]] = {head: [] for head in heads}
    if not options.json:
      commands.say(path)
    for segment in timeline.segments(recorded()):
      segments[segment.head].append(segment.to_json())
      if not options.json:
        commands.say(f'  {timeline.line(segment)}')
    if stem is not None:
      picture = stem.with_name(f'{stem.name}.timeline.png')
      timeline.write(picture, path.name, windows, heads)
    if options.json:
      results = {
        'video': str(path),
        'timeline': segments,
        'windows': [window.to_json() for window in windows],
      }
      commands.say(json.dumps(results))


def _label_lines(prediction: 'Prediction') -> Iterator[str]:
  """Yields a line for each label of each head."""
  for head, ranking in prediction.heads.items():
    names = itertools.chain([head], itertools.repeat(''))
    for name, label, probability in zip(
      names, ranking.labels, ranking.probabilities
    ):
      yield f'{name:>16}  {probability:.4f}  {label}'
