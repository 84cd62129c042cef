// Name the two classes, and count the images, of the dot under the pointer in the picture of many classes.
{
  const overview = document.querySelector(".overview");
  const picture = overview?.querySelector("img");
  const pointed = document.querySelector(".pointed");
  const names = overview ? JSON.parse(overview.dataset.names) : [];
  const rows = overview?.dataset.counts ? overview.dataset.counts.split(";") : null;

  const count = (label, predicted) => {
    const cell = rows[label].split(",").find((each) => each.startsWith(`${predicted}:`));
    return cell ? Number(cell.split(":")[1]) : 0;
  };
  picture?.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const place = (part) => Math.min(names.length - 1, Math.max(0, Math.floor(part * names.length)));
    const label = place((event.clientY - box.top) / box.height);
    const predicted = place((event.clientX - box.left) / box.width);
    const what = label === predicted ? `${names[label]}, classified correctly` : `${names[label]} predicted as ${names[predicted]}`;
    const images = rows ? count(label, predicted) : null;
    pointed.textContent = images === null ? what : `${what}: ${images} image${images === 1 ? "" : "s"}`;
    picture.title = pointed.textContent;
  });
}
