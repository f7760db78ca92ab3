"""Reads a page: its elements, words and tables."""

import html.parser

_VOID = ('meta', 'link', 'img', 'input', 'br')


class Reader(html.parser.HTMLParser):
  """Reads a page, and fails where elements are not nested.

  Attributes:
    elements: tag and attributes of each element.
    words: text outside of scripts and styles, with spaces between.
    tables: rows of each table by its aria-label, as text of the cells.
  """

  def __init__(self, page: str):
    super().__init__()
    self.elements, self.tables = [], {}
    self._open, self._words, self._label = [], [], ''
    self.feed(page)
    self.close()
    assert not self._open
    self.words = ' '.join(' '.join(self._words).split())

  def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
    """Returns the attributes of each element with a tag and attributes."""
    return [
      found
      for name, found in self.elements
      if name == tag
      and all(found.get(key) == value for key, value in attributes.items())
    ]

  def handle_starttag(self, tag, attributes):
    attributes = dict(attributes)
    self.elements.append((tag, attributes))
    self._label = attributes.get('aria-label', self._label)
    if tag == 'table':
      self.tables.setdefault(self._label, [])
    elif tag == 'tr':
      self.tables[self._label].append([])
    elif tag in ('td', 'th'):
      self.tables[self._label][-1].append('')
    if tag not in _VOID:
      self._open.append(tag)

  def handle_startendtag(self, tag, attributes):
    self.elements.append((tag, dict(attributes)))

  def handle_endtag(self, tag):
    assert self._open.pop() == tag

  def handle_data(self, data):
    if 'script' in self._open or 'style' in self._open:
      return
    data = data.replace('\u2068', '').replace('\u2069', '')  # isolates
    self._words.append(data)
    if 'td' in self._open or 'th' in self._open:
      row = self.tables[self._label][-1]
      row[-1] = (row[-1] + data).strip()
