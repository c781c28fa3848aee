// face-api under Node and WebAssembly: tiny detector, 68 points, expression; never started by hand.
"use strict";

const path = require("path");
const { backend, files, packages, serve, software } = require("./lines.cjs");

async function open(variant) {
  const tf = await backend();
  const api = packages("@vladmandic/face-api/dist/face-api.node-wasm.js");
  const models = path.join(files.packages, "node_modules/@vladmandic/face-api/model");
  await api.nets.tinyFaceDetector.loadFromDisk(models);
  const points = !variant.startsWith("faceapi_boxes");
  const expression = variant.startsWith("faceapi_all");
  if (points) await api.nets.faceLandmark68Net.loadFromDisk(models);
  if (expression) await api.nets.faceExpressionNet.loadFromDisk(models);
  const options = new api.TinyFaceDetectorOptions({ inputSize: 416, scoreThreshold: 0.5 });
  return async (frame) => {
    const image = tf.tensor3d(new Int32Array(frame.rgb), [frame.height, frame.width, 3], "int32");
    let found = api.detectAllFaces(image, options);
    if (points) found = found.withFaceLandmarks();
    if (expression) found = found.withFaceExpressions();
    const result = await found;
    image.dispose();
    return result;
  };
}

function witness(found) {
  const each = found.map((face) => {
    const box = (face.detection || face).box;
    const points = face.landmarks ? face.landmarks.positions.map((point) => [point.x, point.y]) : null;
    const expression = face.expressions ? { ...face.expressions } : null;
    return { box: [box.x, box.y, box.width, box.height], five: null, points, expression };
  });
  return { faces: each.length, each };
}

serve(open, witness, () => software("@vladmandic/face-api", "@tensorflow/tfjs"));
