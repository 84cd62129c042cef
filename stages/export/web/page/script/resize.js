"use strict";
/* stages/images/resize.py in JavaScript. An image is {data, height, width, channels}, data being its bytes row by
   row. What OpenCV computes in integers is the same here bit by bit; moving by fractions of a pixel, which it does in
   floats, is a gray level off in one of 8,000 values. tests/export/test_web_page.py compares both. */
const { resizeImage } = (() => {
  const MAX_SMOOTHED = 3;
  const HALVED = 2.6;
  const STEPS = 2048; // of a pixel, in OpenCV's interpolation

  const create = (height, width, channels) =>
    ({ data: new Uint8Array(height * width * channels), height, width, channels });

  /* Halves to even, as Python and OpenCV round. */
  function roundEven(value) {
    const below = Math.floor(value);
    const rest = value - below;
    if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
    return below + (below & 1);
  }

  const within = (value, last) => Math.min(Math.max(value, 0), last);

  function resizeImage(image, form) {
    const { height_px: height, width_px: width } = form;
    if (form.resize === "squish") return scale(image, height, width);
    if (form.resize === "crop") return scale(crop(image, height, width), height, width);
    const factor = Math.min(height / image.height, width / image.width);
    const sides = [image.height, image.width].map((side) => Math.max(1, roundEven(side * factor)));
    return pad(scale(image, ...sides), height, width);
  }

  function scale(image, height, width) {
    if (image.height === height && image.width === width) return image;
    let factors = [image.width / width, image.height / height];
    const isWhole = factors.every(Number.isInteger);
    let numHalvings = 0;
    for (; Math.min(...factors) >= HALVED; numHalvings += 1) factors = factors.map((factor) => factor / 2);
    if (isWhole || Math.max(...factors) > MAX_SMOOTHED) {
      return interpolate(average(image, Math.min(image.height, height), Math.min(image.width, width)), height, width);
    }
    let smaller = image;
    for (let count = 0; count < numHalvings; count += 1) {
      smaller = average(smaller, smaller.height >> 1, smaller.width >> 1, 2);
    }
    if (Math.max(...factors) > 1) smaller = smooth(smaller, ...factors);
    if (smaller.height << numHalvings === image.height && smaller.width << numHalvings === image.width) {
      return interpolate(smaller, height, width);
    }
    return move(smaller, height, width, factors);
  }

  /* cv2.INTER_AREA, for sides that do not grow; with a whole factor, what is left over on the right and at the bottom
     is dropped. */
  function average(image, height, width, factor = 0) {
    const [x, y] = [factor || image.width / width, factor || image.height / height];
    if (x === 1 && y === 1) return image;
    return Number.isInteger(x) && Number.isInteger(y)
      ? averageWhole(image, height, width, x, y) : averageParts(image, height, width);
  }

  function averageWhole(image, height, width, x, y) {
    const { data, channels } = image;
    const result = create(height, width, channels);
    const [stride, share] = [image.width * channels, Math.fround(1 / (x * y))];
    let to = 0;
    for (let row = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1) {
        for (let channel = 0; channel < channels; channel += 1, to += 1) {
          const from = row * y * stride + column * x * channels + channel;
          let sum = 0;
          for (let down = 0; down < y; down += 1) {
            for (let across = 0; across < x; across += 1) sum += data[from + down * stride + across * channels];
          }
          result.data[to] = x === 2 && y === 2 ? (sum + 2) >> 2 : roundEven(Math.fround(sum * share));
        }
      }
    }
    return result;
  }

  /* Which old pixels a new one averages, and with which weights: OpenCV's computeResizeAreaTab. */
  function listParts(length, count) {
    const size = 1 / (count / length);
    return Array.from({ length: count }, (_, index) => {
      const start = index * size;
      const cell = Math.min(size, length - start);
      const last = Math.min(Math.floor(start + size), length - 1);
      const first = Math.min(Math.ceil(start), last);
      const parts = [];
      if (first - start > 1e-3) parts.push([first - 1, Math.fround((first - start) / cell)]);
      for (let at = first; at < last; at += 1) parts.push([at, Math.fround(1 / cell)]);
      const rest = start + size - last;
      if (rest > 1e-3) parts.push([last, Math.fround(Math.min(rest, 1, cell) / cell)]);
      return parts;
    });
  }

  function averageParts(image, height, width) {
    const { data, channels } = image;
    const result = create(height, width, channels);
    const [columns, stride] = [listParts(image.width, width), image.width * channels];
    const [line, sums] = [new Float32Array(width * channels), new Float32Array(width * channels)];
    listParts(image.height, height).forEach((rows, row) => {
      sums.fill(0);
      for (const [from, weight] of rows) {
        line.fill(0);
        columns.forEach((parts, column) => {
          for (const [at, share] of parts) {
            for (let channel = 0; channel < channels; channel += 1) {
              line[column * channels + channel] += Math.fround(data[from * stride + at * channels + channel] * share);
            }
          }
        });
        for (let at = 0; at < sums.length; at += 1) sums[at] += Math.fround(weight * line[at]);
      }
      for (let at = 0; at < sums.length; at += 1) result.data[row * sums.length + at] = within(roundEven(sums[at]), 255);
    });
    return result;
  }

  /* Three weights along rows and three down columns, which smooth as much as averaging would. */
  function smooth(image, alongRows, downColumns) {
    const { data, height, width, channels } = image;
    const [x, y] = [alongRows, downColumns].map((factor) => roundEven(256 * Math.max(0, factor ** 2 - 1) / 24));
    const [result, sums, stride] = [create(height, width, channels), new Int32Array(data.length), width * channels];
    const mirror = (at, length) => (length === 1 ? 0 : at < 0 ? 1 : at === length ? length - 2 : at);
    for (let row = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1) {
        const [before, here, after] =
          [mirror(column - 1, width), column, mirror(column + 1, width)].map((at) => row * stride + at * channels);
        for (let channel = 0; channel < channels; channel += 1) {
          sums[here + channel] =
            x * (data[before + channel] + data[after + channel]) + (256 - 2 * x) * data[here + channel];
        }
      }
    }
    for (let row = 0; row < height; row += 1) {
      const [before, here, after] = [mirror(row - 1, height), row, mirror(row + 1, height)].map((at) => at * stride);
      for (let at = 0; at < stride; at += 1) {
        const sum = y * (sums[before + at] + sums[after + at]) + (256 - 2 * y) * sums[here + at];
        result.data[here + at] = roundEven(sum / 65536);
      }
    }
    return result;
  }

  /* cv2.INTER_LINEAR of bytes: weights of 11 bits, sums cut to 12 bits before the second product. */
  function interpolate(image, height, width) {
    if (image.height === height && image.width === width) return image;
    const { data, channels } = image;
    const place = (length, count) => (_, index) => {
      const at = Math.fround((index + 0.5) * (1 / (count / length)) - 0.5);
      const first = Math.floor(at);
      return [first, Math.fround(at - first)];
    };
    const weigh = (share) => [roundEven(Math.fround(1 - share) * STEPS), roundEven(share * STEPS)];
    const [lastRow, lastColumn, stride] = [image.height - 1, image.width - 1, width * channels];
    const lines = new Map();
    const columns = Array.from({ length: width }, place(image.width, width)).map(([first, share]) => {
      const isInside = first >= 0 && first < lastColumn;
      const at = within(first, lastColumn);
      return [at * channels, Math.min(at + 1, lastColumn) * channels, ...weigh(isInside ? share : 0)];
    });
    function stretch(row) {
      const line = new Int32Array(stride);
      const start = row * image.width * channels;
      columns.forEach(([left, right, ofLeft, ofRight], column) => {
        for (let channel = 0; channel < channels; channel += 1) {
          line[column * channels + channel] =
            (data[start + left + channel] * ofLeft + data[start + right + channel] * ofRight) >> 4;
        }
      });
      return line;
    }
    function lineOf(row) {
      if (!lines.has(row)) {
        if (lines.size > 2) lines.clear();
        lines.set(row, stretch(row));
      }
      return lines.get(row);
    }
    const result = create(height, width, channels);
    Array.from({ length: height }, place(image.height, height)).forEach(([first, share], row) => {
      const [above, below] = [lineOf(within(first, lastRow)), lineOf(within(first + 1, lastRow))];
      const [ofAbove, ofBelow] = weigh(share);
      for (let at = 0; at < stride; at += 1) {
        result.data[row * stride + at] = (((ofAbove * above[at]) >> 16) + ((ofBelow * below[at]) >> 16) + 2) >> 2;
      }
    });
    return result;
  }

  /* cv2.warpAffine with the places that resize.py gives it. */
  function move(image, height, width, [x, y]) {
    const { data, channels } = image;
    const result = create(height, width, channels);
    const place = (factor, last) => (_, index) => {
      const at = Math.fround(Math.fround(factor) * index + Math.fround((factor - 1) / 2));
      const first = Math.floor(at);
      return [within(first, last), within(first + 1, last), at - first];
    };
    const columns = Array.from({ length: width }, place(x, image.width - 1));
    const stride = image.width * channels;
    let to = 0;
    for (const [above, below, down] of Array.from({ length: height }, place(y, image.height - 1))) {
      for (const [left, right, across] of columns) {
        const [a, b, c, d] = [
          above * stride + left * channels, above * stride + right * channels,
          below * stride + left * channels, below * stride + right * channels,
        ];
        for (let channel = 0; channel < channels; channel += 1, to += 1) {
          const top = data[a + channel] + across * (data[b + channel] - data[a + channel]);
          const bottom = data[c + channel] + across * (data[d + channel] - data[c + channel]);
          result.data[to] = roundEven(top + down * (bottom - top));
        }
      }
    }
    return result;
  }

  function crop(image, height, width) {
    const { data, channels } = image;
    const rows = Math.min(image.height, Math.max(1, roundEven(image.width * height / width)));
    const columns = Math.min(image.width, Math.max(1, roundEven(image.height * width / height)));
    const [top, left] = [(image.height - rows) >> 1, (image.width - columns) >> 1];
    const result = create(rows, columns, channels);
    for (let row = 0; row < rows; row += 1) {
      const start = ((top + row) * image.width + left) * channels;
      result.data.set(data.subarray(start, start + columns * channels), row * columns * channels);
    }
    return result;
  }

  /* Centred on black. */
  function pad(image, height, width) {
    const { data, channels } = image;
    const [top, left] = [(height - image.height) >> 1, (width - image.width) >> 1];
    const [result, stride] = [create(height, width, channels), image.width * channels];
    for (let row = 0; row < image.height; row += 1) {
      const line = data.subarray(row * stride, (row + 1) * stride);
      result.data.set(line, ((top + row) * width + left) * channels);
    }
    return result;
  }

  return { resizeImage };
})();
