"use strict";
/* From the bytes of a picture to the pixels that the network takes: what stages/images/decode.py does, with the
   browser's decoders. Colour profiles are ignored, transparency is laid on white, EXIF's orientation is applied. */
const { readPixels, checkCanvas } = (() => {
  const MAX_PIXELS = 80e6;
  const MEASURED_PX = 256;
  const BAND_PIXELS = 2 ** 22;

  function createContext(width, height) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height];
    return canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  }

  /* Some browsers change what a page reads of a canvas, so that nobody is recognised by it. */
  function checkCanvas() {
    const side = 64;
    const context = createContext(side, side);
    const drawn = context.createImageData(side, side);
    for (let at = 0; at < drawn.data.length; at += 1) drawn.data[at] = at % 4 === 3 ? 255 : (at * 37) % 256;
    context.putImageData(drawn, 0, 0);
    const read = context.getImageData(0, 0, side, side).data;
    if (read.some((value, at) => value !== drawn.data[at])) {
      throw new Error("this browser changes the pixels that a page reads (protection against fingerprinting); " +
        "allow this page to read them, or use another browser");
    }
  }

  /* Returns an image of the form; throws an Error that says why there is none. */
  async function readPixels(file, form) {
    const start = new Uint8Array(await file.slice(0, 3).arrayBuffer());
    if (start.length === 0) throw new Error("the file is empty");
    let bitmap;
    try {
      bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    } catch {
      throw new Error("is no image, is damaged, or of a kind that this browser does not decode");
    }
    try {
      if (bitmap.width * bitmap.height > MAX_PIXELS) {
        const claim = `${bitmap.width.toLocaleString("en")} x ${bitmap.height.toLocaleString("en")} pixels`;
        throw new Error(`has ${claim}, more than the ${MAX_PIXELS.toLocaleString("en")} allowed`);
      }
      const isJpeg = start[0] === 0xff && start[1] === 0xd8 && start[2] === 0xff;
      return resizeImage(readBitmap(bitmap, form, isJpeg ? chooseReduction(bitmap, form) : 1), form);
    } finally {
      bitmap.close();
    }
  }

  /* By how much smaller decode.py has a JPEG decoded. */
  function chooseReduction({ width, height }, form) {
    const side = Math.max(form.height_px, form.width_px, MEASURED_PX);
    return [8, 4, 2].find((reduction) => Math.ceil(Math.min(width, height) / reduction) >= 2 * side) || 1;
  }

  /* In bands: a canvas of a large photograph is more than some phones allow. */
  function readBitmap(bitmap, form, reduction) {
    const { width, height } = bitmap;
    const bandHeight = Math.min(height, reduction * Math.max(1, Math.floor(BAND_PIXELS / width / reduction)));
    const context = createContext(width, bandHeight);
    context.fillStyle = "#fff";
    const channels = form.color === "grayscale" ? 1 : 3;
    const image = { height: Math.ceil(height / reduction), width: Math.ceil(width / reduction), channels };
    image.data = new Uint8Array(image.height * image.width * channels);
    for (let top = 0; top < height; top += bandHeight) {
      const rows = Math.min(bandHeight, height - top);
      context.fillRect(0, 0, width, bandHeight);
      context.drawImage(bitmap, 0, top, width, rows, 0, 0, width, rows);
      copyBand(context.getImageData(0, 0, width, rows).data, width, rows, image, top / reduction, reduction);
    }
    return image;
  }

  /* Copies RGBA (rows, width) to rows of an image from `at` on, averaging squares of `reduction` pixels. */
  function copyBand(band, width, rows, image, at, reduction) {
    let to = at * image.width * image.channels;
    for (let top = 0; top < rows; top += reduction) {
      const bottom = Math.min(top + reduction, rows);
      for (let left = 0; left < width; left += reduction) {
        const right = Math.min(left + reduction, width);
        let red = 0;
        let green = 0;
        let blue = 0;
        for (let row = top; row < bottom; row += 1) {
          for (let from = 4 * (row * width + left); from < 4 * (row * width + right); from += 4) {
            red += band[from];
            green += band[from + 1];
            blue += band[from + 2];
          }
        }
        const share = 1 / ((bottom - top) * (right - left));
        red = Math.round(red * share);
        green = Math.round(green * share);
        blue = Math.round(blue * share);
        if (image.channels === 1) {
          image.data[to] = (9798 * red + 19235 * green + 3735 * blue + 16384) >> 15; // as OpenCV
        } else {
          image.data[to] = red;
          image.data[to + 1] = green;
          image.data[to + 2] = blue;
        }
        to += image.channels;
      }
    }
  }

  return { readPixels, checkCanvas };
})();
