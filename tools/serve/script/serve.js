"use strict";
(() => {
  const { at, percent, say, start } = classifyPage;
  let token = "";
  let model = null;

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

  async function predict(file) {
    if (model === null) await introduce();
    const result = (await ask("predict", form(file))).predictions[0];
    result.ranked = Object.entries(result.probabilities).sort((a, b) => b[1] - a[1]);
    return { result, explains: model.explains, threshold: model.threshold };
  }

  start({ predict, explain: (file) => ask("explain", form(file)) });
  at("access").addEventListener("submit", (event) => {
    event.preventDefault();
    token = at("token").value;
    introduce().then(() => say(""), (error) => say(error.message, true));
  });
  if (at("access").hidden) introduce().catch((error) => say(error.message, true));
})();
