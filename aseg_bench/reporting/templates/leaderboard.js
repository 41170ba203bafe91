"use strict";
{
  // Each select keeps the rows whose cell of its column has the chosen text; the search field hides more of them.
  const selects = [...document.querySelectorAll("select[data-column]")];
  const rows = [...document.querySelectorAll(".filtered tbody tr")];
  const show = () => {
    const chosen = selects.filter((each) => each.value).map((each) => [Number(each.dataset.column), each.value]);
    let shown = 0;
    for (const row of rows) {
      const text = (column) => row.cells[column].textContent.trim();
      row.classList.toggle("out", !chosen.every(([column, value]) => text(column) === value));
      shown += !row.classList.contains("out");
    }
    document.getElementById("count").textContent = `${shown} of ${rows.length} rows`;
  };
  for (const each of selects) each.addEventListener("change", show);
  show();
}
