"""The page in a browser: laptop and phone, light and dark."""

import shutil

import made_up
import numpy as np
import pytest

from vivit_jax.evaluation import comparison, page
from vivit_jax.evaluation.page import clip_sheets, compared

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


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
  options = webdriver.ChromeOptions()
  options.binary_location = CHROMIUM
  for flag in FLAGS:
    options.add_argument(f'--{flag}')
  profile = tmp_path_factory.mktemp('profile')
  options.add_argument(f'--user-data-dir={profile}')
  options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
  service = webdriver.ChromeService(DRIVER)
  driver = webdriver.Chrome(options=options, service=service)
  yield driver
  driver.quit()


@pytest.fixture(scope='module')
def pages(tmp_path_factory) -> dict[str, str]:
  """Returns the addresses of pages of few and many classes, and more."""
  folder = tmp_path_factory.mktemp('pages')
  made_up.write_curves(folder)
  tables = {
    'few': made_up.table({'verb': 8, 'noun': 12}, 60, spatial=3, noise=4),
    'many': made_up.table({'label': 400}, 1200, temporal=2),
    'several': made_up.table({'t' * 200: 11}, 90, several=('t' * 200,)),
  }
  for name, table in tables.items():
    html = page.render(
      table,
      made_up.results(table),
      source=made_up.Videos(table.ids),
      workdir=folder,
    )
    (folder / f'{name}.html').write_text(html, encoding='utf-8')
  other = made_up.table({'verb': 8, 'noun': 12}, 60, seed=1)
  found = comparison.compare(tables['few'], other)
  html = compared.render(found, ['<b>a</b>', 'b' * 300])
  (folder / 'compared.html').write_text(html, encoding='utf-8')
  clip = np.zeros((32, 40, 60, 3), np.uint8)
  sheets = [clip_sheets.Sheet(clip, 'n' * 300, {'l': '<b>' * 90})] * 3
  clip_sheets.write_html(folder / 'clips.html', ['batch', 'line'], sheets)
  return {path.stem: path.as_uri() for path in folder.glob('*.html')}


def show(browser, address: str, width: int = LAPTOP, theme: str = 'light'):
  """Opens a page, and clears the log before."""
  features = [{'name': 'prefers-color-scheme', 'value': theme}]
  browser.execute_cdp_cmd(
    'Emulation.setEmulatedMedia', {'media': '', 'features': features}
  )
  size = {'width': width, 'height': 800, 'deviceScaleFactor': 1}
  browser.execute_cdp_cmd(
    'Emulation.setDeviceMetricsOverride', {**size, 'mobile': width == PHONE}
  )
  browser.get_log('browser')
  browser.get(address)


@pytest.mark.parametrize('theme', ['light', 'dark'])
@pytest.mark.parametrize('width', [LAPTOP, PHONE])
@pytest.mark.parametrize(
  'name', ['few', 'many', 'several', 'compared', 'clips']
)
def test_no_errors_and_no_overflow(browser, pages, name, width, theme):
  show(browser, pages[name], width, theme)
  browser.execute_script(
    'for (const d of document.querySelectorAll("details")) d.open = true'
  )
  assert browser.get_log('browser') == []
  inner, wide = browser.execute_script(
    'const e = document.documentElement; return [e.clientWidth, e.scrollWidth]'
  )
  assert inner == width and wide <= width
  assert browser.execute_script(
    'return [...document.images].every((image) => image.naturalWidth)'
  )


def test_classes_are_searched_and_sorted(browser, pages):
  show(browser, pages['many'])

  def rows():
    return browser.execute_script(
      'return [...document.querySelectorAll("#head-0-classes tbody tr")]'
      '.filter((r) => r.offsetHeight)'
      '.map((r) => [r.cells[0].innerText, Number(r.dataset.value)])'
    )

  values = [value for _, value in rows()]
  assert len(values) == 400 and values == sorted(values)
  browser.find_element('css selector', '.tools [value=high]').click()
  assert [value for _, value in rows()] == sorted(values, reverse=True)
  search = browser.find_element('css selector', '.tools input')
  search.send_keys('ACTIVITY 39')
  assert sorted(name for name, _ in rows()) == ['activity 39', 'activity 390']
  search.clear()
  search.send_keys('<script>')
  assert [name for name, _ in rows()] == ['<script>alert(1)</script>']


def test_the_pointer_names_a_cell_of_the_large_matrix(browser, pages):
  show(browser, pages['many'])
  table = made_up.table({'label': 400}, 1200, temporal=2)
  guesses = table.averaged()['label'].argmax(axis=1)
  labels, names = table.labels['label'], made_up.names(400)
  row = np.flatnonzero((labels != guesses) & (labels > 20) & (guesses > 20))[0]
  truth, guess = int(labels[row]), int(guesses[row])
  browser.execute_script(
    'const i = document.querySelector(".map img");'
    'const b = i.getBoundingClientRect(); const [r, c] = arguments;'
    'i.dispatchEvent(new PointerEvent("pointermove", {'
    'clientX: b.left + (c + .5) / 400 * b.width,'
    'clientY: b.top + (r + .5) / 400 * b.height}));',
    truth,
    guess,
  )
  shown = browser.find_element('css selector', '.map output').text
  number = np.count_nonzero((labels == truth) & (guesses == guess))
  assert names[truth] in shown and names[guess] in shown
  assert f' {number} video' in shown
