"""Tiny copies of the public datasets, in their owners' layouts and formats.

Each function writes annotations and videos into a folder. It returns the
dataset's name, the arguments of `prepare`, the expected splits, as lists of
(id, labels, frame numbers), and the expected label names.
"""

import json
import pathlib
from collections.abc import Iterable
from typing import Any

import cv2
import numbered

Copy = tuple[str, dict[str, Any], dict[str, list], dict[str, list[str]]]
ALL = list(range(12))


def lines(path: pathlib.Path, *rows: str) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(f'{row}\n' for row in rows))


def frame_folder(folder: pathlib.Path, name: str, first: int, count: int):
  """Writes `count` numbered frames, whose files are numbered from `first`."""
  folder.mkdir(parents=True, exist_ok=True)
  for number in range(count):
    cv2.imwrite(
      str(folder / name.format(first + number)), numbered.frame(number)
    )


def kinetics400(folder: pathlib.Path) -> Copy:
  """Class folders with spaces or underscores, flat, and by split."""
  header = 'label,youtube_id,time_start,time_end,split'
  lines(
    folder / 'train.csv',
    f'{header},is_cc',
    'riding a bike,-Ab_0123456,7,17,train,0',
    '"playing ""rock paper scissors""",zz,0,10,train,1',
    'riding a bike,flat,1234,1244,train,0',
  )
  lines(folder / 'validate.csv', header, 'riding a bike,vv,3,13,validate')
  lines(
    folder / 'test.csv', 'youtube_id,time_start,time_end,split', 't,0,9,test'
  )
  videos = folder / 'videos'
  for path in (
    'riding a bike/-Ab_0123456_000007_000017.mp4',
    'playing_"rock_paper_scissors"/zz_000000_000010.mp4',
    'flat_001234_001244.mp4',
    'val/riding_a_bike/vv_000003_000013.mp4',
  ):
    numbered.write(videos / path)
  bike, rock = {'label': 'riding a bike'}, 'playing "rock paper scissors"'
  expected = {
    'train': [
      ('-Ab_0123456_000007_000017', bike, ALL),
      ('zz_000000_000010', {'label': rock}, ALL),
      ('flat_001234_001244', bike, ALL),
    ],
    'validation': [('vv_000003_000013', bike, ALL)],
  }
  arguments = {'annotations': folder, 'videos': videos}
  return 'kinetics400', arguments, expected, {'label': [rock, bike['label']]}


def something(folder: pathlib.Path) -> Copy:
  """JSON lists; classes in the order of labels.json, not of the alphabet."""
  name = 'something-something-v2-{}.json'
  push, drop = 'Pushing [something] to [a side]', 'Dropping [something]'

  def item(identity: str, template: str) -> dict[str, Any]:
    return {'id': identity, 'label': 'a cup', 'template': template}

  contents = {
    'train': [item('78687', push), item('42326', drop)],
    'validation': [item('74225', push)],
    'test': [{'id': '1420'}],
    'labels': {'Pushing something to a side': '0', 'Dropping something': '1'},
  }
  (folder / 'labels').mkdir(parents=True)
  for which, content in contents.items():
    path = folder / 'labels' / name.format(which)
    path.write_text(json.dumps(content))
  videos = folder / '20bn-something-something-v2'
  for identity in ('78687', '42326', '74225'):
    numbered.write(videos / f'{identity}.webm')
  names = ['Pushing something to a side', 'Dropping something']
  expected = {
    'train': [
      ('78687', {'label': names[0]}, ALL),
      ('42326', {'label': names[1]}, ALL),
    ],
    'validation': [('74225', {'label': names[0]}, ALL)],
  }
  arguments = {'annotations': folder / 'labels', 'videos': folder}
  return 'something_something_v2', arguments, expected, {'label': names}


EPIC_HEADER = (
  'narration_id,participant_id,video_id,narration_timestamp,start_timestamp,'
  'stop_timestamp,start_frame,stop_frame,narration,verb,verb_class,noun,'
  'noun_class,all_nouns,all_noun_classes'
)


def epic(folder: pathlib.Path) -> Copy:
  """Parts of two untrimmed videos, and of a folder of frames."""

  def row(identity: str, start: str, stop: str, frames: str, classes: str):
    video = identity.rpartition('_')[0]
    verb, noun = classes.split(',')
    return (
      f'{identity},{video[:3]},{video},,{start},{stop},{frames},"take, then",'
      f'take,{verb},cup,{noun},"[\'cup\', \'lid\']","[1, 2]"'
    )

  at = '00:00:0{:.3f}'.format
  lines(
    folder / 'EPIC_100_train.csv',
    EPIC_HEADER,
    row('P01_01_0', at(0.4), at(1.2), '5,12', '2,1'),
    row('P01_01_1', at(1.15), at(2.0), '12,20', '0,0'),
    row('P02_103_0', at(2.8), at(3.6), '29,36', '2,0'),
  )
  lines(
    folder / 'EPIC_100_validation.csv',
    EPIC_HEADER,
    row('P03_04_7', at(0.3), at(1.1), '4,11', '1,1'),
  )
  columns = 'id,key,instances,category'
  lines(
    folder / 'EPIC_100_verb_classes.csv', columns, '0,take,"[]",x', '1,put,,x',
    '2,cut,,x',
  )  # fmt: skip
  lines(folder / 'EPIC_100_noun_classes.csv', columns, '0,tap,,x', '1,cup,,x')
  videos = folder / 'EPIC-KITCHENS'
  numbered.write(videos / 'P01' / 'videos' / 'P01_01.MP4', 36, key_frames=7)
  numbered.write(videos / 'P02_103.MP4', 36, key_frames=7)
  frames = videos / 'P03' / 'rgb_frames' / 'P03_04'
  frame_folder(frames, 'frame_{:010d}.jpg', 1, 20)
  cut = {'verb': 'cut', 'noun': 'cup'}
  expected = {
    'train': [
      ('P01_01_0', cut, [4, 5, 6, 7, 8, 9, 10, 11]),
      ('P01_01_1', {'verb': 'take', 'noun': 'tap'}, list(range(12, 20))),
      ('P02_103_0', {'verb': 'cut', 'noun': 'tap'}, list(range(28, 36))),
    ],
    # The file frame_0000000004.jpg is the fourth: number 3 from 0.
    'validation': [
      ('P03_04_7', {'verb': 'put', 'noun': 'cup'}, list(range(3, 11)))
    ],
  }
  names = {'verb': ['take', 'put', 'cut'], 'noun': ['tap', 'cup']}
  arguments = {'annotations': folder, 'videos': videos}
  return 'epic_kitchens_100', arguments, expected, names


def moments(folder: pathlib.Path) -> Copy:
  """CSVs without a header; categories that are not in sorted order."""
  lines(
    folder / 'trainingSet.csv',
    'swimming/yt-a.mp4,swimming,3,0',
    'adult+female+singing/b.mp4,adult+female+singing,2,1',
  )
  lines(folder / 'validationSet.csv', 'swimming/c.mp4,swimming,3,0')
  lines(
    folder / 'moments_categories.txt', 'swimming,0', 'adult+female+singing,1'
  )
  for path in (
    'training/swimming/yt-a.mp4',
    'training/adult+female+singing/b.mp4',
    'validation/swimming/c.mp4',
  ):
    numbered.write(folder / path)
  swim, sing = 'swimming', 'adult+female+singing'
  expected = {
    'train': [
      ('swimming/yt-a.mp4', {'label': swim}, ALL),
      ('adult+female+singing/b.mp4', {'label': sing}, ALL),
    ],
    'validation': [('swimming/c.mp4', {'label': swim}, ALL)],
  }
  arguments = {'annotations': folder, 'videos': folder}
  return 'moments_in_time', arguments, expected, {'label': [swim, sing]}


def ucf(folder: pathlib.Path) -> Copy:
  """The second split; one class folder, and one flat video."""
  lists, videos = folder / 'ucfTrainTestlist', folder / 'UCF-101'
  lines(lists / 'classInd.txt', '1 YoYo', '2 Archery')
  for number in (1, 2, 3):
    names = [f'v_{c}_g0{number}_c01.avi' for c in ('YoYo', 'Archery')]
    lines(
      lists / f'trainlist0{number}.txt',
      f'YoYo/{names[0]} 1',
      f'Archery/{names[1]} 2',
    )
    lines(lists / f'testlist0{number}.txt', f'YoYo/v_YoYo_g1{number}_c01.avi')
  numbered.write(videos / 'YoYo' / 'v_YoYo_g02_c01.avi')
  numbered.write(videos / 'v_Archery_g02_c01.avi')
  numbered.write(videos / 'YoYo' / 'v_YoYo_g12_c01.avi')
  expected = {
    'train': [
      ('v_YoYo_g02_c01.avi', {'label': 'YoYo'}, ALL),
      ('v_Archery_g02_c01.avi', {'label': 'Archery'}, ALL),
    ],
    'test': [('v_YoYo_g12_c01.avi', {'label': 'YoYo'}, ALL)],
  }
  arguments = {'annotations': lists, 'videos': videos, 'split_number': 2}
  return 'ucf101', arguments, expected, {'label': ['YoYo', 'Archery']}


def hmdb(folder: pathlib.Path) -> Copy:
  lists, videos = folder / 'testTrainMulti_7030_splits', folder / 'hmdb51_org'
  lines(
    lists / 'wave_test_split1.txt',
    'A#1_wave_u_(x).avi 1 ',
    'neither.avi 0 ',
    'c.avi 2 ',
  )
  lines(lists / 'brush_hair_test_split1.txt', 'b.avi 1 ')
  lines(lists / 'wave_test_split2.txt', 'c.avi 1 ')
  for path in ('wave/A#1_wave_u_(x).avi', 'wave/c.avi', 'brush_hair/b.avi'):
    numbered.write(videos / path)
  expected = {
    'train': [
      ('brush_hair/b.avi', {'label': 'brush_hair'}, ALL),
      ('wave/A#1_wave_u_(x).avi', {'label': 'wave'}, ALL),
    ],
    'test': [('wave/c.avi', {'label': 'wave'}, ALL)],
  }
  arguments = {'annotations': lists, 'videos': videos}
  return 'hmdb51', arguments, expected, {'label': ['brush_hair', 'wave']}


def own(folder: pathlib.Path) -> Copy:
  """Videos in several containers, and a folder of frames."""
  lines(
    folder / 'a.csv',
    'path,label,split',
    'x/1.mkv,b,train',
    'frames,a,train',
    '2.webm,a,validation',
  )
  numbered.write(folder / 'x' / '1.mkv')
  numbered.write(folder / '2.webm')
  frame_folder(folder / 'frames', 'img_{}.png', 0, 12)  # 10 comes after 9
  expected = {
    'train': [
      ('x/1.mkv', {'label': 'b'}, ALL),
      ('frames', {'label': 'a'}, ALL),
    ],
    'validation': [('2.webm', {'label': 'a'}, ALL)],
  }
  arguments = {'annotations': folder / 'a.csv', 'videos': folder}
  return 'videos/mine', arguments, expected, {'label': ['a', 'b']}


def sequence_examples(folder: pathlib.Path) -> Copy:
  """Two shards of training and one of validation, as DMVR names them."""
  jpegs = [
    cv2.imencode('.jpg', numbered.frame(number))[1].tobytes() for number in ALL
  ]

  def write(name: str, *videos: tuple[int, str]) -> None:
    records = [
      {'clip/label/index': [index], 'clip/label/text': [label.encode()]}
      for index, label in videos
    ]
    write_records(folder / name, [(context, jpegs) for context in records])

  folder.mkdir(exist_ok=True)
  train_name = 'k-train.rgb.tfrecord-0000{}-of-00002'
  write(train_name.format(0), (1, 'archery'), (0, 'yoga'))
  write(train_name.format(1), (1, 'archery'))
  write('k-val.rgb.tfrecord-00000-of-00001', (0, 'yoga'))
  # A record is 8 + 4 bytes, the data and 4 bytes.
  first = (folder / train_name.format(0)).read_bytes()
  offset = int.from_bytes(first[:8], 'little') + 16
  expected = {
    'train': [
      (f'{train_name.format(0)}@0', {'label': 'archery'}, ALL),
      (f'{train_name.format(0)}@{offset}', {'label': 'yoga'}, ALL),
      (f'{train_name.format(1)}@0', {'label': 'archery'}, ALL),
    ],
    'validation': [
      ('k-val.rgb.tfrecord-00000-of-00001@0', {'label': 'yoga'}, ALL)
    ],
  }
  names = {'label': ['yoga', 'archery']}
  return 'sequence_examples/k', {'videos': folder}, expected, names


def write_records(
  path: pathlib.Path, records: Iterable[tuple[dict[str, list], list[bytes]]]
) -> None:
  """Writes contexts, and pictures, as TensorFlow writes them."""
  import tensorflow as tf  # in tests only: it writes what users have

  train = tf.train
  kinds = {
    int: lambda values: {'int64_list': train.Int64List(value=values)},
    float: lambda values: {'float_list': train.FloatList(value=values)},
    bytes: lambda values: {'bytes_list': train.BytesList(value=values)},
  }

  def feature(values: list) -> train.Feature:
    return train.Feature(**kinds[type(values[0])](values) if values else {})

  with tf.io.TFRecordWriter(str(path)) as writer:
    for context, pictures in records:
      steps = train.FeatureList(feature=[feature([data]) for data in pictures])
      example = train.SequenceExample(
        context=train.Features(
          feature={name: feature(values) for name, values in context.items()}
        ),
        feature_lists=train.FeatureLists(
          feature_list={'image/encoded': steps} if pictures else {}
        ),
      )
      writer.write(example.SerializeToString())


COPIES = {
  'kinetics400': kinetics400,
  'something_something_v2': something,
  'epic_kitchens_100': epic,
  'moments_in_time': moments,
  'ucf101': ucf,
  'hmdb51': hmdb,
  'videos': own,
  'sequence_examples': sequence_examples,
}
