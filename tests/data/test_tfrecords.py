"""TFRecords against TensorFlow's writer; damage; other formats."""

import struct

import owners
import pytest

from vivit_jax.data import tfrecords
from vivit_jax.data.decode import UnreadableVideo


@pytest.fixture(scope='module')
def file(tmp_path_factory):
  """Returns a file of two records, as TensorFlow writes it."""
  pytest.importorskip('tensorflow')
  path = tmp_path_factory.mktemp('records') / 'x.tfrecord'
  contexts = [
    {
      'index': [number, 300, -1],
      'name': ['größe'.encode(), b'b'],
      'score': [0.5, -2.0],
      'none': [],
    }
    for number in (1, 2)
  ]
  frames = [b'%d' % step * 5000 for step in range(3)]
  owners.write_records(path, [(context, frames) for context in contexts])
  return path


def test_records_of_tensorflow_are_read(file):
  contexts = list(tfrecords.contexts(file))
  assert [context['index'] for _, context in contexts] == [
    [1, 300, -1],
    [2, 300, -1],
  ]
  record = tfrecords.read_record(file, contexts[1][0])
  assert record.context == contexts[1][1]
  assert record.context['name'] == ['größe'.encode(), b'b']
  assert record.context['score'] == [0.5, -2.0]
  assert record.context['none'] == []
  frames = record.sequences['image/encoded']
  assert frames == [[b'0' * 5000], [b'1' * 5000], [b'2' * 5000]]


def damaged(file, tmp_path, change):
  data = bytearray(file.read_bytes())
  change(data)
  path = tmp_path / 'x.tfrecord'
  path.write_bytes(data)
  return path


def test_damage_is_named_with_its_offset(file, tmp_path):
  (first, _), (second, _) = tfrecords.contexts(file)

  def flip(place):
    def change(data):
      data[place] ^= 4

    return change

  path = damaged(file, tmp_path, flip(second - 100))
  tfrecords.read_record(path, second)
  with pytest.raises(UnreadableVideo, match='byte 0 '):
    tfrecords.read_record(path, first)
  path = damaged(file, tmp_path, flip(second + 1))
  with pytest.raises(UnreadableVideo, match=f'byte {second} '):
    list(tfrecords.contexts(path))
  path = damaged(file, tmp_path, flip(0))
  with pytest.raises(UnreadableVideo, match=path.name):
    list(tfrecords.contexts(path))

  def cut(data):
    del data[-50:]

  path = damaged(file, tmp_path, cut)
  tfrecords.read_record(path, first)
  assert len(list(tfrecords.contexts(path))) == 2
  with pytest.raises(UnreadableVideo, match=f'byte {second} '):
    tfrecords.read_record(path, second)
  with pytest.raises(UnreadableVideo, match='absent'):
    tfrecords.read_record(tmp_path / 'absent', 0)


def test_other_formats_are_refused(tmp_path):
  content = b'\x07words'  # wire type 7 does not exist
  head = struct.pack('<Q', len(content))
  masked = [tfrecords._masked_crc(x) for x in (head, content)]
  path = tmp_path / 'x'
  path.write_bytes(
    head + struct.pack('<I', masked[0]) + content + struct.pack('<I', masked[1])
  )
  with pytest.raises(UnreadableVideo, match='byte 0 '):
    tfrecords.read_record(path, 0)
  path.write_bytes(b'\x1f\x8b' + bytes(30))
  with pytest.raises(UnreadableVideo, match='gzip'):
    list(tfrecords.contexts(path))
