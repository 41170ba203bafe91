"use strict";
{
  const byId = (id) => document.getElementById(id);

  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // Tables: a heading sorts the rows of each block; what is no number (a dash) stays last.
  const numberOf = (text) => (/^-?\d/.test(text) ? parseFloat(text) : null);
  const compare = (a, b, sign) => {
    const [x, y] = [numberOf(a), numberOf(b)];
    if (x !== null && y !== null) return sign * (x - y);
    if (x !== null || y !== null) return x !== null ? -1 : 1;
    return sign * a.localeCompare(b, undefined, { numeric: true });
  };
  const sortRows = (table, heading, column) => {
    const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.classList.contains("block"));
      const text = new Map(rows.map((row) => [row, row.cells[column].textContent.trim()]));
      rows.sort((a, b) => compare(text.get(a), text.get(b), sign));
      body.append(...rows);
    }
  };
  for (const table of document.querySelectorAll("table")) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sortRows(table, heading, column));
      heading.append(button);
    });
  }
  // What scrolls sideways says so, and the keyboard reaches it.
  const scrollers = [...document.querySelectorAll("figure.table, .wide")];
  const mark = () => {
    for (const each of scrollers) {
      const scrolls = each.scrollWidth > each.clientWidth + 1 || each.scrollHeight > each.clientHeight + 1;
      each.classList.toggle("more", each.scrollWidth > each.clientWidth + 1);
      for (const [key, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", "a table that scrolls"]]) {
        if (scrolls) each.setAttribute(key, value);
        else each.removeAttribute(key);
      }
    }
  };
  addEventListener("resize", mark);
  for (const each of document.querySelectorAll("details")) each.addEventListener("toggle", mark);
  mark();
  byId("filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    for (const row of document.querySelectorAll(".filtered tbody tr")) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}
