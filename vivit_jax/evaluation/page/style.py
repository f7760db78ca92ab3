"""What a page looks like, and the few lines that it runs."""

# Colours are variables, so that light, dark and print share every rule; each
# pair of text and ground has a contrast of 4.5 or more (a test computes it).
_LIGHT = """color-scheme: light; --ground: #f5f6f8; --card: #ffffff;
  --ink: #1b1f27; --quiet: #565e6c; --line: #dde1e8; --track: #e7eaf0;
  --right: #2357c5; --wrong: #b93a0a; --right-rgb: 35 87 197;
  --wrong-rgb: 214 84 20; --series-1: #2357c5; --series-2: #b93a0a;
  --series-3: #0b7268; --series-4: #7e22ce; --series-5: #8a5a00;
  --series-6: #b0166b;"""
_DARK = """color-scheme: dark; --ground: #11141a; --card: #1a1f28;
  --ink: #e7eaf0; --quiet: #a5aebd; --line: #323a48; --track: #2a313d;
  --right: #86b4ff; --wrong: #ffa06b; --right-rgb: 96 152 255;
  --wrong-rgb: 255 134 66; --series-1: #86b4ff; --series-2: #ffa06b;
  --series-3: #52d3c4; --series-4: #d3a8ff; --series-5: #efc95f;
  --series-6: #ff95c6;"""

STYLE = (
  f':root {{ {_LIGHT} }}\n'
  f'@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}\n'
  f'@media print {{ :root {{ {_LIGHT} --ground: #ffffff; }} }}'
  + """
@media screen and (prefers-color-scheme: dark) {
  .map img { filter: brightness(1.4); }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { background: var(--ground); color: var(--ink); margin: 0;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans",
    sans-serif; font-variant-numeric: tabular-nums; }
main, header, footer { max-width: 76rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2rem; }
footer { padding-bottom: 2.5rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem;
  letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .8rem; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
p { margin: .25rem 0 .6rem; overflow-wrap: anywhere; max-width: 48rem; }
a { color: var(--right); }
:focus-visible { outline: 3px solid var(--right); outline-offset: 2px; }
.quiet { color: var(--quiet); font-size: .9rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: 1rem 0 0;
  padding: .6rem 0 0; list-style: none; border-top: 1px solid var(--line); }
nav li { max-width: 16rem; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.card { background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; padding: 1rem 1.1rem; min-width: 0; }
.grid { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
.pair { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }
.card + .card, .grid + .card, .pair + .card, .card + .grid,
.card + .pair, .pair + .pair { margin-top: 1rem; }
.grid > .card, .pair > .card, .tiles > .card, .sheets > .card { margin-top: 0; }
h3.apart { margin: 1.6rem 0 .2rem; }
h3.group { margin: .9rem 0 .4rem; }
.scroll { overflow: auto; max-width: 100%; }
.tall { max-height: 27rem; }
.pair .tall { max-height: 33rem; }

.tiles { display: grid; gap: .75rem; margin: 0 0 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 11.5rem), 1fr)); }
.tiles > div { display: flex; flex-direction: column; padding: .8rem 1rem; }
.tiles dt { color: var(--quiet); font-size: .9rem; }
.tiles dd { margin: 0; }
.tiles .value { font-size: 1.75rem; line-height: 1.25; font-weight: 650;
  letter-spacing: -.02em; }
.tiles .small { color: var(--quiet); font-size: .85rem; }
.bar { position: relative; height: .5rem; border-radius: .25rem;
  background: var(--track); overflow: hidden; }
.bar i { position: absolute; inset: 0 auto 0 0; background: var(--right);
  width: calc(var(--v) * 100%); }
.bar b { position: absolute; top: 0; bottom: 0; background: var(--ink);
  opacity: .45; left: calc(var(--a) * 100%); min-width: 2px;
  width: calc((var(--b) - var(--a)) * 100%); }
.tiles .bar { margin: .45rem 0 .35rem; }

table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .28rem .6rem; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th, thead td { position: sticky; top: 0; z-index: 1;
  background: var(--card);
  color: var(--quiet); font-weight: 600; font-size: .85rem;
  vertical-align: bottom; box-shadow: inset 0 -1px var(--line); }
tbody th { font-weight: 400; }
td.number, th.number { text-align: right; white-space: nowrap; }
.name { overflow-wrap: anywhere; display: -webkit-box; overflow: hidden;
  -webkit-box-orient: vertical; -webkit-line-clamp: 3; min-width: 6rem; }
.pairs td:nth-child(-n+2) { width: 37%; }
.classes tbody th { width: 42%; }
.classes td.bars { width: 36%; min-width: 5rem; vertical-align: middle; }
.tools { display: flex; flex-wrap: wrap; gap: .5rem 1rem; margin: .2rem 0 .6rem;
  align-items: center; font-size: .92rem; }
.tools[hidden] { display: none; }
.tools label { display: flex; gap: .4rem; align-items: center; }
input, select { font: inherit; color: inherit; background: var(--ground);
  border: 1px solid var(--quiet); border-radius: .35rem; padding: .25rem .5rem;
  max-width: 12rem; min-width: 0; }

.matrix { font-size: .85rem; }
.matrix td { text-align: center; padding: .25rem .2rem; min-width: 2.6rem;
  border: 1px solid var(--card); height: 2.3rem; vertical-align: middle; }
.matrix td.right { background: rgb(var(--right-rgb) / calc(var(--s) * .5)); }
.matrix td.wrong { background: rgb(var(--wrong-rgb) / calc(var(--s) * .55)); }
.matrix thead th, .matrix thead td { padding: .3rem 0; position: static;
  box-shadow: none; border: 0; }
.matrix thead span { writing-mode: vertical-rl; transform: rotate(180deg);
  max-height: 7.6rem; margin: 0 auto; display: block; text-align: left; }
.matrix tbody th { position: sticky; left: 0; background: var(--card);
  z-index: 1; border: 0; max-width: 9rem; vertical-align: middle; }
.matrix .cut { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.matrix tbody .cut { display: block; }
.map { margin: 0; max-width: 38rem; }
.map .field { display: grid; grid-template-columns: auto 1fr; gap: .2rem .4rem;
  font-size: .8rem; color: var(--quiet); }
.map .upright { writing-mode: vertical-rl; }
.map .axis { display: flex; justify-content: space-between; gap: .4rem; }
.map img { display: block; width: 100%; height: auto; cursor: crosshair;
  border: 1px solid var(--line); }
.map output { display: block; min-height: 3em; margin-top: .4rem;
  font-size: .9rem; overflow-wrap: anywhere; }
.key { display: inline-block; width: .9em; height: .9em; margin-right: .3em;
  border-radius: .15em; vertical-align: -.05em; }

.chart > svg { display: block; width: 100%; height: auto; max-width: 30rem;
  margin: 0 auto; }
.chart text { font-size: 12px; fill: var(--quiet); }
.chart .grid-line { stroke: var(--line); }
.chart .axis-line { stroke: var(--quiet); }
.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round;
  stroke-linecap: round; }
.chart .mark { stroke: var(--quiet); stroke-dasharray: 3 3; stroke-width: 1.5; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; list-style: none;
  margin: .3rem 0 0; padding: 0; font-size: .85rem; color: var(--quiet); }
.legend li { display: flex; gap: .4rem; align-items: center; min-width: 0;
  overflow-wrap: anywhere; }
.legend svg { flex: none; width: 26px; }
"""
  + ''.join(
    f'.s{k} {{ stroke: var(--series-{k}); }} '
    f'.dot.s{k} {{ fill: var(--series-{k}); }}\n'
    for k in range(1, 7)
  )
  + """
.sheets { display: grid; gap: 1rem; margin-top: .6rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); }
.sheets article { break-inside: avoid; }
.frames { display: grid; gap: 3px; grid-template-columns: repeat(4, 1fr);
  margin: .6rem 0 0; }
.frames img { display: block; width: 100%; height: auto; border-radius: 2px; }
.frames .pixels { image-rendering: pixelated; }
.verdict { display: grid; grid-template-columns: auto 1fr auto; gap: 0 .6rem;
  margin: 0; font-size: .95rem; }
.verdict dt { color: var(--quiet); }
.verdict dd { margin: 0; }
.verdict .said { color: var(--wrong); font-weight: 600; }
.verdict .quiet { font-weight: 400; }
.verdict .was { color: var(--right); font-weight: 600; }
.sheets .source { margin: .35rem 0 0; font-size: .82rem; }

details { margin-top: 1rem; }
details.plain { margin-top: .5rem; font-size: .9rem; }
summary { cursor: pointer; font-weight: 600; }
.plain summary { font-weight: 400; color: var(--quiet); }
pre { font: .84rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; margin: .6rem 0 0; }
.listed { columns: 20rem; margin: .6rem 0 0; padding-left: 1.2rem;
  font-size: .9rem; overflow-wrap: anywhere; }
.up { color: var(--right); }
.down { color: var(--wrong); }
.up::before { content: "\\25B2\\00A0"; }
.down::before { content: "\\25BC\\00A0"; }
@media (max-width: 36rem) {
  main, header, footer { padding-left: .8rem; padding-right: .8rem; }
  .card { padding: .8rem; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .tiles .value { font-size: 1.5rem; }
  .frames { gap: 2px; }
  table { font-size: .85rem; }
  th, td { padding-left: .3rem; padding-right: .3rem; }
  .name { min-width: 4.2rem; }
  .classes td.bars { width: 22%; min-width: 2.5rem; }
}
@media print {
  body { font-size: 11pt; }
  nav, .tools, .map output { display: none; }
  .tall, .pair .tall { max-height: none; overflow: visible; }
  .card, tr, .chart { break-inside: avoid; }
  .card.long { break-inside: auto; }
  h2, h3 { break-after: avoid; }
  .bar, .bar i, .bar b, .matrix td, .key { print-color-adjust: exact;
    -webkit-print-color-adjust: exact; }
}
"""
)

# The page says everything without it: it finds classes by name, sorts them, and
# names the cell of a large confusion matrix under the pointer.
SCRIPT = """
for (const tools of document.querySelectorAll('.tools')) {
  const body = document.getElementById(tools.dataset.for).tBodies[0];
  const rows = [...body.rows];
  const [search, order] = tools.querySelectorAll('input, select');
  const told = tools.querySelector('output');
  const value = (row, key) => Number(row.dataset[key]);
  const orders = {
    low: (a, b) => value(a, 'value') - value(b, 'value'),
    high: (a, b) => value(b, 'value') - value(a, 'value'),
    many: (a, b) => value(b, 'count') - value(a, 'count'),
    name: (a, b) => a.cells[0].textContent.localeCompare(
      b.cells[0].textContent),
  };
  const show = () => {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const name = row.cells[0].textContent.toLowerCase();
      row.hidden = !name.includes(wanted);
      shown += !row.hidden;
    }
    told.textContent = shown + ' of ' + rows.length;
  };
  search.addEventListener('input', show);
  order.addEventListener('change', () => {
    rows.sort(orders[order.value]);
    body.append(...rows);
  });
  show();
  tools.hidden = false;
}
for (const map of document.querySelectorAll('.map')) {
  const image = map.querySelector('img'), told = map.querySelector('output');
  const {names, cells} = JSON.parse(map.querySelector('script').textContent);
  const counts = new Map();
  for (let i = 0; i < cells.length; i += 2) counts.set(cells[i], cells[i + 1]);
  const tell = (event) => {
    const box = image.getBoundingClientRect();
    const place = (from, length) => Math.max(0, Math.min(names.length - 1,
      Math.floor(from / length * names.length)));
    const truth = place(event.clientY - box.top, box.height);
    const guess = place(event.clientX - box.left, box.width);
    const count = counts.get(truth * names.length + guess) || 0;
    told.textContent = '\\u2068' + names[truth] + '\\u2069, predicted as ' +
      '\\u2068' + names[guess] + '\\u2069: ' + count +
      (count === 1 ? ' video' : ' videos');
  };
  image.addEventListener('pointermove', tell);
  image.addEventListener('pointerdown', tell);
}
"""
