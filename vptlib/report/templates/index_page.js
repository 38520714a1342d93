// Sorts and filters the rows of the table. The page is complete without it.
"use strict";
(() => {
  const table = document.getElementById("rows");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const tools = document.getElementById("tools");
  const shown = document.getElementById("shown");
  const field = (name) => document.getElementById(name);

  const filter = () => {
    const text = field("search").value.trim().toLowerCase();
    const site = field("site").value;
    const step = field("step").value;
    const attention = field("attention").checked;
    for (const row of rows) {
      row.hidden =
        (text !== "" && !row.textContent.toLowerCase().includes(text)) ||
        (site !== "" && row.dataset.site !== site) ||
        (step !== "" && row.dataset.step !== step) ||
        (attention && !row.dataset.attention);
    }
    const count = rows.filter((row) => !row.hidden).length;
    shown.textContent = shown.dataset.text.replace("{shown}", count).replace("{all}", rows.length);
  };

  const compare = (a, b) => {
    const numbers = [a, b].map((text) => (text === "" ? NaN : Number(text.replace(/[,%\s]/g, ""))));
    return numbers.some(Number.isNaN) ? a.localeCompare(b, document.documentElement.lang) : numbers[0] - numbers[1];
  };

  const sort = (head, column) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[column].dataset.key;
    rows.sort((a, b) => compare(key(a), key(b)) * (down ? -1 : 1));
    body.append(...rows);
  };

  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sorts";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(head, column));
    head.replaceChildren(button);
  });
  tools.hidden = false;
  tools.addEventListener("input", filter);
  tools.addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
