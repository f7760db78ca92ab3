"""Predicts the labels of videos with a trained model.

  python -m vivit_jax.predict VIDEO... --workdir=runs/demo
  python -m vivit_jax.predict FOLDER 'more/*.mp4' --checkpoint=PATH --json
  python -m vivit_jax.predict LONG.mp4 --workdir=runs/demo --timeline
  python -m vivit_jax.predict rtsp://HOST/PATH --workdir=runs/demo

Exit codes: 0; 1 if a video failed; 2 for a mistake in the flags; 130 on Ctrl-C.
docs/predict.md shows the output of each flag.
"""

import dataclasses
import functools
import sys

from absl import flags

from vivit_jax import commands
from vivit_jax.inference import model_flags

model_flags.define()
flags.DEFINE_integer(
  'stride', None, 'A clip takes every stride-th frame.', lower_bound=1
)
commands.define_sampling()
flags.DEFINE_enum(
  'short_videos',
  None,
  ('refuse', 'loop', 'hold'),
  'Videos shorter than a clip: an error, looped, or their last frame repeated.',
)
flags.DEFINE_string(
  'views', None, "Temporal x spatial views, such as 4x3; default: the config's."
)
flags.DEFINE_float(
  'frames_per_second',
  None,
  'Frame rate, instead of the one that a file reports.',
)
flags.DEFINE_boolean(
  'square_pixels', True, 'Make pixels square, as players do.'
)
flags.DEFINE_integer('top', 5, 'Number of labels of each head.', lower_bound=1)
flags.DEFINE_boolean('json', False, 'Print a JSON line for each video.')
flags.DEFINE_string(
  'explain', None, 'Folder for pictures of where the model looks.'
)
flags.DEFINE_enum(
  'explain_by',
  None,
  ('rollout', 'gradient'),
  'With --explain: attention rollout (default, if the model has it), or the '
  "predicted class's gradient.",
)
flags.DEFINE_string('features', None, '.npz file for ids and pooled features.')
flags.DEFINE_boolean(
  'tokens', False, 'With --features: save all tokens instead.'
)
flags.DEFINE_boolean('timeline', False, 'Predict windows of long videos.')
flags.DEFINE_float(
  'window', None, 'Seconds of a window; default: the length of a clip.'
)
flags.DEFINE_float(
  'window_stride', None, "Seconds between windows' starts; default: --window."
)
flags.DEFINE_string(
  'timeline_pictures', None, 'Folder for plots of the time lines.'
)
flags.DEFINE_float(
  'seconds', None, 'Seconds of a live video (URL, device, pipe) to predict.'
)


def main(arguments: list[str]) -> int:
  for stream in (sys.stdout, sys.stderr):  # file names may be invalid UTF-8
    stream.reconfigure(errors='backslashreplace')
  values = flags.FLAGS
  model_flags.check()
  from vivit_jax.inference import command  # importing jax takes a second

  names = [field.name for field in dataclasses.fields(command.Options)]
  options = command.Options(**{name: values[name].value for name in names})
  load = functools.partial(
    model_flags.load,
    stride=values.stride,
    sampling=values.sampling,
    short_videos=values.short_videos,
    square_pixels=values.square_pixels,
    headless=values.features is not None and values.explain is None,
  )
  return command.run(arguments[1:], options, load)


if __name__ == '__main__':
  sys.exit(commands.run(main, __doc__))
