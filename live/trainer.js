// Trains in a worker: in come images and settings, out goes what the networks are worth after each epoch.
import { chances } from "./measures.js";
import { trained } from "./training.js";

onmessage = ({ data: { images, settings, seed } }) => {
  for (const moment of trained(images, settings, chances(seed))) postMessage(moment);
};
