// The live latency: reads /metrics periodically, and shows the difference between readings.

import { get, Problem } from "./api.js";
import { draw, PERCENTILES } from "./chart.js";
import { $, count, facts, h, latency, measure, say } from "./dom.js";
import { between, quantile, reading, together, total } from "./metrics.js";

const EVERY_MS = 2_000;
const SPAN_SECONDS = 300;
/** The longest interval that is shown. A longer one would average too much. */
const MAX_INTERVAL_MS = 5 * EVERY_MS;

let last = null;
let intervals = [];
let paused = false;

const quantiles = (interval) =>
  PERCENTILES.map(([name, q]) => {
    const seconds = quantile(q, interval);
    return [name, seconds === null ? "–" : latency(seconds * 1000)];
  });

const rate = (interval) =>
  interval.seconds ? measure(Math.round((10 * total(interval)) / interval.seconds) / 10) : "–";

function within(now, newest, oldest) {
  return together(intervals.filter(({ to }) => now - to >= newest * 1000 && now - to < oldest * 1000));
}

function show() {
  const now = last?.at ?? performance.now();
  const minute = within(now, 0, 60);
  const values = [["Lookups a second", rate(minute)], ...quantiles(minute)];
  $("now").replaceChildren(...facts(values));
  const busy = total(minute) > 0;
  const text = busy
    ? `In the last minute: ${values.map(([name, value]) => `${name} ${value}`).join(", ")}.`
    : "No lookups in the last minute.";
  say($("chart-text"), text);
  say(
    $("traffic"),
    busy ? `${count(total(minute))} lookups in the last minute, ${count(minute.failed)} failed.` : text,
  );
  const rows = Array.from({ length: SPAN_SECONDS / 60 }, (_, ago) => {
    const interval = within(now, ago * 60, ago * 60 + 60);
    const cells = [rate(interval), ...quantiles(interval).map(([, value]) => value), count(interval.failed)];
    return h("tr", h("th", { scope: "row" }, `${ago}–${ago + 1}`), ...cells.map((cell) => h("td", cell)));
  });
  $("minutes").tBodies[0].replaceChildren(...rows);
  draw($("chart"), intervals, now, SPAN_SECONDS);
}

async function read() {
  const text = await get("metrics");
  const next = reading(text, performance.now());
  const interval = last && next.at - last.at <= MAX_INTERVAL_MS ? between(last, next) : null;
  last = next;
  intervals = intervals.filter(({ to }) => next.at - to < SPAN_SECONDS * 1000);
  if (interval) intervals.push(interval);
  show();
}

async function tick() {
  try {
    if (!paused && !document.hidden) await read();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    say($("traffic"), `The metrics cannot be read: ${problem.message}`);
    if (problem.status === 401) return;
  }
  setTimeout(tick, EVERY_MS);
}

/** Starts to show the latency. It stops at an answer with status 401. */
export function start() {
  tick();
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", paused);
});
new ResizeObserver(show).observe($("chart"));
