"use strict";
(() => {
  const NUM_BARS = 5;
  const at = (id) => document.getElementById(id);
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  let token = "";
  let model = null;
  let stream = null;

  const say = (text, isWrong = false) => {
    at("message").textContent = text;
    at("message").classList.toggle("wrong", isWrong);
  };

  async function ask(path, options = {}) {
    let response;
    try {
      response = await fetch(path, { ...options, headers: token ? { Authorization: `Bearer ${token}` } : {} });
    } catch {
      throw new Error("the server does not answer");
    }
    const content = await response.json().catch(() => ({}));
    if (response.status === 401) {
      at("access").hidden = false;
      at("token").focus();
    }
    if (content.predictions === undefined && !response.ok) throw new Error(content.error || `status ${response.status}`);
    return content;
  }

  async function introduce() {
    model = await ask("model");
    at("access").hidden = true;
    at("give").hidden = false;
    const split = model.metrics_split === "test" ? "test" : "validation";
    at("about").textContent =
      `${model.classes.length} classes, ${percent(model.metrics.accuracy)} correct on the ${split} split`;
    if (model.threshold !== null) {
      at("promise").textContent =
        `Accepted from ${percent(model.threshold)} on, the mark on the bars: so sure, ` +
        `${percent(model.target_accuracy)} are correct on pictures like those of the training.`;
    } else if (model.why_no_threshold) {
      at("promise").textContent = `Nothing is accepted: ${model.why_no_threshold}.`;
    }
  }

  const form = (file) => {
    const data = new FormData();
    data.append("images", file, file.name || "camera.jpg");
    return { method: "POST", body: data };
  };

  function show(file, result) {
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
      for (const [name, value] of Object.entries(result.probabilities).sort((a, b) => b[1] - a[1]).slice(0, NUM_BARS)) {
        item.querySelector(".bars").append(drawBar(name, value));
      }
      if (model.explains) offerHeatmap(item, file);
    }
    at("results").prepend(item);
  }

  function drawBar(name, value) {
    const row = document.createElement("li");
    const [label, bar, fill, number] = ["span", "span", "div", "span"].map((tag) => document.createElement(tag));
    label.className = "class";
    label.textContent = label.title = name;
    bar.className = "bar";
    fill.className = "fill";
    fill.style.width = percent(value).replace(" ", "");
    bar.append(fill);
    if (model.threshold !== null) {
      const mark = document.createElement("div");
      mark.className = "mark";
      mark.style.left = percent(model.threshold).replace(" ", "");
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
        const { picture, outline } = await ask("explain", form(file));
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
        if (model === null) await introduce();
        const { predictions } = await ask("predict", form(file));
        show(file, predictions[0]);
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

  at("files").addEventListener("change", () => {
    classify([...at("files").files]);
    at("files").value = "";
  });
  at("camera").addEventListener("click", openCamera);
  at("close").addEventListener("click", closeCamera);
  at("shoot").addEventListener("click", shoot);
  at("access").addEventListener("submit", (event) => {
    event.preventDefault();
    token = at("token").value;
    introduce().then(() => say(""), (error) => say(error.message, true));
  });
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    });
  }
  document.addEventListener("drop", (event) => {
    const files = [...event.dataTransfer.files];
    if (files.length && !at("give").hidden) classify(files);
  });
  if (at("access").hidden) introduce().catch((error) => say(error.message, true));
})();
