// Show a picture large, with its caption, when it is clicked; arrow keys go to the next one of its section.
{
  const dialog = document.getElementById("enlarged");
  let shown = null;

  const show = (figure) => {
    if (!figure) return;
    shown = figure;
    const section = figure.closest("section");
    const copy = figure.cloneNode(true);
    if (section.querySelector(".with-heatmap:not(:checked)")) copy.querySelector(".heatmap")?.remove();
    dialog.lastElementChild.replaceChildren(copy);
    if (!dialog.open) dialog.showModal();
  };
  const step = (count) => {
    const figures = [...shown.closest("section").querySelectorAll("figure")];
    show(figures[figures.indexOf(shown) + count]);
  };

  for (const button of document.querySelectorAll(".examples .picture")) {
    button.addEventListener("click", () => show(button.closest("figure")));
  }
  // A click beside the picture, on it or on Close; Escape closes a dialog by itself.
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("button")) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
}
