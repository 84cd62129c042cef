// Show the images of a field of the confusion matrix, or of a pair, when its number is pressed.
{
  const panel = document.getElementById("field-images");
  const said = document.getElementById("field-said");
  const buttons = [...document.querySelectorAll("button[data-field]")];

  const show = (field) => {
    const images = document.querySelector(`template[data-images="${field}"]`);
    panel.replaceChildren(images.content.cloneNode(true));
    panel.hidden = false;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.field === field));
    said.textContent = `${panel.querySelectorAll("li").length} images are shown below the matrix: ${panel.querySelector("h3").textContent.trim()}`;
    panel.scrollIntoView({ block: "nearest" });
  };
  for (const button of buttons) button.addEventListener("click", () => show(button.dataset.field));

  // One stop of the tab key for the whole matrix; the arrow keys go on to the next field that holds images.
  const body = document.querySelector(".matrix tbody");
  const fields = body ? [...body.querySelectorAll("button")] : [];
  const enter = (button) => {
    for (const other of fields) other.tabIndex = other === button ? 0 : -1;
  };
  if (fields.length) enter(fields[0]);
  for (const field of fields) field.addEventListener("focus", () => enter(field));

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
