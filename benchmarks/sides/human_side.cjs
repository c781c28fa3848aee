// human under Node and WebAssembly, its cache and interpolation off; never started by hand.
"use strict";

const path = require("path");
const { backend, files, packages, serve, software } = require("./lines.cjs");

// Which vertices of its mesh are told: those from which `mesh.py` makes iBUG's 68 points.
const vertices = files["mesh-vertices"];

async function open(variant) {
  const tf = await backend();
  const root = path.join(files.packages, "node_modules");
  const { Human } = packages(path.join(root, "@vladmandic/human/dist/human.node-wasm.js"));
  const [mode, most] = variant.split("@");
  const off = { enabled: false };
  const human = new Human({
    backend: "wasm",
    debug: false,
    modelBasePath: `file://${path.join(root, "@vladmandic/human/models")}/`,
    wasmPath: path.join(root, "@tensorflow/tfjs-backend-wasm/wasm-out/"),
    cacheSensitivity: 0,
    filter: off,
    gesture: off,
    body: off,
    hand: off,
    object: off,
    segmentation: off,
    face: {
      enabled: true,
      detector: { maxDetected: Number(most || 1), rotation: false, skipFrames: 0, skipTime: 0 },
      mesh: { enabled: mode !== "human_boxes" },
      iris: off,
      description: off,
      emotion: { enabled: mode === "human_all", skipFrames: 0, skipTime: 0 },
      antispoof: off,
      liveness: off,
    },
  });
  await human.load();
  return async (frame) => {
    const image = tf.tensor3d(new Int32Array(frame.rgb), [frame.height, frame.width, 3], "int32");
    const result = await human.detect(image);
    image.dispose();
    return result;
  };
}

function witness(result) {
  if (result.error) throw new Error(result.error);
  const each = result.face.map((face) => {
    const mesh = face.mesh.length >= 468 ? vertices.map((index) => face.mesh[index].slice(0, 2)) : null;
    const expression = face.emotion?.length
      ? Object.fromEntries(face.emotion.map((one) => [one.emotion, one.score]))
      : null;
    return { box: face.box, five: null, points: null, vertices: mesh, expression };
  });
  return { faces: each.length, each };
}

serve(open, witness, () => software("@vladmandic/human", "@tensorflow/tfjs"));
