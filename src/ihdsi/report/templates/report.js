"use strict";
(() => {
  const specifications = JSON.parse(document.getElementById("specifications").textContent);
  for (const [name, specification] of Object.entries(specifications)) {
    vegaEmbed(`#chart-${name}`, specification, { mode: "vega-lite", renderer: "svg", actions: false })
      .catch((error) => { document.getElementById(`chart-${name}`).textContent = `This chart could not be drawn: ${error}`; });
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");  // unknown values stay last
        const [p, q] = [Number(x), Number(y)];
        const difference = Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y) : p - q;
        return ascending ? difference : -difference;
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
    }));
  }
  const box = document.getElementById("gene-filter");
  box?.addEventListener("input", () => {
    const wanted = box.value.trim().toLowerCase();
    const rows = [...document.querySelectorAll("#biomarker-table tbody tr")];
    rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
    document.getElementById("gene-count").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows shown`;
  });
})();
