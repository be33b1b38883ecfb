// The chart of the live latency: percentiles on a logarithmic axis, and lookups a second below them.

import { count, measure, svg } from "./dom.js";
import { quantile, total } from "./metrics.js";

export const PERCENTILES = [
  ["p50", 0.5],
  ["p95", 0.95],
  ["p99", 0.99],
];

const LEFT = 56;
const RIGHT = 10;
const TOP = 14;
const RATE_HEIGHT = 40;
/** Below this width, only every other minute has a label. */
const NARROW = 420;

/** The smallest of 1, 2, 5, 10, 20, … that is at least `value`. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return [1, 2, 5, 10].map((step) => step * power).find((candidate) => candidate >= value);
}

/** The powers of ten that enclose the values and the range from 1 to 100, for a logarithmic axis. */
function decades(values) {
  const lowest = Math.floor(Math.log10(Math.min(1, ...values)));
  const highest = Math.ceil(Math.log10(Math.max(100, ...values)));
  return Array.from({ length: highest - lowest + 1 }, (_, i) => 10 ** (lowest + i));
}

function gridLine(y, label) {
  return [
    svg("line", { class: "grid", x1: LEFT, x2: "100%", y1: y, y2: y }),
    svg("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, label),
  ];
}

/** A path through points [x, y], interrupted at points with y = null. A single point is drawn as a dot. */
function path(points) {
  let pen = "M";
  return points
    .map(([x, y], i) => {
      if (y === null) {
        pen = "M";
        return "";
      }
      const alone = pen === "M" && (points[i + 1]?.[1] ?? null) === null;
      const step = `${pen}${x.toFixed(1)} ${y.toFixed(1)}${alone ? "h0.01" : ""}`;
      pen = "L";
      return step;
    })
    .join("");
}

/** Draws the intervals of the last `spanSeconds` before `now`, which is in milliseconds like the intervals' times. */
export function draw(element, intervals, now, spanSeconds) {
  const { clientWidth: width, clientHeight: height } = element;
  const rateBottom = height - 24;
  const latencyBottom = rateBottom - RATE_HEIGHT - 24;
  const milliseconds = intervals.map((interval) =>
    PERCENTILES.map(([, q]) => quantile(q, interval)).map((s) => s && s * 1000),
  );
  const rates = intervals.map((interval) => total(interval) / ((interval.to - interval.from) / 1000));
  const ticks = decades(milliseconds.flat().filter((value) => value));
  const busiest = roundUp(Math.max(0, ...rates));
  const x = (time) => LEFT + (width - LEFT - RIGHT) * (1 - (now - time) / 1000 / spanSeconds);
  const yLatency = (ms) => latencyBottom - (Math.log10(ms / ticks[0]) / (ticks.length - 1)) * (latencyBottom - TOP);
  const yRate = (rate) => rateBottom - (rate / busiest) * RATE_HEIGHT;

  const shapes = ticks.flatMap((tick) =>
    gridLine(yLatency(tick), tick < 1000 ? `${measure(tick)} ms` : `${tick / 1000} s`),
  );
  shapes.push(...gridLine(yRate(busiest), `${count(busiest)} /s`), ...gridLine(yRate(0), "0"));
  const minutes = spanSeconds / 60;
  for (let ago = minutes; ago >= 0; ago -= 1) {
    if (width < NARROW && ago % 2) continue;
    const anchor = ago === 0 ? "end" : ago === minutes ? "start" : "middle";
    shapes.push(
      svg("text", { x: x(now - ago * 60_000), y: height - 6, "text-anchor": anchor }, ago ? `−${ago} min` : "now"),
    );
  }
  intervals.forEach(({ from, to }, i) => {
    const left = Math.max(LEFT, x(from));
    const top = yRate(rates[i]);
    shapes.push(
      svg("rect", {
        class: "rate",
        x: left,
        y: top,
        width: Math.max(0.5, x(to) - left - 0.5),
        height: rateBottom - top,
      }),
    );
  });
  PERCENTILES.forEach(([name], which) => {
    const points = intervals.map(({ to }, i) => {
      const value = milliseconds[i][which];
      return [x(to), value ? yLatency(value) : null];
    });
    shapes.push(svg("path", { class: name, d: path(points) }));
  });
  element.setAttribute("viewBox", `0 0 ${width} ${height}`);
  element.querySelector("g").replaceChildren(...shapes);
}
