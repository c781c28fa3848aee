// What the sides under Node share: the same lines as `lines.py`, one JSON object each, over stdin and stdout.
"use strict";

const fs = require("fs");
const path = require("path");
const { createRequire } = require("module");

// Library and model files of a side: process.argv[2] is JSON, as every side of `benchmarks.peers` gets it.
const files = JSON.parse(process.argv[2] || "{}");
const packages = createRequire(path.join(files.packages, "package.json"));

// TensorFlow.js under WebAssembly, one thread, its binaries from the package: nothing is fetched.
async function backend() {
  // Node has a fetch of its own that refuses files; the libraries load their models with it.
  globalThis.fetch = async (name) => {
    const body = fs.readFileSync(String(name).replace(/^file:\/\//, ""));
    const bytes = body.buffer.slice(body.byteOffset, body.byteOffset + body.length);
    return {
      ok: true,
      status: 200,
      headers: new Headers(),
      json: async () => JSON.parse(body.toString()),
      text: async () => body.toString(),
      arrayBuffer: async () => bytes,
    };
  };
  const tf = packages("@tensorflow/tfjs");
  const wasm = packages("@tensorflow/tfjs-backend-wasm");
  wasm.setWasmPaths(path.join(files.packages, "node_modules/@tensorflow/tfjs-backend-wasm/wasm-out/"));
  wasm.setThreadsCount(1);
  await tf.setBackend("wasm");
  await tf.ready();
  return tf;
}

function version(name) {
  const folder = path.join(files.packages, "node_modules", name, "package.json");
  return JSON.parse(fs.readFileSync(folder)).version;
}

function software(name, ...others) {
  const libraries = Object.fromEntries(others.map((other) => [other, version(other)]));
  return { version: version(name), node: process.version, libraries };
}

function memory() {
  const status = fs.readFileSync("/proc/self/status", "ascii");
  const of = (field) => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)[1]) * 1024;
  return { peak: of("VmHWM"), now: of("VmRSS") };
}

// Bytes of stdin: a line, or as many as a frame has. Blocking, so that nothing else runs while a call is timed.
function readExactly(length) {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const count = readSome(bytes, at, length - at);
    if (count === 0) return null;
    at += count;
  }
  return bytes;
}

function readSome(bytes, at, length) {
  for (;;) {
    try {
      return fs.readSync(0, bytes, at, length, null);
    } catch (error) {
      if (error.code === "EOF") return 0;
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

function readLine() {
  const parts = [];
  for (;;) {
    const byte = readExactly(1);
    if (byte === null) return null;
    if (byte[0] === 10) return Buffer.concat(parts).toString();
    parts.push(byte);
  }
}

// Answers until stdin ends. `open(variant)` gives an async call of a frame {width, height, rgb}; `witness`
// puts its result into plain JSON for the checks.
async function serve(open, witness, about) {
  for (const level of ["log", "info", "debug", "warn"]) console[level] = console.error;
  const variants = {};
  let frame = null;
  for (let line = readLine(); line !== null; line = readLine()) {
    const request = JSON.parse(line);
    let answer = {};
    if (request.do === "frame") {
      const { width, height } = request;
      frame = { width, height, rgb: readExactly(width * height * 3) };
    } else if (request.do === "calls") {
      variants[request.variant] ??= await open(request.variant);
      const call = variants[request.variant];
      for (let number = 0; number < request.warm_up; number++) await call(frame);
      const times = [];
      let result = null;
      for (let number = 0; number < request.calls; number++) {
        const begin = process.hrtime.bigint();
        result = await call(frame);
        times.push(Number(process.hrtime.bigint() - begin));
      }
      // The same clock as every other process's monotonic one.
      answer = { times_ns: times, clock_ns: Number(process.hrtime.bigint()), seen: witness(result) };
    } else if (request.do === "memory") {
      answer = memory();
    } else {
      answer = about();
    }
    fs.writeSync(1, JSON.stringify(answer) + "\n");
  }
}

module.exports = { backend, files, packages, serve, software };
