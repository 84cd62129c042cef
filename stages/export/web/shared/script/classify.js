"use strict";
/* A page that classifies pictures: takes files that are chosen, dropped or pasted, and the camera's, and shows bars.
   What classifies them is the page's own: the server, or the model in the page. */
const classifyPage = (() => {
  const NUM_BARS = 5;
  const at = (id) => document.getElementById(id);
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  let stream = null;
  let own = null;

  const say = (text, isWrong = false) => {
    at("message").textContent = text;
    at("message").classList.toggle("wrong", isWrong);
  };

  function show(file, { result, threshold, explains }) {
    const item = at("result").content.cloneNode(true).firstElementChild;
    const [image, frame, title] = ["img", ".frame", "h2"].map((name) => item.querySelector(name));
    const address = URL.createObjectURL(file);
    image.onload = () => {
      frame.classList.toggle("small", Math.max(image.naturalWidth, image.naturalHeight) <= 128);
      URL.revokeObjectURL(address);
    };
    image.onerror = () => { frame.hidden = true; };
    image.src = address;
    item.querySelector("figcaption").textContent = file.name || "camera";
    const why = item.querySelector(".why");
    if (result.error) {
      title.textContent = "Cannot be read";
      why.textContent = result.error;
    } else {
      title.textContent = result.predicted;
      image.alt = `classified as ${result.predicted}`;
      const verdict = { true: "accepted", false: "not accepted", null: "no accuracy is promised" }[result.accepted];
      why.textContent = result.reason ? `${verdict}: ${result.reason}` : verdict;
      item.classList.toggle("unsure", result.accepted !== true);
      for (const [name, value] of result.ranked.slice(0, NUM_BARS)) {
        item.querySelector(".bars").append(drawBar(name, value, threshold));
      }
      if (explains) offerHeatmap(item, file);
    }
    at("results").prepend(item);
  }

  function drawBar(name, value, threshold) {
    const row = document.createElement("li");
    const [label, bar, fill, number] = ["span", "span", "div", "span"].map((tag) => document.createElement(tag));
    label.className = "class";
    label.textContent = label.title = name;
    bar.className = "bar";
    fill.className = "fill";
    fill.style.width = percent(value).replace(" ", "");
    bar.append(fill);
    if (threshold !== null) {
      const mark = document.createElement("div");
      mark.className = "mark";
      mark.style.left = percent(threshold).replace(" ", "");
      bar.append(mark);
    }
    number.className = "number";
    number.textContent = percent(value);
    row.append(label, bar, number);
    return row;
  }

  function offerHeatmap(item, file) {
    const button = item.querySelector(".explain");
    button.hidden = false;
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const { picture, outline } = await own.explain(file);
        item.querySelector("img").src = picture;
        item.querySelector("path").setAttribute("d", outline);
        button.textContent = outline ? "Outlined: what it looks at" : "No part stands out";
      } catch (error) {
        button.disabled = false;
        say(error.message, true);
      }
    });
  }

  async function classify(files) {
    let numDone = 0;
    let failure = "";
    for (const file of files) {
      say(`Classifying ${numDone + 1} of ${files.length} …`);
      try {
        show(file, await own.predict(file));
        numDone += 1;
      } catch (error) {
        failure = `${file.name || "camera"}: ${error.message}`;
      }
    }
    say(failure || `${numDone} classified`, Boolean(failure));
  }

  async function openCamera() {
    if (!navigator.mediaDevices) {
      say("The browser gives the camera to pages of https or of this machine only", true);
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      say(`There is no camera to use: ${error.message}`, true);
      return;
    }
    at("view").srcObject = stream;
    await at("view").play();
    at("live").hidden = false;
    at("shoot").focus();
  }

  function closeCamera() {
    if (stream) stream.getTracks().forEach((track) => track.stop());
    stream = null;
    at("view").srcObject = null;
    at("live").hidden = true;
    at("camera").focus();
  }

  function shoot() {
    const view = at("view");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [view.videoWidth, view.videoHeight];
    canvas.getContext("2d").drawImage(view, 0, 0);
    canvas.toBlob((blob) => classify([new File([blob], "camera.jpg", { type: "image/jpeg" })]), "image/jpeg", 0.92);
  }

  /* functions.predict(file) returns what `show` takes, functions.explain(file) a picture and an outline. */
  function start(functions) {
    own = functions;
    const take = (files) => {
      if (files.length && !at("give").hidden) classify(files);
    };
    at("files").addEventListener("change", () => {
      take([...at("files").files]);
      at("files").value = "";
    });
    at("camera").addEventListener("click", openCamera);
    at("close").addEventListener("click", closeCamera);
    at("shoot").addEventListener("click", shoot);
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
      document.addEventListener(kind, (event) => {
        event.preventDefault();
        at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
      });
    }
    document.addEventListener("drop", (event) => take([...event.dataTransfer.files]));
    document.addEventListener("paste", (event) => take([...event.clipboardData.files]));
  }

  return { at, percent, say, start };
})();
