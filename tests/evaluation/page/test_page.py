"""The page of an evaluation: its numbers, and what it may never do."""

import dataclasses
import re

import made_up
import numpy as np
import pytest
from reader import Reader

from vivit_jax.evaluation import comparison, metrics, page
from vivit_jax.evaluation.page import compared
from vivit_jax.evaluation.predictions import Table

VALUE = {'class': 'value'}
HEADS = {'verb': 30, 'tags': 9}


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  made_up.write_curves(folder)
  return folder


@pytest.fixture(scope='module')
def table() -> Table:
  return made_up.table(HEADS, 120, temporal=2, spatial=3, several=('tags',))


@pytest.fixture(scope='module')
def html(table, workdir) -> str:
  return render(table, source=made_up.Videos(table.ids), workdir=workdir)


@pytest.fixture(scope='module')
def whole(html) -> Reader:
  return Reader(html)


def render(table, **arguments) -> str:
  return page.render(table, made_up.results(table), **arguments)


def test_it_is_well_formed_and_whole(whole):
  ids = [found['id'] for _, found in whole.elements if 'id' in found]
  assert len(ids) == len(set(ids))
  links = [found['href'] for found in whole.all('a')]
  assert links == [
    *('#scores', '#views', '#head-0', '#head-1', '#training', '#protocol'),
  ]
  assert {link[1:] for link in links} <= set(ids)
  for words in (
    *('videos/<i>mine</i>, test', '120 videos, 1 more', '"note": "<u>"'),
    *('2 temporal x 3 spatial', '16 frames', '224 x 224', '<b>one</b>.mp4'),
  ):
    assert words in whole.words


def test_it_loads_nothing(whole, html):
  for _, attributes in whole.elements:
    for name in ('src', 'href'):
      if name in attributes:
        assert attributes[name].startswith(('data:', '#'))
    assert not any(name.startswith('on') for name in attributes)
  assert 'url(' not in html and '@import' not in html
  (policy,) = whole.all('meta', **{'http-equiv': 'Content-Security-Policy'})
  assert policy['content'].startswith("default-src 'none'; img-src data:;")
  assert "script-src 'sha256-" in policy['content']


def test_hostile_names_are_words(whole):
  # The JSON of the map of 30 classes, and the page's own.
  assert whole.all('script') == [{'type': 'application/json'}, {}]
  assert not whole.all('i-') and not whole.all('u')
  assert not any('onerror' in image for image in whole.all('img'))
  for name in made_up.HOSTILE:
    assert ' '.join(name.replace('\x00', '\ufffd').split()) in whole.words


def test_the_same_bytes_for_the_same_evaluation(html, table, workdir):
  source = made_up.Videos(table.ids)
  assert render(table, source=source, workdir=workdir) == html


def test_scores_are_those_of_metrics_json(whole, table):
  """Each with its interval."""
  results = made_up.results(table)
  shown = [float(found['title']) for found in whole.all('dd', **VALUE)]
  assert sorted(shown) == sorted(
    round(x, 6) for x in results['scores'].values()
  )
  for low, high in results['intervals'].values():
    assert f'{100 * low:.1f}% to {100 * high:.1f}%' in whole.words


def test_views_are_those_of_metrics_json(whole, table):
  rows = made_up.results(table)['views']
  scores = ['joint/top1', 'verb/top1', 'tags/mAP']
  assert whole.tables['accuracy by number of views'][1:] == [
    [f'{row["temporal"]} x {row["spatial"]}']
    + [f'{100 * row["scores"][score]:.2f}%' for score in scores]
    for row in rows
  ]
  assert not Reader(render(made_up.table({'label': 3}, 9))).all(
    'section', id='views'
  )


@pytest.mark.parametrize('head', ['verb', 'tags'])
def test_classes_are_those_of_metrics_json_the_worst_first(whole, table, head):
  measure = 'average precision' if head == 'tags' else 'accuracy'
  found = made_up.results(table)['per_class'][head]
  rows = whole.tables[f'{measure} by class'][1:]
  values = np.array(found[measure.replace(' ', '_')])
  order = np.lexsort((range(len(values)), -np.array(found['count']), values))
  expected = []
  for k in order:
    last = f'{found["count"][k]}'
    if head == 'verb':
      last = f'{found["correct"][k]} of {last}'
    expected.append([f'{100 * values[k]:.1f}%', last])
  assert [row[2:] for row in rows] == expected
  assert rows[-1][0] == table.class_names[head][order[-1]].strip()


def test_confusions_are_counted():
  table = made_up.table({'label': 12}, 60, noise=4)
  guesses = metrics.top_k(table.averaged()['label'], 1)[:, 0]
  counts = metrics.confusion(guesses, table.labels['label'], 12)
  html = render(table)
  cells = re.findall(
    r'<td class="(right|wrong)" style="[^"]*" title="(\d+) of (\d+)">', html
  )
  truth, guess = np.nonzero(counts)
  assert [(kind, int(n), int(total)) for kind, n, total in cells] == [
    ('right' if t == g else 'wrong', counts[t, g], counts[t].sum())
    for t, g in zip(truth, guess)
  ]
  wrong = (counts - np.diag(counts.diagonal())).ravel()
  expected = sorted(wrong[wrong > 0].tolist(), reverse=True)[:60]
  pairs = Reader(html).tables['most confused pairs'][1:]
  assert len(pairs) > 5
  assert [int(row[2].split()[0]) for row in pairs] == expected


def test_what_cannot_be_encoded_is_replaced():
  table = made_up.table({'label': 2}, 4)
  names = {'label': ['half \ud800', 'bell \x07']}
  html = render(dataclasses.replace(table, class_names=names))
  html = html.encode().decode()
  assert 'half \ufffd' in html and 'bell \ufffd' in html


@pytest.mark.parametrize(
  ('protocol', 'words'),
  [
    ({}, '1 view; clips of 16 frames at stride 2; 224 x 224 pixels'),
    ({'temporal_views': 4}, '4 temporal x 1 spatial views, logits averaged'),
    ({'views_from': 'start'}, '1 view from the start; clips'),
  ],
)
def test_the_protocol_in_a_line(protocol, words):
  protocol = made_up.table({'label': 2}, 4).protocol | protocol
  line = page.protocol_line(protocol)
  assert words in line and 'None' not in line


def test_a_comparison_shows_its_numbers():
  tables = [made_up.table({'a': 9, 'b': 3}, 60, seed=seed) for seed in (0, 1)]
  found = comparison.compare(*tables)
  reader = Reader(compared.render(found, ['<b>a</b>', 'second']))
  assert 'A: <b>a</b>' in reader.words and '60 videos' in reader.words
  rows = reader.tables['scores of both'][1:]
  assert len(rows) == len(found.rows)
  for cells, row in zip(rows, found.rows):
    low, high = (float(x) for x in numbers(cells[4].split(' to ')))
    assert [float(x) for x in numbers(cells[1:4])] == pytest.approx(
      [100 * row.first, 100 * row.second, 100 * row.difference], abs=0.006
    )
    assert (low, high) == pytest.approx(
      [100 * x for x in row.interval], abs=0.006
    )
    assert cells[8] == row.better or not row.better
  gains = [
    [row.name, row.first, row.second, row.difference, row.count]
    for rows in found.classes.values()
    for row in rows
  ]
  shown = reader.tables['differences by class']
  shown = [row for row in shown if row[0] != 'class']
  for cells, (name, *expected) in zip(shown, gains, strict=True):
    assert cells[0] == name.strip().replace('\x00', '\ufffd')
    assert [float(x) for x in numbers(cells[1:])] == expected


def numbers(cells):
  """Returns numbers as Python reads them."""
  return [cell.replace('−', '-') for cell in cells]
