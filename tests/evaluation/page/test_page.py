"""The whole page: what it says, and what it may never do."""

import html.parser
import json
import re

import made_up
import numpy as np
import pytest

from vivit_jax.errors import UserError
from vivit_jax.evaluation import page

_VOID = ('meta', 'link', 'img', 'input', 'br')


class Reader(html.parser.HTMLParser):
  """Reads elements, and fails where they are not nested."""

  def __init__(self):
    super().__init__()
    self.elements, self.open, self.words = [], [], []

  def handle_starttag(self, tag, attributes):
    self.elements.append((tag, dict(attributes)))
    if tag not in _VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attributes):
    self.elements.append((tag, dict(attributes)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] not in ('script', 'style'):
      self.words.append(data)


def read(text: str) -> Reader:
  reader = Reader()
  reader.feed(text)
  reader.close()
  assert not reader.open
  return reader


def rendered(heads, n, source=False, workdir=None, **kwargs):
  table = made_up.table(heads, n, **kwargs)
  videos = made_up.Videos(table.ids) if source else None
  results = made_up.results(table)
  return page.render(table, results, source=videos, workdir=workdir)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  rows = [{'step': s, 'train/loss': 1 / s} for s in range(1, 50)]
  (folder / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  return folder


@pytest.fixture(scope='module')
def whole(workdir) -> str:
  return rendered(
    {'verb': 30, 'noun': 10, 'tags': 9},
    120,
    source=True,
    workdir=workdir,
    temporal=2,
    spatial=3,
    several=('tags',),
  )


def test_it_is_well_formed_and_whole(whole):
  reader = read(whole)
  ids = [a['id'] for _, a in reader.elements if 'id' in a]
  assert len(ids) == len(set(ids))
  links = [a['href'] for tag, a in reader.elements if tag == 'a']
  assert links == [
    *('#scores', '#views', '#head-0', '#head-1', '#head-2'),
    *('#training', '#protocol'),
  ]
  assert {link[1:] for link in links} <= set(ids)
  headings = [tag for tag, _ in reader.elements if re.fullmatch('h[1-6]', tag)]
  assert headings[0] == 'h1' and headings.count('h1') == 1
  assert set(headings) == {'h1', 'h2', 'h3'} and headings[1] == 'h2'
  words = ' '.join(reader.words)
  assert 'videos/<i>mine</i>, test' in words
  assert '120 videos, 1 more cannot be read' in words
  assert '2 temporal x 3 spatial views, their logits averaged' in words
  assert 'clips of 16 frames at stride 2; 224 x 224 pixels' in words
  assert 'broken/<b>one</b>.mp4' in words
  assert '"note": "<u>"' in words


def test_it_loads_nothing(whole):
  reader = read(whole)
  for _, attributes in reader.elements:
    for name in ('src', 'href'):
      if name in attributes:
        assert attributes[name].startswith(('data:', '#'))
    assert not any(name.startswith('on') for name in attributes)
  assert 'url(' not in whole and '@import' not in whole
  (policy,) = (
    a['content']
    for _, a in reader.elements
    if a.get('http-equiv') == 'Content-Security-Policy'
  )
  assert policy.startswith("default-src 'none'; img-src data:;")
  assert "script-src 'sha256-" in policy


def test_hostile_names_are_words(whole):
  reader = read(whole)
  tags = {tag for tag, _ in reader.elements}
  assert not tags & {'i-', 'u', 'iframe'}
  scripts = [a for tag, a in reader.elements if tag == 'script']
  # Of the map of 30 classes, and of the page.
  assert scripts == [{'type': 'application/json'}, {}]
  images = [a for tag, a in reader.elements if tag == 'img']
  assert all('onerror' not in image for image in images)
  words = ' '.join(reader.words)
  for name in made_up.HOSTILE:
    assert name.replace('\x00', '\ufffd') in words


def test_the_same_bytes_for_the_same_evaluation(whole, workdir):
  again = rendered(
    {'verb': 30, 'noun': 10, 'tags': 9},
    120,
    source=True,
    workdir=workdir,
    temporal=2,
    spatial=3,
    several=('tags',),
  )
  assert again == whole


def test_scores_are_those_of_metrics_json():
  table = made_up.table({'label': 4}, 40)
  results = made_up.results(table)
  results['scores'] = {'label/top1': 0.8125, 'top1': 0.8125}
  results['intervals'] = {'label/top1': [0.7, 0.9]}
  words = ' '.join(read(page.render(table, results)).words)
  assert '81.2% 70.0% to 90.0%' in words
  assert 'mean of' not in words  # of one head, it is the same again


def test_classes_the_worst_first():
  table = made_up.table({'label': 4}, 8)
  guesses = np.array([0, 1, 2, 2, 0, 0, 0, 2])  # labels 0 to 3, twice
  logits = 5.0 * np.eye(4)[guesses][:, None]
  table = made_up.Table(
    table.ids,
    {'label': logits.astype(np.float32)},
    table.labels,
    {'label': ['a', 'b', 'c', 'd']},
    table.protocol,
  )
  text = page.render(table, made_up.results(table))
  body = re.search('id="head-0-classes".*?</table>', text, re.S)[0]
  reader = Reader()
  reader.feed(f'<table {body}')
  rows = ' '.join(' '.join(reader.words).split())
  assert rows.endswith(
    'd 0.0% 0 of 2 b 50.0% 1 of 2 c 50.0% 1 of 2 a 100.0% 2 of 2'
  )


def test_accuracy_against_views_is_told_where_there_are_views():
  assert 'id="views"' not in rendered({'label': 3}, 9)
  text = rendered({'label': 3}, 9, temporal=3)
  assert 'id="views"' in text and text.count('class="dot s1"') >= 3


def test_spatial_views_alone_are_drawn_along_them():
  text = rendered({'label': 3}, 9, spatial=3)
  assert '>spatial views</text>' in text
  (path,) = re.findall(r'id="views".*?class="line s1" d="([^"]*)"', text, re.S)
  assert path.count('L') == 1  # from 1 to 3 views, of one line


def test_a_file_appears_whole_or_not_at_all(tmp_path):
  table = made_up.table({'label': 3}, 9)
  results = made_up.results(table)
  path = tmp_path / 'report.html'
  page.write(path, table, results)
  before = path.read_bytes()
  assert before.decode() == page.render(table, results)
  (tmp_path / 'folder').mkdir()
  with pytest.raises(UserError, match='folder.*choose another folder'):
    page.write(tmp_path / 'folder', table, results)
  with pytest.raises(UserError, match='No such file'):
    page.write(tmp_path / 'missing' / 'report.html', table, results)
  assert sorted(p.name for p in tmp_path.iterdir()) == ['folder', 'report.html']


def test_what_cannot_be_written_is_replaced(tmp_path):
  table = made_up.table({'label': 2}, 4)
  names = ['half \ud800', 'bell \x07']
  table = made_up.Table(
    table.ids, table.logits, table.labels, {'label': names}, table.protocol
  )
  page.write(tmp_path / 'report.html', table, made_up.results(table))
  text = (tmp_path / 'report.html').read_text('utf-8')
  assert 'half \ufffd' in text and 'bell \ufffd' in text


def test_its_size_is_bounded():
  """400 classes, wrong half of the time, with frames of nothing but noise."""

  class Noise(made_up.Videos):
    def decode_frames(self, video, frames):
      rng = np.random.default_rng(video)
      for frame in frames:
        yield frame, rng.integers(0, 256, (240, 320, 3), np.uint8)

  table = made_up.table({'label': 400}, 4000)
  source = Noise(table.ids, frames=300)
  text = page.render(table, made_up.results(table), source=source)
  assert text.count('<article') == 24
  assert text.count('data:image/jpeg') == 24 * 8
  assert len(text.encode()) < 6e6


@pytest.mark.parametrize(
  ('protocol', 'words'),
  [
    ({}, ''),
    ({'temporal_views': 1, 'spatial_crops': 1, 'average': 'logits'}, '1 view'),
    ({'frames': 8, 'stride': 2, 'frames_per_second': None}, 'at stride 2'),
    ({'frames': 8, 'stride': None, 'frames_per_second': 12.5}, '12.5 a second'),
  ],
)
def test_the_protocol_in_a_line(protocol, words):
  line = page.protocol_line(protocol)
  assert line.endswith(words) and 'None' not in line


def test_the_dots_of_the_calibration_are_counted():
  """Of 20 videos, in bins that the table lists, each is in one."""
  told = rendered({'label': 3}, 20)
  counts = re.findall(r'this model, [^<]*, (\d+) videos?</title>', told)
  assert sum(map(int, counts)) == 20
  rows = re.findall(r'% to [\d.]+%</th><td class="number">(\d+)</td>', told)
  assert rows == counts
