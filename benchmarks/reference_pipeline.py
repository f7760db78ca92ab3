"""The reference code's input pipeline in tf.data, for comparison.

What scenic and DMVR do for ViViT on Kinetics: a record is a whole video, as a
SequenceExample of JPEG frames; a clip is drawn after it is parsed; everything
else, colour in float32 too, is done on the host. With their settings: 256
records to shuffle from, 16 threads that parse, else tf.data's own tuning.
"""

import dataclasses
import os
import pathlib

# No accelerator, and only TensorFlow's errors; before it is imported.
os.environ |= {'CUDA_VISIBLE_DEVICES': '', 'TF_CPP_MIN_LOG_LEVEL': '3'}

import tensorflow as tf  # noqa: E402

from benchmarks import measure  # noqa: E402

_SHARDS = 8
_SHUFFLED, _PARSERS, _PARSED, _PREFETCHED = 256, 16, 64, 8
_THREADS = 48
_WARM_SECONDS = 5.0  # until the tuning has settled
_SCALES = 0.9, 1.33


def write_records(
  folder: str, dataset: str, data_dir: str, split: str, videos: int
) -> None:
  """Writes the first videos of a prepared split, unless they are there."""
  from vivit_jax.data import datasets, decode

  folder = pathlib.Path(folder)
  if folder.exists():
    return
  source = datasets.open_split(dataset, data_dir, split)
  unfinished = folder.with_name(f'{folder.name}.part')
  unfinished.mkdir(parents=True, exist_ok=True)
  for shard in range(_SHARDS):
    path = unfinished / f'{shard:05d}-of-{_SHARDS:05d}.tfrecord'
    with tf.io.TFRecordWriter(str(path)) as writer:
      for video in range(shard, min(videos, len(source)), _SHARDS):
        frames = source.read_frames(video, range(source.frame_counts[video]))
        jpegs = [decode.encode_jpeg(frame) for frame in frames]
        writer.write(_example(jpegs).SerializeToString())
  unfinished.rename(folder)


def _example(frames: list[bytes]) -> tf.train.SequenceExample:
  encoded = [
    tf.train.Feature(bytes_list=tf.train.BytesList(value=[frame]))
    for frame in frames
  ]
  label = tf.train.Feature(int64_list=tf.train.Int64List(value=[0]))
  return tf.train.SequenceExample(
    context=tf.train.Features(feature={'clip/label/index': label}),
    feature_lists=tf.train.FeatureLists(
      feature_list={'image/encoded': tf.train.FeatureList(feature=encoded)}
    ),
  )


def run(
  *,
  folder: str,
  frames: int,
  stride: int,
  crop: int,
  short_side: int,
  batch_size: int,
  seconds: float,
) -> measure.Measurement:
  """Measures the pipeline on the records of `write_records`."""
  batches = iter(_batches(folder, frames, stride, crop, short_side, batch_size))
  measured = measure.stream(
    batches,
    batch_size,
    seconds=seconds,
    warm_batches=2,
    warm_seconds=_WARM_SECONDS,
  )
  video = next(batches)[0]
  size = video.dtype.size * int(tf.size(video)) // batch_size
  return dataclasses.replace(measured, clip_bytes=size)


def _batches(
  folder: str,
  frames: int,
  stride: int,
  crop: int,
  short_side: int,
  batch_size: int,
) -> tf.data.Dataset:
  def sample(encoded, label):
    room = tf.maximum(tf.shape(encoded)[0] - (frames - 1) * stride, 1)
    start = tf.random.uniform([], maxval=room, dtype=tf.int32)
    places = start + stride * tf.range(frames)
    return tf.gather(encoded, places % tf.shape(encoded)[0]), label

  def cut(video, label):
    video = tf.image.random_crop(
      _jitter_scale(_resize(video, short_side)), (frames, crop, crop, 3)
    )
    return tf.cond(
      _chance(0.5), lambda: tf.reverse(video, [2]), lambda: video
    ), (label)

  dataset = tf.data.Dataset.list_files(f'{folder}/*').interleave(
    tf.data.TFRecordDataset, num_parallel_calls=tf.data.AUTOTUNE
  )
  dataset = dataset.repeat().shuffle(_SHUFFLED)
  dataset = dataset.map(_parse, _PARSERS, deterministic=False).prefetch(_PARSED)
  for change in (sample, _decode, cut, _recolour):
    dataset = dataset.map(change, tf.data.AUTOTUNE, deterministic=False)
  dataset = dataset.batch(batch_size, drop_remainder=True).prefetch(_PREFETCHED)
  options = tf.data.Options()
  options.threading.private_threadpool_size = _THREADS
  return dataset.with_options(options)


def _chance(probability: float) -> tf.Tensor:
  return tf.random.uniform([]) < probability


def _parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  context, sequence = tf.io.parse_single_sequence_example(
    record,
    {'clip/label/index': tf.io.FixedLenFeature((), tf.int64)},
    {'image/encoded': tf.io.FixedLenSequenceFeature((), tf.string)},
  )
  return sequence['image/encoded'], context['clip/label/index']


def _decode(encoded, label):
  decode = lambda jpeg: tf.io.decode_jpeg(jpeg, channels=3)  # noqa: E731
  return tf.map_fn(decode, encoded, fn_output_signature=tf.uint8), label


def _resize(video: tf.Tensor, short_side: int) -> tf.Tensor:
  """Resizes uint8 [T, H, W, 3]; frames that have the size are left alone."""
  size = tf.shape(video)[1:3]
  ratio = short_side / tf.reduce_min(size)
  target = tf.cast(tf.round(tf.cast(size, tf.float64) * ratio), tf.int32)
  return tf.cond(
    tf.reduce_all(size == target),
    lambda: video,
    lambda: tf.cast(tf.image.resize(video, target), tf.uint8),
  )


def _jitter_scale(video: tf.Tensor) -> tf.Tensor:
  size = tf.cast(tf.shape(video)[1:3], tf.float32)
  size = tf.cast(size * tf.random.uniform([], *_SCALES), tf.int32)
  return tf.cast(tf.image.resize(video, size), tf.uint8)


def _recolour(video, label):
  """Returns float32 in [-1, 1], recoloured with the reference's chances."""
  video = tf.cast(video, tf.float32) / 255.0
  video = tf.cond(_chance(0.8), lambda: _jitter_colour(video), lambda: video)
  video = tf.cond(
    _chance(0.1),
    lambda: tf.tile(tf.image.rgb_to_grayscale(video), (1, 1, 1, 3)),
    lambda: video,
  )
  return video * 2.0 - 1.0, label


def _jitter_colour(video: tf.Tensor) -> tf.Tensor:
  """Changes float32 [T, H, W, 3] in [0, 1], in one of the two orders."""

  def brightness(x):
    return tf.image.random_brightness(x, 32 / 255)

  def saturation(x):
    return tf.image.random_saturation(x, 0.6, 1.4)

  def contrast(x):
    return tf.image.random_contrast(x, 0.6, 1.4)

  def hue(x):
    return tf.image.random_hue(x, 0.2)

  video = tf.cond(
    _chance(0.5),
    lambda: hue(contrast(saturation(brightness(video)))),
    lambda: hue(saturation(contrast(brightness(video)))),
  )
  return tf.clip_by_value(video, 0.0, 1.0)
