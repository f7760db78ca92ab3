// Searches and sorts the class tables, and shows counts of a large confusion
// matrix on hover. Without this script, the page still shows all tables.
for (const tools of document.querySelectorAll('.tools')) {
  const body = document.getElementById(tools.dataset.for).tBodies[0];
  const rows = [...body.rows];
  const [search, order] = tools.querySelectorAll('input, select');
  const number = (row, key) => Number(row.dataset[key]);
  const label = (row) => row.cells[0].textContent;
  const orders = {
    low: (a, b) => number(a, 'value') - number(b, 'value'),
    high: (a, b) => number(b, 'value') - number(a, 'value'),
    many: (a, b) => number(b, 'count') - number(a, 'count'),
    name: (a, b) => label(a).localeCompare(label(b)),
  };
  const filter = () => {
    const wanted = search.value.trim().toLowerCase();
    for (const row of rows)
      row.hidden = !label(row).toLowerCase().includes(wanted);
    tools.querySelector('output').textContent =
      `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  };
  search.addEventListener('input', filter);
  order.addEventListener('change', () =>
    body.append(...rows.sort(orders[order.value])));
  filter();
  tools.hidden = false;
}
for (const map of document.querySelectorAll('.map')) {
  const image = map.querySelector('img');
  const {names, cells} = JSON.parse(map.querySelector('script').textContent);
  const counts = new Map();
  for (let i = 0; i < cells.length; i += 2) counts.set(cells[i], cells[i + 1]);
  const show = (event) => {
    const box = image.getBoundingClientRect();
    const index = (offset, length) => Math.max(0, Math.min(names.length - 1,
      Math.floor(offset / length * names.length)));
    const truth = index(event.clientY - box.top, box.height);
    const guess = index(event.clientX - box.left, box.width);
    const count = counts.get(truth * names.length + guess) || 0;
    map.querySelector('output').textContent =
      `\u2068${names[truth]}\u2069, predicted as \u2068${names[guess]}` +
      `\u2069: ${count} video${count === 1 ? '' : 's'}`;
  };
  image.addEventListener('pointermove', show);
  image.addEventListener('pointerdown', show);
}
