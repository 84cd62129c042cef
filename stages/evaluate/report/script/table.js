// Sort a table by the column whose heading is pressed; a second press turns the order round.
for (const table of document.querySelectorAll("table.sortable")) {
  table.tHead.addEventListener("click", (event) => {
    const header = event.target.closest("button")?.parentElement;
    if (!header) return;
    const order = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", order);

    // Fields without a value stay last in either order; equal ones keep the order they had.
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
