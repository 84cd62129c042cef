// Show the images of a confusion matrix cell when its number is clicked, in the matrix or among the pairs.
{
  const panel = document.getElementById("cell-images");
  const status = document.getElementById("cell-status");
  const buttons = [...document.querySelectorAll("button[data-cell]")];

  const show = (cell) => {
    const images = document.querySelector(`template[data-images="${cell}"]`);
    panel.replaceChildren(images.content.cloneNode(true));
    panel.hidden = false;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.cell === cell));
    const count = panel.querySelectorAll("li").length;
    const heading = panel.querySelector("h3").textContent.trim();
    status.textContent = `${count} images shown below the matrix: ${heading}`;
    panel.scrollIntoView({ block: "nearest" });
  };
  for (const button of buttons) button.addEventListener("click", () => show(button.dataset.cell));

  // The whole matrix is one tab stop; arrow keys move to the next cell that has images.
  const body = document.querySelector(".matrix tbody");
  const cells = body ? [...body.querySelectorAll("button")] : [];
  const makeTabStop = (button) => {
    for (const other of cells) other.tabIndex = other === button ? 0 : -1;
  };
  if (cells.length) makeTabStop(cells[0]);
  for (const cell of cells) cell.addEventListener("focus", () => makeTabStop(cell));

  const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  body?.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    const cell = event.target.closest("td");
    if (!step || !cell) return;
    event.preventDefault();
    let [row, column] = [cell.parentElement.sectionRowIndex, cell.cellIndex];
    let button = null;
    while (!button && body.rows[row]?.cells[column]) {
      [row, column] = [row + step[0], column + step[1]];
      button = body.rows[row]?.cells[column]?.querySelector("button");
    }
    button?.focus();
  });
}
