"use strict";
(() => {
  const columns = JSON.parse(document.getElementById("rows").textContent);
  const data = columns.map((c) => c.codes ? c.codes.map((k) => (k === null ? null : c.levels[k])) : c.values);
  const height = data[0].length;
  const table = document.getElementById("browser");
  const heads = [...table.tHead.rows[0].cells];
  const box = document.getElementById("search");
  const size = document.getElementById("page-size");
  const status = document.getElementById("status");
  const collator = new Intl.Collator("en", { numeric: true });
  // Characters that show nothing or turn the reading order are written as their code.
  const visible = (text) => text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (c) => `\\u{${c.codePointAt(0).toString(16).padStart(4, "0")}}`);
  const number = (value) => {
    if (!Number.isFinite(value)) return String(value);
    const text = Number.isInteger(value) && Math.abs(value) < 1e15 ? value.toLocaleString("en-GB") : String(Number(value.toPrecision(6)));
    return text.replace("-", "\u2212");
  };
  const shown = (value) => {
    if (value === null) return "\u2013";
    if (Array.isArray(value)) return value.map(shown).join(", ");
    return typeof value === "number" ? number(value) : visible(value);
  };
  const raw = (value) => (value === null ? "" : Array.isArray(value) ? value.map(raw).join(", ") : String(value));
  let order = Array.from({ length: height }, (_, row) => row);
  let found = order;
  let page = 0;
  let texts = null;
  const pages = () => Math.max(1, Math.ceil(found.length / Number(size.value)));
  const draw = () => {
    const length = Number(size.value);
    page = Math.min(Math.max(page, 0), pages() - 1);
    const rows = found.slice(page * length, (page + 1) * length);
    const body = document.createDocumentFragment();
    for (const row of rows) {
      const line = document.createElement("tr");
      columns.forEach((column, index) => {
        const value = data[index][row];
        const cell = document.createElement(index === 0 ? "th" : "td");
        if (index === 0) cell.scope = "row";
        if (column.numeric) cell.classList.add("n");
        cell.textContent = shown(value);
        if (/\S{40}/.test(cell.textContent)) cell.classList.add("long");
        if (typeof value === "number" && !Number.isInteger(value)) cell.title = String(value);
        if (value === null) cell.title = "no value";
        line.append(cell);
      });
      body.append(line);
    }
    table.tBodies[0].replaceChildren(body);
    const first = found.length ? page * length + 1 : 0;
    const of = found.length === height ? `${number(height)} rows` : `${number(found.length)} rows found among ${number(height)}`;
    status.textContent = found.length ? `Rows ${number(first)} to ${number(first + rows.length - 1)} of ${of}` : `No row of ${number(height)} holds all of these words`;
    for (const name of ["first", "previous"]) document.getElementById(name).disabled = page === 0;
    for (const name of ["next", "last"]) document.getElementById(name).disabled = page >= pages() - 1;
  };
  const search = () => {
    const words = box.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length && texts === null) {
      texts = Array.from({ length: height }, (_, row) => data.map((values) => raw(values[row])).join("\n").toLowerCase());
    }
    found = words.length ? order.filter((row) => words.every((word) => texts[row].includes(word))) : order;
    page = 0;
    draw();
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(raw(a), raw(b)));
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const values = data[column];
    order = [...order].sort((p, q) => {
      const [a, b] = [values[p], values[q]];
      if (a === null || b === null) return (a === null) - (b === null);  // no value: last either way
      return ascending ? compare(a, b) : compare(b, a);
    });
    search();
  }));
  let waiting = 0;
  box.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 150); });
  size.addEventListener("change", () => { page = 0; draw(); });
  const go = { first: () => 0, previous: () => page - 1, next: () => page + 1, last: () => pages() - 1 };
  for (const [name, target] of Object.entries(go)) {
    document.getElementById(name).addEventListener("click", () => { page = target(); draw(); });
  }
  draw();
})();
