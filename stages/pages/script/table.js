// Sort a table by the column whose heading is clicked; a second click reverses the order.
for (const table of document.querySelectorAll("table.sortable")) {
  table.tHead.addEventListener("click", (event) => {
    const header = event.target.closest("button")?.parentElement;
    if (!header) return;
    const order = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", order);

    // Rows without a value stay last in either direction; equal ones keep their order.
    const value = (row) => row.cells[header.cellIndex].dataset.value;
    const direction = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left === "" || right === "") return (left === "") - (right === "");
      return direction * (Number(left) - Number(right));
    });
    table.tBodies[0].append(...rows);
  });
}
