"""Behind `python -m vivit_jax.predict`: finds the videos and predicts them."""

import dataclasses
import glob
import json
import math
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import tqdm

from vivit_jax import commands
from vivit_jax.checkpoints import overrides
from vivit_jax.data import decode, live, raw_videos
from vivit_jax.errors import INTERRUPTED, UserError
from vivit_jax.inference import outputs, video_views, videos
from vivit_jax.inference.predictor import Predictor
from vivit_jax.inference.report import Report

_PICTURES = ('.png', '.gif', '.timeline.png')  # suffixes of a video's pictures


@dataclasses.dataclass(frozen=True)
class Options:
  """Flags of vivit_jax/predict.py that do not select or change a model."""

  views: str | None = None
  top: int = 5
  json: bool = False
  explain: str | None = None
  explain_by: str | None = None
  features: str | None = None
  tokens: bool = False
  timeline: bool = False
  window: float | None = None
  window_stride: float | None = None
  timeline_pictures: str | None = None
  seconds: float | None = None
  frames_per_second: float | None = None

  def check(self) -> None:
    """Raises a UserError if the options contradict each other."""
    for name, required in (
      ('explain_by', 'explain'),
      ('tokens', 'features'),
      ('window', 'timeline'),
      ('window_stride', 'timeline'),
      ('timeline_pictures', 'timeline'),
    ):
      given = getattr(self, name) not in (None, False)
      if given and not getattr(self, required):
        raise UserError(f'--{name} needs --{required}: set that too.')
    if self.seconds is not None and not 0 < self.seconds < math.inf:
      raise UserError(f'--seconds is {self.seconds:g}; set it above 0.')
    for name in ('explain', 'features'):
      if self.timeline and getattr(self, name) is not None:
        raise UserError(
          f'--{name} and --timeline exclude each other: leave out one of them.'
        )
    if self.timeline:
      video_views.check_seconds(self.window, self.window_stride)
    videos.check_rate(self.frames_per_second)
    if self.views is not None:
      overrides.parse_views(self.views)
    if self.features is not None and not self.features.endswith('.npz'):
      raise UserError(
        f'--features={self.features} is not an .npz file: use a name such as '
        'features.npz.'
      )


def run(
  arguments: Sequence[str], options: Options, load: Callable[[], Predictor]
) -> int:
  """Predicts videos; returns the exit code, 1 if any video failed, else 0.

  Args:
    arguments: files, folders and globs, see `find_videos`; or one live video,
      see `live.is_live`.
    options: what to compute and to report.
    load: returns the model; called only after all checks.

  Raises:
    UserError: the options are invalid, there is no video, or an output cannot
      be written. Unreadable videos are printed as errors and skipped.
  """
  if any(map(live.is_live, arguments)):
    return _run_live(arguments, options, load)
  if options.seconds is not None:
    raise UserError('--seconds is for live video: leave it out for files.')
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
  predictor = _loaded(load, options)
  report = Report(predictor, options)
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


def _loaded(load: Callable[[], Predictor], options: Options) -> Predictor:
  """Returns the model; raises a UserError if it needs another window."""
  predictor = load()
  if options.timeline:
    data = predictor.config.data
    video_views.check_seconds(options.window, options.window_stride, data)
  return predictor


def _run_live(
  arguments: Sequence[str], options: Options, load: Callable[[], Predictor]
) -> int:
  """Predicts the time line of a live video; returns the exit code."""
  source, *others = arguments
  name = live.name_of(next(filter(live.is_live, arguments)))
  if others:
    raise UserError(f'{name} is live: predict it alone.')
  for flag in ('explain', 'features'):
    if getattr(options, flag) is not None:
      raise UserError(f'{name} is live: --{flag} is for files, leave it out.')
  options = dataclasses.replace(options, timeline=True)
  options.check()
  if source == '-' and sys.stdin.isatty():
    raise UserError('- reads the standard input: pipe a video into it.')
  stem = None
  if options.timeline_pictures is not None:
    path = pathlib.Path('stdin' if source == '-' else live.name_of(source))
    (name,) = outputs.names([path])
    stem = pathlib.Path(options.timeline_pictures, name)
    outputs.check([stem.with_name(f'{name}.timeline.png')], [])
  report = Report(_loaded(load, options), options)
  with live.stopped_by_interrupt() as stop:
    try:
      report.add_live(source, stem, stop)
    except commands.NoOutput:
      raise
    except UserError as error:
      print(f'error: {error}', file=sys.stderr, flush=True)
      return 1
  if stop.is_set():
    print('\ninterrupted', file=sys.stderr, flush=True)
    return INTERRUPTED
  return 0


def find_videos(
  arguments: Sequence[str],
) -> tuple[list[pathlib.Path], list[UserError]]:
  """Returns videos in the order of the arguments, and errors for missing ones.

  Args:
    arguments: files with any name; folders, searched recursively for video
      suffixes, or with the frames of a video; or globs of both. Repeated files
      are returned once.
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
    found = [path for path in paths if _is_video(path)]
    if not found and match.is_dir() and raw_videos.frame_count(match):
      found = [match]
    videos += found
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
  hidden = not sys.stderr.isatty() or sys.stdout.isatty() or len(paths) < 2
  return tqdm.tqdm(paths, unit='video', disable=hidden)
