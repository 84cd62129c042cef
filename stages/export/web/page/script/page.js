"use strict";
/* The model in the page, and what it predicts. */
const modelInPage = (() => {
  const { at, say, start } = classifyPage;
  const model = JSON.parse(at("model").textContent);

  /* Takes what is packed in a script element out of the page. */
  async function unpack(id) {
    const text = atob(at(id).textContent);
    at(id).remove();
    const bytes = new Uint8Array(text.length);
    for (let index = 0; index < text.length; index += 1) bytes[index] = text.charCodeAt(index);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function load() {
    say("Loading the model …");
    checkCanvas();
    ort.env.wasm.numThreads = 1; // several need headers that only a server can send
    ort.env.wasm.wasmBinary = await unpack("packed-wasm");
    const session = await ort.InferenceSession.create(await unpack("packed-model"), { executionProviders: ["wasm"] });
    say("");
    return session;
  }

  const session = new Promise((resolve, reject) => {
    // Modules run just before this event, and onnxruntime-web is one.
    addEventListener("DOMContentLoaded", () => load().then(resolve, reject));
  });
  session.catch((error) => say(`The model cannot run here: ${error.message}`, true));

  async function predict(file) {
    const image = await readPixels(file, model.image);
    const shape = [1, image.height, image.width, image.channels];
    const input = new ort.Tensor("uint8", image.data, shape);
    const { probabilities } = await (await session).run({ images: input }, ["probabilities"]);
    const ranked = model.classes.map((name, index) => [name, probabilities.data[index]]).sort((a, b) => b[1] - a[1]);
    const accepted = model.threshold === null ? null : ranked[0][1] >= model.threshold;
    const result = { predicted: ranked[0][0], accepted, reason: accepted ? "" : model.why_not, ranked };
    return { result, explains: false, threshold: model.threshold };
  }

  start({ predict });
  return { predict };
})();
