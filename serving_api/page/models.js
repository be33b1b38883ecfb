// The models: which version is served, how it came about, and what was there before.

import { $, count, difference, facts, h, latency, measure, say, span } from "./dom.js";

const shown = new Map(); // by model: what was last shown of it, and its element

function time(version) {
  const iso = new Date(version).toISOString();
  return h("time", { dateTime: iso }, `${iso.slice(0, 19).replace("T", " ")} UTC`);
}

function table(label, head, rows) {
  const cells = (row) => row.map((cell, column) => (column ? h("td", cell) : h("th", { scope: "row" }, cell)));
  const headings = head.map((name) => h("th", { scope: "col" }, name));
  return h(
    "div.scroll",
    { tabIndex: 0, role: "region", "aria-label": label },
    h("table", h("thead", h("tr", ...headings)), h("tbody", ...rows.map((row) => h("tr", ...cells(row))))),
  );
}

const panel = (title, ...children) => h("section", h("h4", title), ...children);

/** How good the model is, in the words of ML.EVALUATE, and what the quality gate made of it. */
function quality(name, { metrics, quality_gate: gate, bigquery_model: predictor }) {
  const made = predictor ? h("p.quiet", "Predicted by ", h("code", predictor)) : null;
  if (!metrics) {
    return panel("Model quality", h("p", "No evaluation: the model of an earlier version was used again."), made);
  }
  const { candidate, champion } = metrics;
  const rows = Object.entries(candidate).map(([metric, value]) => {
    const before = champion?.[metric];
    const compared = before === undefined ? ["–", "–"] : [measure(before), difference(value - before)];
    return [metric, measure(value), ...(champion ? compared : [])];
  });
  const head = ["Metric", "New", ...(champion ? ["Before", "Change"] : [])];
  return panel("Model quality", gate ? verdict(gate) : null, table(`Metrics of ${name}`, head, rows), made);
}

function verdict({ accepted, reasons }) {
  const broken = reasons.join("; ");
  if (!accepted) return h("p", h("span.pill.bad", "Not accepted"), ` by the quality gate: ${broken}.`);
  return h("p", h("span.pill.good", "Accepted"), broken ? ` although ${broken}.` : " by the quality gate.");
}

/** How much of the version is new, as a bar and in numbers. */
function changes({ predictions, written, unchanged, tombstones }) {
  const parts = [
    ["written", "Written", written],
    ["unchanged", "Unchanged", unchanged],
    ["tombstones", "Removed", tombstones],
  ];
  const bar = h("div.bar", { "aria-hidden": "true" });
  for (const [kind, , number] of parts.filter(([, , number]) => number)) {
    const part = h(`span.${kind}`);
    part.style.flexGrow = number;
    bar.append(part);
  }
  const numbers = parts.map(([kind, name, number]) => h(`div.${kind}`, h("dt", name), h("dd", count(number))));
  return panel("Predictions", h("p.figure", count(predictions)), bar, h("dl.readouts.keyed", ...numbers));
}

/** What the smoke test measured before anyone was served from the version. */
function smokeTest({ requests, rate, errors, mismatches, p50_ms, p95_ms, p99_ms, max_ms, objective_p99_ms }) {
  const latencies = { p50: p50_ms, p95: p95_ms, p99: p99_ms, Slowest: max_ms };
  return panel(
    "Smoke test",
    h("dl.readouts.even", ...facts(Object.entries(latencies).map(([name, value]) => [name, latency(value)]))),
    h(
      "p.quiet",
      `${count(requests)} lookups, ${measure(rate)} a second, before anyone was served from this version: `,
      `${count(errors)} errors, ${count(mismatches)} wrong answers. `,
      `Objective: p99 at most ${measure(objective_p99_ms)} ms.`,
    ),
  );
}

function statusOf({ version, status }, { active_version: active, rollback_targets: targets }) {
  if (version === active) return h("span.pill.good", "served");
  const pill = h(status === "aborted" ? "span.pill.bad" : "span.pill", status);
  return targets.includes(version) ? h("span", pill, " can be rolled back to") : pill;
}

function history(model) {
  const rows = model.versions.map((version) => [
    time(version.version),
    statusOf(version, model),
    version.details.counts ? count(version.details.counts.predictions) : "–",
    version.receipt ? count(version.receipt.predictions) : "–",
    version.receipt ? count(version.receipt.tombstones) : "–",
    version.details.smoke_test ? latency(version.details.smoke_test.p99_ms) : "–",
  ]);
  const head = ["Version", "Status", "Predictions", "Written", "Removed", "Smoke test p99"];
  return h(
    "details",
    h("summary", `Version history (${rows.length})`),
    table(`Versions of ${model.model}`, head, rows),
  );
}

function served(model) {
  const active = model.versions.find(({ version }) => version === model.active_version);
  if (!active) {
    return [h("p", "No version has been promoted yet: lookups of this model are answered with 404.")];
  }
  const { details } = active;
  const version = [
    ["Served version", time(active.version)],
    ["Age", h("span.age")],
    ["Number", h("code", String(active.version))],
  ];
  return [
    h("dl.readouts", ...facts(version)),
    h(
      "div.panels",
      quality(model.model, details),
      details.counts ? changes(details.counts) : null,
      details.smoke_test ? smokeTest(details.smoke_test) : null,
    ),
  ];
}

function card(model) {
  const title = h("div.title", h("h3", model.model), h("p.quiet", `of entity type ${model.entity_type}`));
  return h("article.card", { "aria-label": model.model }, title, ...served(model), history(model));
}

/** Shows all models. Those that did not change are left alone, so that what is open stays open. */
export function show(models) {
  const cards = models.map((model) => {
    const known = JSON.stringify({ ...model, age_seconds: null });
    const before = shown.get(model.model);
    if (before?.known === known) return before.element;
    const element = card(model);
    element.querySelector("details").open = before?.element.querySelector("details").open ?? false;
    before?.element.replaceWith(element);
    shown.set(model.model, { known, element });
    return element;
  });
  const there = [...$("models").children];
  if (cards.length !== there.length || cards.some((element, i) => element !== there[i])) {
    $("models").replaceChildren(...cards);
  }
  models.forEach((model, i) => {
    if (model.active_version !== null) say(cards[i].querySelector(".age"), span(model.age_seconds));
  });
}
