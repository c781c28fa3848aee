// Notes for each picture of the service's page when the camera took it, when it came and when it was painted.
//
// The page reads a result with JSON.parse, begins to decode its picture in the same turn, and draws it later:
// so the newest result belongs to the next bitmap. Painted: the first turn after the rendering step in which
// the picture was drawn, the animation frame's callback being called before that step.
(() => {
  "use strict";
  const parse = JSON.parse, decode = window.createImageBitmap, draw = CanvasRenderingContext2D.prototype.drawImage;
  const taken = new WeakMap(), seen = [];
  let newest = null;
  window.takeSeen = () => seen.splice(0);
  JSON.parse = function (...given) {
    const value = parse.apply(this, given);
    if (value && value.schema === "edgeface.frame/1" && value.stream) {
      newest = [value.timestamp_ns, value.stream.age_ns, value.stream.number, value.faces.length, performance.now()];
    }
    return value;
  };
  window.createImageBitmap = function (...given) {
    const result = newest;
    newest = null;
    return decode.apply(window, given).then((bitmap) => {
      if (result) taken.set(bitmap, result);
      return bitmap;
    });
  };
  CanvasRenderingContext2D.prototype.drawImage = function (...given) {
    draw.apply(this, given);
    const result = this.canvas.id === "view" && taken.get(given[0]);
    if (!result) return;
    taken.delete(given[0]);
    requestAnimationFrame(() => {
      const after = new MessageChannel();
      after.port1.onmessage = () => {
        seen.push([...result, performance.now()]);
        after.port1.close();
      };
      after.port2.postMessage(0);
    });
  };
})();
