"""Speed, CPU time and memory of the input pipeline against two baselines.

  python -m benchmarks.input_pipeline
  python -m benchmarks.input_pipeline --data_dir=data --dataset=videos/mine

Clips are those of the paper for Kinetics: 32 frames, stride 2, short side 256
with scale jitter 0.9 to 1.33, crop 224. The baselines are:

  reference  tf.data as in scenic and DMVR: whole videos as SequenceExamples,
             with flips and float32 colours on the host (ours does both on the
             accelerator)
  bare       one process per worker that only decodes, crops and resizes JPEGs
             from memory

All run in turn, each in new processes. Without --data_dir, the command first
writes its own videos.
"""

import contextlib
import csv
import functools
import importlib.util
import os
import pathlib
import sys
import time
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from benchmarks import measure
from vivit_jax import machine, processes

# Heavy modules are imported in functions, so that they do not add to the
# measured memory of processes that do not use them.

OWN = 'videos/benchmark'
_FRAMES, _HEIGHT, _WIDTH = 250, 256, 340  # as in Kinetics: 10 s at 25 fps
_CLIP, _STRIDE, _SHORT_SIDE, _CROP, _SCALES = 32, 2, 256, 224, (0.9, 1.33)
_DECODED = 16  # clips of JPEGs that a bare decoder holds in memory
_ENDED = 'a decoding process was killed; is memory short?'
_OURS, _REFERENCE = 'ours', "the reference's way, tf.data"
_BARE = 'bare decode + crop + resize'
_COLUMNS = ('clips/s', 'CPU ms/clip', 'MB/clip', 'MB memory')
_RATIOS = (  # column, baseline, and goal for ours / baseline
  ('clips/s', _REFERENCE, '>= 3'),
  ('clips/s', _BARE, '>= 0.7'),
  ('MB/clip', _REFERENCE, '<= 0.25'),
  ('MB memory', _REFERENCE, '<= 0.25'),
  # Other load on the machine changes CPU time less than speed.
  ('CPU ms/clip', _REFERENCE, None),
  ('CPU ms/clip', _BARE, None),
)


def write_own(data_dir: str | os.PathLike, videos: int) -> None:
  """Prepares the dataset `OWN` of moving textures, unless it exists.

  Textures have detail at all scales, so that their JPEGs are as large as those
  of photographs.
  """
  from vivit_jax.data import datasets, moving_shapes, prepare

  if datasets.find(OWN, data_dir):
    return
  print(f'writing {videos} videos to {data_dir}', file=sys.stderr)
  raw = pathlib.Path(data_dir, 'raw')
  raw.mkdir(parents=True, exist_ok=True)
  rows = [(f'{video}.mp4', f'class {video % 4}') for video in range(videos)]
  for seed, (name, _) in enumerate(rows):
    video = _moving_texture(np.random.default_rng(seed))
    moving_shapes.write_video(raw / name, video)
  annotations = raw / 'annotations.csv'
  with open(annotations, 'w', newline='') as file:
    csv.writer(file).writerows([('path', 'label'), *rows])
  options = {'data_dir': data_dir, 'short_side': _SHORT_SIDE}
  with contextlib.redirect_stdout(sys.stderr):
    prepare.prepare(OWN, videos=raw, annotations=annotations, **options)


def _moving_texture(rng: np.random.Generator) -> np.ndarray:
  """Returns a video, uint8 [T, H, W, 3], of drifting and rotating noise."""
  import cv2

  texture = np.zeros((1024, 1024, 3), np.float32)
  for octave in range(2, 11):
    noise = rng.standard_normal((2**octave, 2**octave, 1), np.float32)
    tint = rng.standard_normal((2**octave, 2**octave, 3), np.float32)
    coloured = cv2.resize(noise + 0.3 * tint, (1024, 1024))
    texture += 45 * 0.72 ** (octave - 2) * coloured
  texture = np.clip(texture + rng.uniform(80, 170, 3), 0, 255).astype(np.uint8)
  speed, turn = rng.uniform(-2.5, 2.5, 2), rng.uniform(-0.01, 0.01)
  options = {'flags': cv2.WARP_INVERSE_MAP, 'borderMode': cv2.BORDER_WRAP}
  video = np.empty((_FRAMES, _HEIGHT, _WIDTH, 3), np.uint8)
  for frame in range(_FRAMES):
    cos, sin = np.cos(turn * frame), np.sin(turn * frame)
    matrix = np.array([[cos, -sin, 400], [sin, cos, 400]])
    matrix[:, 2] += speed * frame
    video[frame] = cv2.warpAffine(texture, matrix, (_WIDTH, _HEIGHT), **options)
  return video


def _source(args: types.SimpleNamespace) -> tuple[Any, Any]:
  """Returns the split to measure, and its `DataConfig` from a K400 config."""
  from configs import k400_b16x2_fe
  from vivit_jax import config as configs
  from vivit_jax.data import datasets

  config = k400_b16x2_fe.get_config()
  config.data.dataset, config.data.data_dir = args.dataset, args.data_dir
  config.data.workers = args.workers
  data = configs.resolve(config).data
  return datasets.open_split(args.dataset, args.data_dir, args.split), data


def _ours(args: types.SimpleNamespace) -> dict[str, float]:
  from vivit_jax.data import pipeline

  source, data = _source(args)
  # Warms up with more batches than the buffers hold.
  size, warm = args.batch_size, 3 * args.workers + 2
  batches = pipeline.train_batches(source, data, seed=0, batch_size=size)
  with contextlib.closing(batches):
    results = measure.stream(
      batches, size, seconds=args.seconds, warm_batches=warm
    )
    return results | {'MB/clip': next(batches)['video'].nbytes / size / 1e6}


def _bare(args: types.SimpleNamespace) -> dict[str, float]:
  """Measures one process per worker, which decodes, crops and resizes JPEGs."""
  with (
    processes.CONTEXT.Manager() as manager,
    processes.pool(args.workers, _ENDED) as pool,
  ):
    decoder = functools.partial(_decoder, args, manager.Barrier(args.workers))
    results = list(pool.map(decoder, range(args.workers)))
  clips, used = sum(x[0] for x in results), sum(x[2] for x in results)
  speed = sum(count / passed for count, passed, _ in results)
  return {'clips/s': speed, 'CPU ms/clip': 1e3 * used / clips}


def _decoder(args: types.SimpleNamespace, start, number: int) -> tuple:
  """Returns the clips, seconds and CPU seconds of one process."""
  from vivit_jax.data import decode, frame_numbers, pipeline, sampling

  # For the allocator's settings.
  pipeline._start_worker('', number, args.workers)
  source, data = _source(args)
  rng = np.random.default_rng(number)
  clips = []
  for video in map(int, rng.integers(len(source), size=_DECODED)):
    length = int(source.frame_counts[video])
    frames = frame_numbers.random_frames(length, data, _STRIDE, rng)
    images = source.read_frames(video, frames)
    clips.append([decode.encode_jpeg(image) for image in images])
  clip = np.empty((_CLIP, *data.crop, 3), np.uint8)

  def work(jpegs):
    box = None
    for index, jpeg in enumerate(jpegs):
      image = decode.decode_jpeg(jpeg, 'a clip')
      box = box or sampling.random_box(image.shape[:2], data, rng)
      sampling.crop_and_resize(image, box, data.crop, out=clip[index])

  work(clips[0])
  start.wait()
  begin, used = time.perf_counter(), time.process_time()
  count, passed = 0, 0.0
  while passed < args.seconds:
    work(clips[count % _DECODED])
    count, passed = count + 1, time.perf_counter() - begin
  return count, passed, time.process_time() - used


@functools.cache
def _tensorflow():
  os.environ |= {'CUDA_VISIBLE_DEVICES': '', 'TF_CPP_MIN_LOG_LEVEL': '3'}
  import tensorflow as tf

  return tf


def _write_records(args: types.SimpleNamespace, folder: pathlib.Path) -> None:
  """Writes whole videos as SequenceExamples, unless the folder exists."""
  from vivit_jax.data import decode

  if folder.exists():
    return
  train, (source, _) = _tensorflow().train, _source(args)

  def feature(*values):
    return train.Feature(bytes_list=train.BytesList(value=values))

  unfinished = folder.with_name(f'{folder.name}.part')
  unfinished.mkdir(parents=True, exist_ok=True)
  for shard in range(8):
    path = str(unfinished / f'{shard}.tfrecord')
    with _tensorflow().io.TFRecordWriter(path) as writer:
      for video in range(shard, min(args.videos, len(source)), 8):
        frames = source.read_frames(video, range(source.frame_counts[video]))
        encoded = [feature(decode.encode_jpeg(frame)) for frame in frames]
        features = train.FeatureList(feature=encoded)
        lists = train.FeatureLists(feature_list={'image/encoded': features})
        example = train.SequenceExample(feature_lists=lists)
        writer.write(example.SerializeToString())
  unfinished.rename(folder)


def _reference(
  args: types.SimpleNamespace, folder: pathlib.Path
) -> dict[str, float]:
  batches = iter(_reference_batches(folder, args.batch_size))
  results = measure.stream(
    batches,
    args.batch_size,
    seconds=args.seconds,
    warm_batches=2,
    warm_seconds=2 * args.seconds,  # for tf.data to tune itself
  )
  pixels = next(batches).numpy().nbytes
  return results | {'MB/clip': pixels / args.batch_size / 1e6}


def _reference_batches(folder: pathlib.Path, batch_size: int):
  """Returns batches float32 [B, T, H, W, 3] in [-1, 1], as in the reference."""
  tf = _tensorflow()

  def parse(record):
    frames = tf.io.FixedLenSequenceFeature((), tf.string)
    features = {'image/encoded': frames}
    parsed = tf.io.parse_single_sequence_example(record, None, features)
    return parsed[1]['image/encoded']

  def sample(encoded):
    length = tf.shape(encoded)[0]
    room = tf.maximum(length - (_CLIP - 1) * _STRIDE, 1)
    start = tf.random.uniform([], maxval=room, dtype=tf.int32)
    return tf.gather(encoded, (start + _STRIDE * tf.range(_CLIP)) % length)

  def decode(encoded):
    one = functools.partial(tf.io.decode_jpeg, channels=3)
    return tf.map_fn(one, encoded, fn_output_signature=tf.uint8)

  def cut(video):
    size = tf.cast(tf.shape(video)[1:3], tf.float32)
    # The reference first resizes videos that are stored in another size.
    factor = _SHORT_SIDE / tf.reduce_min(size) * tf.random.uniform([], *_SCALES)
    video = tf.image.resize(video, tf.cast(size * factor, tf.int32))
    video = tf.cast(video, tf.uint8)
    video = tf.image.random_crop(video, (_CLIP, _CROP, _CROP, 3))
    return _sometimes(0.5, lambda x: tf.reverse(x, [2]), video)

  dataset = tf.data.Dataset.list_files(f'{folder}/*').interleave(
    tf.data.TFRecordDataset, num_parallel_calls=tf.data.AUTOTUNE
  )
  dataset = dataset.repeat().shuffle(256)
  dataset = dataset.map(parse, 16, deterministic=False).prefetch(64)
  for change in (sample, decode, cut, _recolour):
    dataset = dataset.map(change, tf.data.AUTOTUNE, deterministic=False)
  dataset = dataset.batch(batch_size, drop_remainder=True).prefetch(8)
  options = tf.data.Options()
  options.threading.private_threadpool_size = 48
  return dataset.with_options(options)


def _sometimes(probability: float, change, video):
  tf = _tensorflow()
  chance = tf.random.uniform([]) < probability
  return tf.cond(chance, lambda: change(video), lambda: video)


def _recolour(video):
  """Returns a video in float32 [-1, 1], with the reference's random colours."""
  tf = _tensorflow()
  image, scale = tf.image, {'lower': 0.6, 'upper': 1.4}
  saturation = functools.partial(image.random_saturation, **scale)
  contrast = functools.partial(image.random_contrast, **scale)

  def jitter(x):
    x = image.random_brightness(x, 32 / 255)
    first = tf.random.uniform([]) < 0.5
    x = tf.cond(
      first, lambda: contrast(saturation(x)), lambda: saturation(contrast(x))
    )
    return tf.clip_by_value(image.random_hue(x, 0.2), 0.0, 1.0)

  def grey(x):
    return tf.tile(image.rgb_to_grayscale(x), (1, 1, 1, 3))

  video = _sometimes(0.8, jitter, tf.cast(video, tf.float32) / 255)
  return _sometimes(0.1, grey, video) * 2 - 1


def define_videos(values: flags.FlagValues) -> None:
  """Defines --cache, --seconds and --videos."""
  text = "Folder for the benchmark's own videos and records."
  flags.DEFINE_string('cache', 'data/benchmark', text, flag_values=values)
  text = 'Seconds of each measurement.'
  flags.DEFINE_float('seconds', 3.0, text, flag_values=values)
  measure.define_counts(values, videos=(24, 'Videos to write.'))


def _define(values: flags.FlagValues) -> None:
  define_videos(values)
  string = functools.partial(flags.DEFINE_string, flag_values=values)
  string('data_dir', None, 'Folder of another dataset to measure.')
  string('dataset', OWN, 'Name of the dataset.')
  string('split', 'train', 'Split of the dataset.')
  measure.define_counts(
    values,
    workers=(len(machine.cores()), 'Decoding processes.'),
    batch_size=(8, 'Clips per batch.'),
    rounds=(3, 'Rounds to measure.'),
  )


def main(argv: Sequence[str]) -> None:
  args = measure.parse(argv, _define, __doc__)
  if not args.data_dir:
    args.data_dir = args.cache
    measure.apart(write_own, args.cache, args.videos)
  runs = {
    _BARE: functools.partial(measure.apart, _bare, args),
    _OURS: functools.partial(measure.apart, _ours, args),
  }
  if importlib.util.find_spec('tensorflow'):
    name = f'{args.dataset}-{args.split}-{args.videos}'.replace('/', '_')
    folder = pathlib.Path(args.cache, 'tfrecords', name)
    measure.apart(_write_records, args, folder)
    reference = functools.partial(measure.apart, _reference, args, folder)
    runs[_REFERENCE] = reference
  results = measure.by_turns(runs, args.rounds)
  packages = 'grain', 'opencv-python-headless', 'numpy', 'tensorflow-cpu'
  print(machine.describe(*packages), end='\n\n')
  print(f'{args.workers} workers; medians of {args.rounds} rounds.\n')
  columns = {  # (program, column) -> values of the rounds; empty: not measured
    (name, column): [x[column] for x in rounds if column in x]
    for name, rounds in results.items()
    for column in _COLUMNS
  }
  rows = []
  for name in results:
    values = (columns[name, column] for column in _COLUMNS)
    rows.append((name, *(measure.median(x) if x else '' for x in values)))
  print(measure.table(('', *_COLUMNS), rows))
  rows = []
  for column, baseline, goal in _RATIOS:
    mine, theirs = columns[_OURS, column], columns.get((baseline, column))
    known = mine and theirs
    cell = measure.ratio(mine, theirs, goal) if known else 'not measured'
    rows.append((f'{column}: ours / {baseline}', cell))
  print(measure.table(('ratio', 'median (rounds)'), rows))


if __name__ == '__main__':
  measure.run(main)
