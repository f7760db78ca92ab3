"""The page in a real browser, on a laptop and a phone, light and dark."""

import json
import shutil

import made_up
import numpy as np
import pytest

from vivit_jax.evaluation import comparison, page
from vivit_jax.evaluation.page import compared

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
DRIVER = shutil.which('chromedriver')
if not (CHROMIUM and DRIVER):
  pytest.skip('there is no chromium with chromedriver', allow_module_level=True)
webdriver = pytest.importorskip('selenium.webdriver')

FLAGS = (
  *('headless', 'no-sandbox', 'disable-gpu', 'disable-quic', 'no-first-run'),
  *('disable-background-networking', 'disable-component-update'),
  *('disable-sync', 'disable-dev-shm-usage', 'hide-scrollbars'),
)
LAPTOP, PHONE = 1280, 390

# Each text against what lies behind it: WCAG 2.1, contrast ratio.
CONTRAST = """
const parse = (c) => {
  const n = c.match(/[\\d.]+/g).map(Number);
  return n.length < 4 ? [...n.slice(0, 3), 1] : n;
};
const over = (top, below) => [0, 1, 2].map(
  (i) => top[i] * top[3] + below[i] * (1 - top[3]));
const light = (c) => {
  const [r, g, b] = c.map((v) => v / 255).map(
    (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (e) => {
  const c = parse(getComputedStyle(e).backgroundColor);
  if (c[3] === 1) return c.slice(0, 3);
  return over(c, e.parentElement ? behind(e.parentElement) : [255, 255, 255]);
};
const bad = [];
let seen = 0;
for (const e of document.querySelectorAll('body *')) {
  const own = [...e.childNodes].some(
    (n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.getClientRects().length) continue;
  const style = getComputedStyle(e);
  const c = parse(e.namespaceURI.endsWith('svg') ? style.fill : style.color);
  const ground = behind(e), [a, b] = [light(over(c, ground)), light(ground)];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  seen += 1;
  if (ratio < 4.5) bad.push(e.outerHTML.slice(0, 90) + ' ' + ratio);
}
return [seen, bad];
"""


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
  options = webdriver.ChromeOptions()
  options.binary_location = CHROMIUM
  for flag in FLAGS:
    options.add_argument(f'--{flag}')
  profile = tmp_path_factory.mktemp('profile')
  options.add_argument(f'--user-data-dir={profile}')
  options.set_capability(
    'goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'}
  )
  service = webdriver.ChromeService(DRIVER)
  driver = webdriver.Chrome(options=options, service=service)
  yield driver
  driver.quit()


@pytest.fixture(scope='module')
def pages(tmp_path_factory) -> dict[str, str]:
  """Returns the addresses of pages of few and many classes, and more."""
  folder = tmp_path_factory.mktemp('pages')
  rows = [{'step': s, 'train/loss': 1 / s} for s in range(1, 50)]
  (folder / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  tables = {
    'few': made_up.table({'verb': 8, 'noun': 12}, 60, temporal=2, spatial=3),
    'many': made_up.table({'label': 400}, 1200, temporal=2),
    'several': made_up.table({'t' * 200: 11}, 90, several=('t' * 200,)),
  }
  for name, table in tables.items():
    page.write(
      folder / f'{name}.html',
      table,
      made_up.results(table),
      source=made_up.Videos(table.ids),
      workdir=folder,
    )
  other = made_up.table({'verb': 8, 'noun': 12}, 60, seed=1)
  found = comparison.compare(tables['few'], other)
  compared.write(folder / 'compared.html', found, ['<b>a</b>', 'b' * 300])
  return {path.stem: path.as_uri() for path in folder.glob('*.html')}


def show(browser, address: str, width: int = LAPTOP, theme: str = 'light'):
  """Opens a page, and forgets what was logged before."""
  features = [{'name': 'prefers-color-scheme', 'value': theme}]
  browser.execute_cdp_cmd(
    'Emulation.setEmulatedMedia', {'media': '', 'features': features}
  )
  browser.execute_cdp_cmd(
    'Emulation.setDeviceMetricsOverride',
    {
      'width': width,
      'height': 800,
      'deviceScaleFactor': 1,
      'mobile': width == PHONE,
    },
  )
  for kind in ('browser', 'performance'):
    browser.get_log(kind)
  browser.get(address)


@pytest.mark.parametrize('theme', ['light', 'dark'])
@pytest.mark.parametrize('width', [LAPTOP, PHONE])
@pytest.mark.parametrize('name', ['few', 'many', 'several', 'compared'])
def test_no_errors_no_network_no_overflow_and_contrast(
  browser, pages, name, width, theme
):
  show(browser, pages[name], width, theme)
  for details in browser.find_elements('css selector', 'details'):
    browser.execute_script('arguments[0].open = true', details)
  assert browser.get_log('browser') == []
  messages = [
    json.loads(entry['message'])['message']
    for entry in browser.get_log('performance')
  ]
  asked = {
    message['params']['request']['url'].split(',')[0]
    for message in messages
    if message['method'] == 'Network.requestWillBeSent'
  }
  assert pages[name] in asked
  rest = asked - {pages[name]}
  assert all(url.startswith('data:') for url in rest), rest
  inner = browser.execute_script('return document.documentElement.clientWidth')
  wide = browser.execute_script('return document.documentElement.scrollWidth')
  assert inner == width and wide <= width
  seen, bad = browser.execute_script(CONTRAST)
  assert seen > 50 and not bad


def test_hostile_names_are_shown_and_do_nothing(browser, pages):
  show(browser, pages['few'])
  shown = browser.execute_script('return document.body.innerText')
  for name in ('<script>alert(1)</script>', '</style><img src=x onerror='):
    assert name in shown
  scripts = browser.execute_script('return document.scripts.length')
  assert scripts == 1  # and no alert was open, or this would have failed
  broken = browser.execute_script(
    'return [...document.images].filter((i) => !i.naturalWidth).length'
  )
  assert broken == 0


def test_dark_changes_every_ground(browser, pages):
  def colours(theme):
    show(browser, pages['few'], theme=theme)
    return browser.execute_script(
      'return [document.body, ...document.querySelectorAll(".card, h1, '
      'svg path.line")].map((e) => { const s = getComputedStyle(e); '
      'return e.tagName == "path" ? s.stroke : e.tagName == "H1" ? s.color : '
      's.backgroundColor; })'
    )

  light, dark = colours('light'), colours('dark')
  assert len(light) == len(dark) > 10
  assert all(one != other for one, other in zip(light, dark))


def visible(browser, table: str) -> list[str]:
  return browser.execute_script(
    'return [...document.querySelectorAll("#" + arguments[0] + " tbody tr")]'
    '.filter((r) => r.offsetHeight).map((r) => r.cells[0].innerText)',
    table,
  )


def test_classes_are_found_by_name(browser, pages):
  show(browser, pages['many'])
  search = browser.find_element('css selector', '.tools input')
  assert len(visible(browser, 'head-0-classes')) == 400
  search.send_keys('ACTIVITY 39')
  found = visible(browser, 'head-0-classes')
  assert sorted(found) == ['activity 39', 'activity 390']  # 391 classes + 9
  told = browser.find_element('css selector', '.tools output')
  assert told.text == '2 of 400'
  search.clear()
  search.send_keys('<script>')
  assert visible(browser, 'head-0-classes') == ['<script>alert(1)</script>']


def test_classes_are_sorted(browser, pages):
  show(browser, pages['many'])

  def values():
    return browser.execute_script(
      'return [...document.querySelectorAll("#head-0-classes tbody tr")]'
      '.map((r) => Number(r.dataset.value))'
    )

  first = values()
  assert first == sorted(first) and first[0] < first[-1]
  order = browser.find_element('css selector', '.tools select')
  order.find_element('css selector', '[value=high]').click()
  assert values() == first[::-1] or values() == sorted(first, reverse=True)


def test_a_cell_of_the_large_matrix_tells_its_classes(browser, pages):
  show(browser, pages['many'])
  table = made_up.table({'label': 400}, 1200, temporal=2)
  guesses = table.averaged()['label'].argmax(axis=1)
  truth, guess = next(
    (truth, guess)
    for truth, guess in zip(table.labels['label'], guesses)
    if truth != guess and truth > 20 and guess > 20
  )
  same = (table.labels['label'] == truth) & (guesses == guess)
  names = made_up.names(400)
  browser.execute_script(
    'const i = document.querySelector(".map img");'
    'const b = i.getBoundingClientRect(); const [r, c] = arguments;'
    'i.dispatchEvent(new PointerEvent("pointermove", {'
    'clientX: b.left + (c + .5) / 400 * b.width,'
    'clientY: b.top + (r + .5) / 400 * b.height}));',
    int(truth),
    int(guess),
  )
  told = browser.find_element('css selector', '.map output').text
  number = int(np.count_nonzero(same))
  words = f'{number} video' + ('' if number == 1 else 's')
  plain = told.replace('\u2068', '').replace('\u2069', '')
  assert plain == f'{names[truth]}, predicted as {names[guess]}: {words}'


def test_it_says_all_without_scripts(browser, pages):
  disabled = 'Emulation.setScriptExecutionDisabled'
  browser.execute_cdp_cmd(disabled, {'value': True})
  try:
    show(browser, pages['many'])
    root = browser.execute_cdp_cmd('DOM.getDocument', {'depth': 0})
    node = root['root']['nodeId']

    browser.execute_cdp_cmd('DOM.enable', {})
    browser.execute_cdp_cmd('CSS.enable', {})

    def boxes(selector):
      found = browser.execute_cdp_cmd(
        'DOM.querySelectorAll', {'nodeId': node, 'selector': selector}
      )
      shown = []
      for each in found['nodeIds']:
        styles = browser.execute_cdp_cmd(
          'CSS.getComputedStyleForNode', {'nodeId': each}
        )['computedStyle']
        values = {style['name']: style['value'] for style in styles}
        shown.append(values['display'] != 'none')
      return shown

    assert boxes('.tools') == [False]
    assert boxes('#head-0-classes') == [True]
    assert boxes('.map img') == [True]
  finally:
    browser.execute_cdp_cmd(disabled, {'value': False})


def test_on_paper_nothing_scrolls_and_the_ground_is_white(browser, pages):
  show(browser, pages['many'], theme='dark')
  features = [{'name': 'prefers-color-scheme', 'value': 'dark'}]
  browser.execute_cdp_cmd(
    'Emulation.setEmulatedMedia', {'media': 'print', 'features': features}
  )
  ground, ink = browser.execute_script(
    'const s = getComputedStyle(document.body);'
    'return [s.backgroundColor, s.color]'
  )
  assert ground == 'rgb(255, 255, 255)' and ink == 'rgb(27, 31, 39)'
  hidden = browser.execute_script(
    'return [...document.querySelectorAll(".tall")].filter('
    '(e) => e.scrollHeight > e.clientHeight + 1).length'
  )
  assert hidden == 0


def test_for_those_who_do_not_see_it(browser, pages):
  """Each picture, field and scrolling box has words of its own."""
  for name in ('few', 'many', 'several', 'compared'):
    show(browser, pages[name])
    silent = browser.execute_script(
      'const out = [];'
      'for (const i of document.images)'
      '  if (!i.alt && !i.closest("[role=img][aria-label]")) out.push(i);'
      'for (const s of document.querySelectorAll("svg"))'
      '  if (!s.ariaLabel && s.ariaHidden !== "true") out.push(s);'
      'for (const f of document.querySelectorAll("input, select"))'
      '  if (!f.labels.length) out.push(f);'
      'for (const b of document.querySelectorAll(".scroll"))'
      '  if (!b.ariaLabel || b.tabIndex !== 0) out.push(b);'
      'return out.map((e) => e.outerHTML.slice(0, 90));'
    )
    assert silent == []
