"use strict";

// Themes: as the system says, light, dark; kept where the browser allows it.
(() => {
  const button = document.getElementById("theme");
  const themes = ["auto", "light", "dark"];
  const show = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  let theme = "auto";
  try {
    const kept = localStorage.getItem("videomt-bench-theme");
    if (themes.includes(kept)) theme = kept;
  } catch { /* storage is off */ }
  show(theme);
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    show(theme);
    try {
      localStorage.setItem("videomt-bench-theme", theme);
    } catch { /* storage is off */ }
  });
})();

// Tables: a header sorts one way, the other way, and back to the order of the report.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const headers = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  headers.forEach((header, column) => {
    const numeric = header.classList.contains("number") && column > 0;
    const order = numeric ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
    header.querySelector("button").addEventListener("click", () => {
      const next = order[(order.indexOf(header.ariaSort ?? "none") + 1) % order.length];
      headers.forEach((other) => other.setAttribute("aria-sort", "none"));
      header.setAttribute("aria-sort", next);
      body.append(...(next === "none" ? original : sorted(original, column, numeric, next)));
    });
  });
}

function sorted(rows, column, numeric, direction) {
  const sign = direction === "ascending" ? 1 : -1;
  const key = (row) => {
    const cell = row.cells[column];
    if (!numeric) return cell.textContent.trim();
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };
  const compare = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null); // empty cells come last
    return sign * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
  };
  return [...rows].sort((a, b) => compare(key(a), key(b)));
}
