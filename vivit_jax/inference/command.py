"""Behind `python -m vivit_jax.predict`: predicts videos and writes results."""

import dataclasses
import glob
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vivit_jax import commands
from vivit_jax.data import decode
from vivit_jax.errors import UserError
from vivit_jax.inference import outputs

if TYPE_CHECKING:
  from vivit_jax.inference.predictor import Prediction, Predictor, Window


_PICTURES = ('.png', '.gif', '.timeline.png')  # suffixes of a video's pictures


@dataclasses.dataclass(frozen=True)
class Options:
  """Flags of vivit_jax/predict.py that do not select or change a model."""

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
    if self.timeline:
      from vivit_jax.inference import video_views

      video_views.check_seconds(self.window, self.window_stride)
    if self.views is not None:
      from vivit_jax.checkpoints import overrides  # imports jax

      overrides.parse_views(self.views)
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
  written = [] if options.features is None else [pathlib.Path(options.features)]
  if folder := options.explain or options.timeline_pictures:
    stems = [pathlib.Path(folder, name) for name in outputs.names(paths)]
    written += [x.with_name(x.name + y) for x in stems for y in _PICTURES]
  outputs.check(written, paths)
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
  matches, videos = [argument], []
  if not os.path.isdir(argument):
    if os.path.lexists(argument):
      return [pathlib.Path(argument)]
    matches = sorted(glob.glob(argument, recursive=True))
  for match in map(pathlib.Path, matches):
    paths = sorted(match.rglob('*')) if match.is_dir() else [match]
    videos += [path for path in paths if _is_video(path)]
  if not matches and not glob.has_magic(argument):
    raise UserError(f'no such video: {argument}.')
  if not videos:
    raise UserError(
      f"no videos in '{argument}' (suffixes: {' '.join(decode.SUFFIXES)})."
    )
  return videos


def _is_video(path: pathlib.Path) -> bool:
  # macOS writes hidden files such as '._clip.mp4' next to videos.
  hidden = path.name.startswith('.')
  return (
    not hidden and path.suffix.lower() in decode.SUFFIXES and not path.is_dir()
  )


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

    `stem` is the path of the pictures without suffix; None for no pictures.
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
    with outputs.writing(path) as unfinished, open(unfinished, 'wb') as file:
      np.savez(file, **arrays)

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

      explanation = self._explainer.explain(path, prediction.heads)
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
    pairs = zip(ranking.labels, ranking.probabilities)
    for index, (label, probability) in enumerate(pairs):
      yield f'{"" if index else head:>16}  {probability:.4f}  {label}'
