// Mark a trial in every chart and in the table, when the pointer is on it or the slider picks it.
{
  const picker = document.querySelector(".picker");
  const rows = [...document.querySelectorAll("#trials tbody tr")];
  const names = [...document.querySelectorAll("#trials thead th")].map((header) => header.innerText.trim());
  const byRank = new Map(rows.map((row) => [row.cells[0].dataset.value, row]));
  let picked = null;

  const show = (trial) => {
    if (trial === picked) return;
    picked = trial;
    for (const each of document.querySelectorAll(".on")) each.classList.remove("on");
    for (const each of document.querySelectorAll(`[data-trial="${trial}"]`)) each.classList.add("on");
    document.body.classList.add("picked");
    const row = rows.find((each) => each.dataset.trial === trial);
    if (!row) return;
    const cells = [...row.cells].map((cell, at) => `${names[at]} ${cell.innerText.trim()}`);
    const head = document.createElement("b");
    head.textContent = `Trial ${trial}: ${row.cells[2].innerText.trim() || "failed"}`;
    picker.querySelector("output").replaceChildren(head, `, rank ${row.cells[0].innerText.trim() || "none"}. ${cells.slice(4).join(", ")}`);
    if (row.cells[0].dataset.value) picker.querySelector("input").value = row.cells[0].dataset.value;
  };

  if (picker) {
    picker.hidden = false;
    picker.addEventListener("submit", (event) => event.preventDefault());
    picker.querySelector("input").addEventListener("input", (event) => show(byRank.get(event.target.value)?.dataset.trial));
    document.querySelector("main").addEventListener("pointerover", (event) => {
      // Lines are thin: the nearest within a few pixels will do.
      for (const away of [0, -3, 3, -6, 6]) {
        const at = document.elementFromPoint(event.clientX, event.clientY + away);
        const found = at?.closest("[data-trial]");
        if (found) return show(found.dataset.trial);
      }
    });
  }
}
