// The models: the active version of each, the details of its refresh, and the history of versions.

import { calibration, overVersions, table } from "./charts.js";
import { $, count, difference, facts, h, latency, measure, say, span } from "./dom.js";

/** The last shown state of a model and its element, by model. */
const shown = new Map();

function time(version) {
  const iso = new Date(version).toISOString();
  return h("time", { dateTime: iso }, `${iso.slice(0, 19).replace("T", " ")} UTC`);
}

const panel = (title, ...children) => h("section", h("h4", title), ...children);

/** The metrics of ML.EVALUATE, and the decision of the quality gate. */
function quality(name, { metrics, quality_gate: gate, bigquery_model: predictor }) {
  const made = predictor ? h("p.quiet", "Predicted by ", h("code", predictor)) : null;
  if (!metrics) {
    const reused = h("p", "No evaluation: the BigQuery model of an earlier version was used again.");
    return panel("Model quality", reused, made);
  }
  const { candidate, champion } = metrics;
  const rows = Object.entries(candidate).map(([metric, value]) => {
    const before = champion?.[metric];
    const isComparable = Number.isFinite(value) && Number.isFinite(before);
    const compared = [measure(before), isComparable ? difference(value - before) : "–"];
    return [metric, measure(value), ...(champion ? compared : [])];
  });
  const head = ["Metric", "Candidate", ...(champion ? ["Champion", "Change"] : [])];
  return panel("Model quality", gate ? verdict(gate) : null, table(`Metrics of ${name}`, head, rows), made);
}

function verdict({ accepted, reasons }) {
  const broken = reasons.join("; ");
  if (!accepted) return h("p", h("span.pill.bad", "Not accepted"), ` by the quality gate: ${broken}.`);
  return h("p", h("span.pill.good", "Accepted"), broken ? ` although ${broken}.` : " by the quality gate.");
}

/** The numbers of written, unchanged and removed predictions, as a bar and as text. */
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

/** The results of the smoke test. */
function smokeTest({ requests, rate, errors, mismatches, p50_ms, p95_ms, p99_ms, max_ms, objective_p99_ms }) {
  const latencies = { p50: p50_ms, p95: p95_ms, p99: p99_ms, Slowest: max_ms };
  return panel(
    "Smoke test",
    h("dl.readouts.even", ...facts(Object.entries(latencies).map(([name, value]) => [name, latency(value)]))),
    h(
      "p.quiet",
      `${count(requests)} lookups, ${measure(rate)} a second, before this version was promoted: `,
      `${count(errors)} errors, ${count(mismatches)} wrong answers. `,
      `Objective: p99 at most ${measure(objective_p99_ms)} ms.`,
    ),
  );
}

/** The live metrics of the newest version that has any, beside those on held-out rows. */
function liveQuality({ versions }) {
  const measured = versions.find(({ details }) => details.live);
  if (!measured) return null;
  const { outcomes, metrics, held_out: heldOut, breaches, calibration: bins, first_observed_at: first, last_observed_at: last } =
    measured.details.live;
  const rows = Object.entries(metrics).map(([metric, value]) => {
    const before = heldOut[metric];
    const isComparable = Number.isFinite(value) && Number.isFinite(before);
    return [metric, measure(value), measure(before), isComparable ? difference(value - before) : "–"];
  });
  const verdict = breaches.length
    ? h("p", h("span.pill.bad", "Parted"), ` from the rules of the quality gate: ${breaches.join("; ")}.`)
    : h("p", h("span.pill.good", "Holds"), " No rule of the quality gate is broken.");
  return panel(
    "Live quality",
    verdict,
    table("Live metrics", ["Metric", "Live", "Held out", "Change"], rows),
    h("p.quiet", `${count(outcomes)} outcomes of `, h("code", String(measured.version)), `, which readers had ${period(first, last)}.`),
    ...(bins.length ? calibration(bins, measure) : []),
  );
}

function period(first, last) {
  const [from, to] = [first, last].map((iso) => iso.slice(0, 10));
  return from === to ? `on ${from}` : `from ${from} to ${to}`;
}

/** The charts of the versions: age at the end of their service, drift, and smoke test. */
function trends({ versions: newestFirst, active_version: active, max_age_seconds: maxAge }) {
  const versions = newestFirst.toReversed();
  const names = versions.map(({ created_at: at }) => at.slice(0, 16).replace("T", " "));
  const of = (list, get) => list.map((version) => get(version) ?? null);
  const served = versions.filter(({ served }) => served.length);
  const drifts = [...new Set(versions.flatMap(({ details }) => Object.keys(details.measures ?? {})))].filter((name) =>
    name.startsWith("psi_"),
  );
  const percentiles = ["p50", "p95", "p99"].map((name) => [
    name,
    of(versions, ({ details }) => details.smoke_test?.[`${name}_ms`]),
  ]);
  const objective = newestFirst.find(({ details }) => details.smoke_test)?.details.smoke_test.objective_p99_ms ?? null;
  const replaced = served.filter(({ version }) => version !== active);
  const ageAtEnd = ({ version, served: [...intervals] }) => (Date.parse(intervals.at(-1).until) - version) / 1000;
  return [
    overVersions(
      "Age when replaced",
      replaced.map(({ created_at: at }) => at.slice(0, 16).replace("T", " ")),
      [["age", of(replaced, ageAtEnd)]],
      maxAge,
      span,
    ),
    overVersions(
      "Drift (population stability index)",
      names,
      drifts.map((name) => [name.slice(4), of(versions, ({ details }) => details.measures?.[name])]),
      null,
      measure,
    ),
    overVersions("Smoke test latency", names, percentiles, objective, latency),
  ];
}

/** The reason why a version ended: who or what ended it, and why. */
function ending({ ended, rollback }) {
  if (!ended) return null;
  const isRollback = ended.kind === "rolled_back";
  const author = ended.by ?? (isRollback ? rollback?.by : ended.task);
  const what = isRollback ? "rolled back" : ended.kind.replace("_", " ");
  return h("p.quiet", `${what}${author ? ` by ${author}` : ""}: ${ended.reason || "no reason was given"}`);
}

function statusOf({ version, status, details }, { active_version: active, rollback_targets: back, forward_targets: forward }) {
  if (version === active) return h("span.pill.good", "active");
  const pill = h(status === "aborted" ? "span.pill.bad" : "span.pill", status);
  const target = back.includes(version) ? " can be rolled back to" : forward.includes(version) ? " can be promoted" : "";
  return h("span", pill, target, ending(details));
}

/** A link to the Airflow run that made a version. */
function runLink({ run, version }) {
  if (!/^https?:/.test(run ?? "")) return "–";
  return h("a", { href: run, target: "_blank", rel: "noopener noreferrer", "aria-label": `Run of ${version}` }, "run");
}

function history(model, action) {
  const rows = model.versions.map((version) => [
    h("span", h("code", String(version.version)), h("p.quiet", time(version.version))),
    h("div.actions", statusOf(version, model), ...action(model, version)),
    version.details.counts ? count(version.details.counts.predictions) : "–",
    version.receipt ? count(version.receipt.predictions) : "–",
    version.receipt ? count(version.receipt.tombstones) : "–",
    version.details.smoke_test ? latency(version.details.smoke_test.p99_ms) : "–",
    runLink(version),
  ]);
  const head = ["Version", "Status", "Predictions", "Written", "Removed", "Smoke test p99", "Airflow"];
  return h(
    "details",
    { "data-name": "history" },
    h("summary", `Version history (${rows.length})`),
    table(`Versions of ${model.model}`, head, rows),
  );
}

function activeVersion(model) {
  const active = model.versions.find(({ version }) => version === model.active_version);
  if (!active) {
    return [h("p", "No version has been promoted yet: lookups of this model are answered with 404.")];
  }
  const { details } = active;
  const { promotion } = details;
  const version = [
    ["Active version", time(active.version)],
    ["Age", h("span", h("span.age"), h("span.quiet", ` of at most ${span(model.max_age_seconds)}`))],
    ["Number", h("code", String(active.version))],
    ...(promotion ? [["Promoted by", promotion.why ? `${promotion.by}: ${promotion.why}` : promotion.by]] : []),
  ];
  return [
    h("dl.readouts", ...facts(version)),
    h(
      "div.panels",
      quality(model.model, details),
      details.counts ? changes(details.counts) : null,
      details.smoke_test ? smokeTest(details.smoke_test) : null,
      ...trends(model),
      liveQuality(model),
    ),
  ];
}

/** The first of the details of this name, from the newest version on. */
const newest = (model, name) => model.versions.find(({ details }) => details[name])?.details[name];

function card(model, action, tryId) {
  const title = h("div.title", h("h3", model.model), h("p.quiet", `of entity type ${model.entity_type}`));
  const description = newest(model, "description");
  const example = model.active_version === null ? undefined : newest(model, "example");
  return h(
    "article.card",
    { "aria-label": model.model },
    title,
    description ? h("p", description) : null,
    tryId && example !== undefined ? tryId(model.model, example) : null,
    ...activeVersion(model),
    history(model, action),
  );
}

/**
 * Shows all models. The elements of models that did not change are kept, so that open details stay open.
 * `action` returns elements for a model and one of its versions; `tryId` returns one for a model and an entity id.
 */
export function show(models, action = () => [], tryId = null) {
  const cards = models.map((model) => {
    const known = JSON.stringify({ ...model, age_seconds: null });
    const before = shown.get(model.model);
    if (before?.known === known) return before.element;
    const element = card(model, action, tryId);
    for (const details of element.querySelectorAll("details")) {
      details.open = before?.element.querySelector(`details[data-name="${details.dataset.name}"]`)?.open ?? false;
    }
    before?.element.replaceWith(element);
    shown.set(model.model, { known, element });
    return element;
  });
  const current = [...$("models").children];
  if (cards.length !== current.length || cards.some((element, i) => element !== current[i])) {
    $("models").replaceChildren(...cards);
  }
  models.forEach((model, i) => {
    if (model.active_version !== null) say(cards[i].querySelector(".age"), span(model.age_seconds));
  });
}
