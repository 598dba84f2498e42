// Guided autoencoders as the replication trains them: one hidden layer, sigmoids, mean squared error, Adam, and
// -λ log|det W'| of the square part W' of the first weight. A network's parameters lie in one array: the weight, one
// row of pixels for each hidden unit; the biases of the hidden units; the weight back, one row of hidden units for each
// pixel; the biases of the pixels.
import { inverted, logDet } from "./linear.js";

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** Evenly within ±1/√inputs. */
export function initial(pixels, latent, random) {
  const state = new Float64Array(2 * pixels * latent + latent + pixels), back = (pixels + 1) * latent;
  return state.map((_, i) => (2 * random() - 1) / Math.sqrt(i < back ? pixels : latent));
}

/** Which pixels form the square part, in their order: the first, those that vary least, or those that vary most. */
export function chosen(images, latent, which) {
  const pixels = images[0].length;
  const variance = Array.from({ length: pixels }, (_, p) => {
    const mean = images.reduce((sum, image) => sum + image[p], 0) / images.length;
    return images.reduce((sum, image) => sum + (image[p] - mean) ** 2, 0);
  });
  const order = { first: () => 0, least: (a, b) => variance[a] - variance[b], most: (a, b) => variance[b] - variance[a] }[which];
  return Array.from({ length: pixels }, (_, p) => p).sort(order).slice(0, latent).sort((a, b) => a - b);
}

/** What the network makes of an image; into `hidden` and `output`. */
function passed(state, image, hidden, output) {
  const pixels = output.length, latent = hidden.length, biases = pixels * latent, back = biases + latent;
  for (let h = 0; h < latent; h++) {
    let sum = state[biases + h];
    for (let p = 0, at = h * pixels; p < pixels; p++) sum += state[at + p] * image[p];
    hidden[h] = sigmoid(sum);
  }
  for (let p = 0; p < pixels; p++) {
    let sum = state[back + pixels * latent + p];
    for (let h = 0, at = back + p * latent; h < latent; h++) sum += state[at + h] * hidden[h];
    output[p] = sigmoid(sum);
  }
}

/** The gradient of the mean squared error over a batch, into `gradient`; returns the error. */
export function descended(state, latent, batch, gradient) {
  const pixels = batch[0].length, biases = pixels * latent, back = biases + latent, last = back + biases;
  const hidden = new Float64Array(latent), output = new Float64Array(pixels), error = new Float64Array(latent);
  const scale = 2 / (batch.length * pixels);
  let total = 0;
  gradient.fill(0);
  for (const image of batch) {
    passed(state, image, hidden, output);
    error.fill(0);
    for (let p = 0; p < pixels; p++) {
      const off = output[p] - image[p], delta = scale * off * output[p] * (1 - output[p]);
      total += off * off;
      gradient[last + p] += delta;
      for (let h = 0, at = back + p * latent; h < latent; h++) {
        gradient[at + h] += delta * hidden[h];
        error[h] += delta * state[at + h];
      }
    }
    for (let h = 0; h < latent; h++) {
      const delta = error[h] * hidden[h] * (1 - hidden[h]);
      gradient[biases + h] += delta;
      for (let p = 0, at = h * pixels; p < pixels; p++) gradient[at + p] += delta * image[p];
    }
  }
  return (total * scale) / 2;
}

const squared = (state, pixels, columns) => columns.map((_, h) => columns.map((p) => state[h * pixels + p]));

/** Adds the gradient of -λ log|det W'|, which is -λ times the inverse of W' transposed. */
export function guided(state, pixels, columns, coefficient, gradient) {
  if (!coefficient) return;
  const { inverse } = inverted(squared(state, pixels, columns));
  columns.forEach((p, k) => columns.forEach((_, h) => (gradient[h * pixels + p] -= coefficient * inverse[k][h])));
}

/** Kingma and Ba's rule, with its usual rates of decay; a function that takes a step. */
export function adam(size, rate) {
  const mean = new Float64Array(size), square = new Float64Array(size);
  let count = 0;
  return (state, gradient) => {
    count++;
    const first = rate / (1 - 0.9 ** count), second = 1 / (1 - 0.999 ** count);
    for (let i = 0; i < size; i++) {
      mean[i] += 0.1 * (gradient[i] - mean[i]);
      square[i] += 0.001 * (gradient[i] ** 2 - square[i]);
      state[i] -= (first * mean[i]) / (Math.sqrt(square[i] * second) + 1e-8);
    }
  };
}

/** Each image's mean squared error, and what the network makes of it. */
export function judged(state, latent, images) {
  const hidden = new Float64Array(latent);
  return images.map((image) => {
    const output = new Float64Array(image.length);
    passed(state, image, hidden, output);
    return { error: output.reduce((sum, value, p) => sum + (value - image[p]) ** 2, 0) / image.length, output };
  });
}

/** Σ var(W'x') / Σ var(Wx) over hidden units, with W' the square part and x' its pixels: what it has of their signal. */
export function share(state, latent, images, columns) {
  const pixels = images[0].length, inside = new Set(columns), sums = [0, 0];
  for (let h = 0; h < latent; h++) {
    const moments = [[0, 0], [0, 0]];
    for (const image of images) {
      let part = 0, rest = 0;
      for (let p = 0, at = h * pixels; p < pixels; p++) {
        const term = state[at + p] * image[p];
        if (inside.has(p)) part += term;
        else rest += term;
      }
      [part, part + rest].forEach((signal, k) => ((moments[k][0] += signal), (moments[k][1] += signal * signal)));
    }
    moments.forEach(([sum, square], k) => (sums[k] += square / images.length - (sum / images.length) ** 2));
  }
  return sums[0] / sums[1];
}

/** The images from the one that differs most from the mean image in some pixels to the one that differs least. */
export function unusual(images, columns, train) {
  const mean = columns.map((p) => train.reduce((sum, image) => sum + image[p], 0) / train.length);
  const far = images.map((image) => columns.reduce((sum, p, k) => sum + (image[p] - mean[k]) ** 2, 0));
  return far.map((_, i) => i).sort((a, b) => far[b] - far[a]);
}

/** Where a run is stopped that has gone so many epochs without a better value; `late` where it has not. */
export function stopped(values, patience) {
  let best = Infinity, since = 0;
  for (const [k, value] of values.entries()) {
    if (value < best) [best, since] = [value, 0];
    else if (++since >= patience) return { epoch: k + 1, late: false };
  }
  return { epoch: values.length, late: true };
}

/** Trains networks of one start on the same batches, one for each λ; yields what each is worth, before training and after each epoch. */
export function* trained({ train, validation, test }, { latent, which, coefficients, rate, batch, horizon }, random) {
  const pixels = train[0].length, columns = chosen(train, latent, which);
  const start = initial(pixels, latent, random), gradient = new Float64Array(start.length);
  const networks = coefficients.map((coefficient) => ({ coefficient, state: start.slice(), step: adam(start.length, rate) }));
  const order = unusual(test, columns, train), tenth = Math.floor(test.length / 10);
  const shown = [...order.slice(0, 4), ...order.slice(-4)];
  const worth = ({ state }) => {
    const found = judged(state, latent, test), mean = (part) => part.reduce((sum, i) => sum + found[i].error, 0) / part.length;
    return {
      validation: judged(state, latent, validation).reduce((sum, { error }) => sum + error, 0) / validation.length,
      unusual: mean(order.slice(0, tenth)), others: mean(order.slice(tenth)),
      log: logDet(squared(state, pixels, columns)),
      share: share(state, latent, test, columns),
      pictures: shown.map((i) => found[i].output),
    };
  };
  const now = (epoch) => ({ epoch, columns, originals: shown.map((i) => test[i]), networks: networks.map(worth) });
  yield now(0);
  const places = train.map((_, i) => i);
  for (let epoch = 1; epoch <= horizon; epoch++) {
    for (let i = places.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [places[i], places[j]] = [places[j], places[i]];
    }
    for (let at = 0; at + batch <= places.length; at += batch) {
      const images = places.slice(at, at + batch).map((i) => train[i]);
      for (const { coefficient, state, step } of networks) {
        descended(state, latent, images, gradient);
        guided(state, pixels, columns, coefficient, gradient);
        step(state, gradient);
      }
    }
    yield now(epoch);
  }
}
