"""python -m vivit_jax.predict: its flags, and what they lead to."""

import argparse
import os
import pathlib
import signal
import sys
from collections.abc import Iterator, Sequence

from vivit_jax import commands
from vivit_jax.errors import UserError, exit_on_user_error
from vivit_jax.inference import model_flags


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the command line."""
  found = argparse.ArgumentParser(
    prog='python -m vivit_jax.predict',
    description='Says what videos show: the likeliest labels of each head.',
    epilog='Exit codes: 0, 1 if a video failed, 2 for mistakes, 130 on Ctrl-C.',
    allow_abbrev=False,
  )
  add = found.add_argument
  add('videos', nargs='*', metavar='VIDEO', help='file, folder, or quoted glob')
  model_flags.define(found)
  group = found.add_argument_group('how a video is seen')
  add = group.add_argument
  add('--views', help="temporal x spatial, e.g. 4x3 (the config's own)")
  add('--stride', type=int, help='frames from one of a clip to the next')
  add('--short_videos', choices=('refuse', 'loop', 'hold'))
  group = found.add_argument_group('what is told')
  add = group.add_argument
  add('--top', type=int, default=5, help='labels of each head (5)')
  add('--json', action='store_true', help='a line of JSON for each video')
  add('--explain', metavar='DIR', help='pictures of where the model looks')
  add('--features', metavar='NPZ', help='writes ids and pooled features')
  add('--tokens', action='store_true', help='with --features: of each token')
  group = found.add_argument_group('long videos')
  add = group.add_argument
  add('--timeline', action='store_true', help='what is to be seen when')
  add('--window', type=float, metavar='S', help="seconds (a clip's length)")
  add('--window_stride', type=float, metavar='S', help='seconds (--window)')
  add('--timeline_pictures', metavar='DIR', help='a PNG of each time line')
  return found


def main(arguments: Sequence[str] | None = None) -> int:
  """Parses a command line, does what it asks for, returns the exit code."""
  commands.quieten_libraries()
  signal.signal(signal.SIGINT, commands.end_at_once)
  for stream in (sys.stdout, sys.stderr):  # names that are no valid text
    stream.reconfigure(errors='backslashreplace')
  flags, unknown = parser().parse_known_intermixed_args(arguments)
  with exit_on_user_error(at_once=True):
    _check_unknown(unknown)
    try:
      return _run(flags)
    except BrokenPipeError:  # of `| head`
      return 1
  return 0


def _run(flags: argparse.Namespace) -> int:
  _check(flags)
  from vivit_jax.inference import find

  paths, missing = find.find(flags.videos)
  if not paths:
    raise missing[0]
  names = find.names(paths)
  _check_places(flags, paths, names)
  predictor = model_flags.load(
    flags, stride=flags.stride, short_videos=flags.short_videos
  )
  from vivit_jax.inference.reporting import Reporter  # jax takes a second

  reporter = Reporter(
    predictor,
    names=names,
    views=flags.views,
    top=flags.top,
    as_json=flags.json,
    explain=flags.explain,
    features=flags.features,
    tokens=flags.tokens,
    timeline=flags.timeline,
    window=flags.window,
    window_stride=flags.window_stride,
    pictures=flags.timeline_pictures,
  )
  failed = len(missing)
  for error in missing:
    print(f'error: {error}', file=sys.stderr)
  for place, path in enumerate(_progress(paths)):
    try:
      reporter.report(place, path)
    except commands.NoOutput:
      raise
    except UserError as error:
      failed += 1
      reporter.fail(path, error)
  reporter.finish()
  return 1 if failed else 0


def _progress(paths: Sequence[pathlib.Path]) -> Iterator[pathlib.Path]:
  """Yields the paths, with a bar on a terminal that no output goes to."""
  import tqdm

  hidden = not sys.stderr.isatty() or sys.stdout.isatty() or len(paths) < 2
  return iter(tqdm.tqdm(paths, unit='video', disable=hidden))


def _check_unknown(arguments: Sequence[str]) -> None:
  """Raises a UserError for arguments that are no flags of this command."""
  if not arguments:
    return
  if os.path.lexists(arguments[0]):
    raise UserError(
      f'{arguments[0]} begins as flags do: give that file as ./{arguments[0]}.'
    )
  raise UserError(f'unknown flag {arguments[0]}; --help shows the flags.')


def _check_places(
  flags: argparse.Namespace,
  paths: Sequence[pathlib.Path],
  names: Sequence[str],
) -> None:
  """Raises a UserError where something would be written over a video."""
  from vivit_jax.inference import places

  if flags.features is not None:
    places.check_features(flags.features, paths)
  for folder, endings in (
    (flags.explain, places.PICTURES),
    (flags.timeline_pictures, (places.TIMELINE,)),
  ):
    if folder is not None:
      places.check_pictures(folder, names, endings, paths)


def _check(flags: argparse.Namespace) -> None:
  """Raises a UserError where flags do not fit each other."""
  given = {
    k for k, x in vars(flags).items() if x is not None and x is not False
  }
  if not flags.videos:
    raise UserError(
      'no video is given: name files, folders or globs; --help shows the usage.'
    )
  model_flags.check(flags)
  if flags.top < 1:
    raise UserError(f'--top is {flags.top}; at least 1.')
  if flags.stride is not None and flags.stride < 1:
    raise UserError(f'--stride is {flags.stride} frames; at least 1.')
  for name in ('window', 'window_stride'):
    seconds = getattr(flags, name)
    if seconds is not None:
      from vivit_jax.inference import cutting  # takes a second

      cutting.check_seconds(f'--{name}', seconds)
  for one, other in (
    ('tokens', 'features'),
    ('window', 'timeline'),
    ('window_stride', 'timeline'),
    ('timeline_pictures', 'timeline'),
  ):
    if one in given and other not in given:
      raise UserError(f'--{one} goes with --{other}: give that too.')
  for other in ('explain', 'features'):
    if 'timeline' in given and other in given:
      raise UserError(
        f'--{other} is of whole videos, --timeline of their parts: ask for '
        'one of them at a time.'
      )
