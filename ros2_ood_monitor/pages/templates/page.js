'use strict';
// Sort: a column head orders the rows by the first number shown in each cell, or by its text.
const shownText = cell => {
  const span = [...cell.querySelectorAll('span')].find(one => one.offsetParent !== null);
  return (span || cell).textContent.trim();
};
const leaves = head => {
  // Columns from left to right of a head whose first row may span two.
  const found = [];
  const [first, second] = head.rows;
  const below = second ? [...second.cells] : [];
  for (const cell of first.cells) {
    if (second && cell.rowSpan === 1) found.push(...below.splice(0, cell.colSpan));
    else found.push(cell);
  }
  return found;
};
for (const table of document.querySelectorAll('table.sortable')) {
  leaves(table.tHead).forEach((head, column) => {
    head.tabIndex = 0;
    head.classList.add('sorts');
    const sort = () => {
      const down = head.getAttribute('aria-sort') !== 'descending';
      table.querySelectorAll('[aria-sort]').forEach(one => one.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      const body = table.tBodies[0];
      const rows = [...body.rows].map(row => {
        const text = shownText(row.cells[column]);
        return {row, text, value: parseFloat(text)};
      });
      rows.sort((a, b) => {
        const lacks = Number.isNaN(a.value) - Number.isNaN(b.value);
        if (lacks) return lacks;
        const order = Number.isNaN(a.value) ? b.text.localeCompare(a.text) : b.value - a.value;
        return down ? order : -order;
      });
      body.append(...rows.map(one => one.row));
    };
    head.addEventListener('click', sort);
    head.addEventListener('keydown', event => { if (event.key === 'Enter') sort(); });
  });
}
// Mark: a click on a named row, curve, dot or label marks that name everywhere.
document.addEventListener('click', event => {
  const one = event.target.closest('[data-name]');
  if (!one) return;
  const name = one.dataset.name;
  const marked = one.classList.contains('marked');
  document.querySelectorAll('.marked').forEach(other => other.classList.remove('marked'));
  if (marked) return;
  for (const other of document.querySelectorAll('[data-name]')) {
    if (other.dataset.name === name) other.classList.add('marked');
  }
});
// Enlarge: a click on a row of images makes them as wide as the page.
for (const row of document.querySelectorAll('.panel .row')) {
  row.addEventListener('click', () => row.classList.toggle('large'));
}
