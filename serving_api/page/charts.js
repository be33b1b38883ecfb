// Small charts of a model's versions, and a table with the same data.

import { h, svg } from "./dom.js";

const WIDTH = 320;
const HEIGHT = 96;
const LEFT = 8;
const TOP = 18;
const BOTTOM = HEIGHT - 8;
/** More versions than these do not fit beside one another. */
const MOST = 24;

/** A table with headings. The first cell of each row is its heading. */
export function table(label, head, rows) {
  const cells = (row) => row.map((cell, column) => (column ? h("td", cell) : h("th", { scope: "row" }, cell)));
  const headings = head.map((name) => h("th", { scope: "col" }, name));
  return h(
    "div.scroll",
    { tabIndex: 0, role: "region", "aria-label": label },
    h("table", h("thead", h("tr", ...headings)), h("tbody", ...rows.map((row) => h("tr", ...cells(row))))),
  );
}

function frame(label, ...shapes) {
  const chart = svg("svg", { class: "small", role: "img", "aria-label": label, viewBox: `0 0 ${WIDTH} ${HEIGHT}` });
  chart.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - LEFT, y1: BOTTOM, y2: BOTTOM }), ...shapes);
  return chart;
}

/**
 * A line for each series over the versions, from the oldest on, and the same data as a table. A missing value is null.
 * `series` has pairs of name and values, `limit` is a value that the last series should not exceed, or null, `format`
 * makes text of a value. Null if there are no values.
 */
export function overVersions(title, versions, series, limit, format) {
  const shown = versions.slice(-MOST);
  const lines = series.map(([name, values], i) => [name, values.slice(-MOST), ["p50", "p95", "p99"].at(i % 3)]);
  const numbers = lines.flatMap(([, values]) => values).filter((value) => value !== null);
  if (!numbers.length) return null;
  const top = Math.max(...numbers, limit ?? 0) || 1;
  const x = (i) => (shown.length === 1 ? WIDTH / 2 : LEFT + (i / (shown.length - 1)) * (WIDTH - 2 * LEFT));
  const y = (value) => BOTTOM - (value / top) * (BOTTOM - TOP);
  const shapes = lines.flatMap(([, values, kind]) => {
    const points = values.map((value, i) => [x(i), value]).filter(([, value]) => value !== null);
    const dots = points.map(([at, value]) => svg("circle", { class: kind, cx: at.toFixed(1), cy: y(value).toFixed(1), r: 3 }));
    const d = points.map(([at, value], i) => `${i ? "L" : "M"}${at.toFixed(1)} ${y(value).toFixed(1)}`).join("");
    return [svg("path", { class: kind, d }), ...dots];
  });
  if (limit !== null) {
    shapes.push(svg("line", { class: "limit", x1: LEFT, x2: WIDTH - LEFT, y1: y(limit), y2: y(limit) }));
  }
  shapes.push(svg("text", { x: LEFT, y: 11 }, limit === null ? format(top) : `Objective ${format(limit)}`));
  const newest = lines.map(([name, values]) => `${name} ${values.at(-1) === null ? "none" : format(values.at(-1))}`);
  const objective = limit === null ? "" : `, objective ${format(limit)}`;
  const label = `${title} over ${shown.length} versions; newest: ${newest.join(", ")}${objective}`;
  const rows = shown.map((name, i) => [name, ...lines.map(([, values]) => (values[i] === null ? "–" : format(values[i])))]);
  return h(
    "section",
    h("h4", title),
    frame(label, ...shapes),
    h("ul.legend", { "aria-hidden": "true" }, ...lines.map(([name, , kind]) => h(`li.${kind}`, name))),
    sameAsTable(title, ["Version", ...lines.map(([name]) => name)], rows.reverse()),
  );
}

/** The share of outcomes by predicted probability, beside the diagonal on which both are equal. */
export function calibration(bins, format) {
  const x = (share) => LEFT + share * (WIDTH - 2 * LEFT);
  const y = (share) => BOTTOM - share * (BOTTOM - TOP);
  const diagonal = svg("line", { class: "limit", x1: x(0), x2: x(1), y1: y(0), y2: y(1) });
  const dots = bins.map(({ predicted, observed }) => svg("circle", { class: "p99", cx: x(predicted), cy: y(observed), r: 3.5 }));
  const furthest = Math.max(...bins.map(({ predicted, observed }) => Math.abs(predicted - observed)));
  const label = `Calibration in ${bins.length} bins; predicted and observed differ by at most ${format(furthest)}`;
  const rows = bins.map(({ predicted, observed, outcomes }) => [format(predicted), format(observed), format(outcomes)]);
  return [
    frame(label, diagonal, ...dots, svg("text", { x: LEFT, y: 11 }, "Observed by predicted; on the line they are equal")),
    sameAsTable("Calibration", ["Predicted", "Observed", "Outcomes"], rows),
  ];
}

const sameAsTable = (title, head, rows) =>
  h("details", { "data-name": title }, h("summary", "The same data as a table"), table(`${title} as a table`, head, rows));
