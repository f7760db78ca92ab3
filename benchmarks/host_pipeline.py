"""Our input pipeline, and the bare decoder that is its limit, measured."""

import dataclasses
import functools
import itertools
import multiprocessing
import os
import time

import numpy as np

from benchmarks import measure
from vivit_jax.config import DataConfig
from vivit_jax.data import datasets, decode, pipeline, sampling

_CLIPS = 16  # that a bare decoder holds, as JPEG


def run(
  *, dataset: str, split: str, batch_size: int, seconds: float, **keys
) -> measure.Measurement:
  """Measures the training pipeline; `keys` are DataConfig's."""
  data = DataConfig(dataset=dataset, **keys)
  source = datasets.open_split(dataset, data.data_dir, split)
  batches = pipeline.train_batches(source, data, seed=0, batch_size=batch_size)
  try:
    measured = measure.stream(
      batches,
      batch_size,
      seconds=seconds,
      warm_batches=3 * data.workers + 2,  # past what was made ahead
      workers=data.workers,
    )
    size = next(batches)['video'].nbytes // batch_size
    return dataclasses.replace(measured, clip_bytes=size)
  finally:
    batches.close()


def check(dataset: str, data_dir: str, split: str) -> None:
  """Raises a UserError if there is no such split to measure."""
  datasets.open_split(dataset, data_dir, split)


def decode_bare(
  *, dataset: str, split: str, seconds: float, cut: bool, **keys
) -> measure.Measurement:
  """Measures plain processes, one a core, that only decode JPEGs in memory.

  Args:
    dataset, split: where the JPEGs are from.
    seconds: to measure.
    cut: whether frames are cropped and resized, too.
    **keys: DataConfig's.
  """
  data = DataConfig(dataset=dataset, **keys)
  context = multiprocessing.get_context('spawn')
  start, clips = context.Barrier(data.workers), context.Queue()
  decoders = [
    context.Process(
      target=_decode_bare,
      args=(data, split, seconds, cut, number, start, clips),
    )
    for number in range(data.workers)
  ]
  for decoder in decoders:
    decoder.start()
  results = [clips.get(timeout=seconds + 120) for _ in decoders]
  for decoder in decoders:
    decoder.join()
  return measure.Measurement(
    speed=sum(count / passed for count, passed, _ in results),
    clip_seconds=sum(used for *_, used in results)
    / sum(count for count, *_ in results),
  )


def _decode_bare(data, split, seconds, cut, number, start, clips) -> None:
  pipeline._start_worker(number, data.workers)  # the allocator's settings, too
  source = datasets.open_split(data.dataset, data.data_dir, split)
  rng = np.random.default_rng(number)
  jpegs = []
  for video in rng.integers(len(source), size=_CLIPS):
    frames = sampling.random_clip(
      int(source.frame_counts[video]), data.frames, data.stride, rng
    )
    images = source.read_frames(int(video), frames)
    jpegs.append([decode.encode_jpeg(image) for image in images])
  clip = np.empty((data.frames, *data.crop, 3), np.uint8)
  work = functools.partial(_work, data=data, rng=rng, clip=clip, cut=cut)
  work(jpegs[0])  # warm
  start.wait()
  begin, used = time.perf_counter(), time.process_time()
  for count in itertools.count(1):
    work(jpegs[count % _CLIPS])
    passed = time.perf_counter() - begin
    if passed >= seconds:
      clips.put((count, passed, time.process_time() - used))
      return


def _work(jpegs, *, data, rng, clip, cut) -> None:
  box = None
  for place, jpeg in enumerate(jpegs):
    image = decode.decode_jpeg(jpeg, 'a clip')
    if cut:
      box = box or sampling.random_box(
        image.shape[:2], data.crop, data.short_side, data.scale_jitter, rng
      )
      sampling.crop_and_resize(image, box, data.crop, out=clip[place])


def cores() -> int:
  """Returns the cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
