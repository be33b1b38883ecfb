// The lookup box: one prediction, as it came, and how long it took.

import { ask, Problem, serverTimings } from "./api.js";
import { $, facts, h, latency } from "./dom.js";
import { pieces } from "./json.js";

const NAMES = { total: "The service's own time", bigtable: "of it Bigtable" }; // of Server-Timing

let shown = "";

function show() {
  const formatted = document.querySelector('input[name="view"]:checked').value === "formatted";
  const parts = formatted ? [...pieces(shown)].map(([kind, text]) => h(`span.${kind}`, text)) : [shown];
  $("body").replaceChildren(...parts);
}

function outcome(kind, title, detail) {
  $("outcome").replaceChildren(h(`p.${kind}`, h("strong", title), ` ${detail}`));
  $("hint").hidden = true;
}

function path(model, entity) {
  if (entity === "." || entity === "..") {
    throw new Problem(0, "Cannot be asked for here.", `A browser drops "${entity}" from a path; use batchGet.`);
  }
  return `v1/models/${encodeURIComponent(model)}/predictions/${encodeURIComponent(entity)}`;
}

async function lookup() {
  try {
    const { response, text, milliseconds } = await ask(path($("model").value, $("entity").value));
    const timings = serverTimings(response.headers.get("Server-Timing")).reverse(); // the total, which is last, first
    const durations = timings.map(([name, duration]) => [NAMES[name] ?? name, latency(duration)]);
    $("timing").replaceChildren(...facts([["Measured in this browser", latency(milliseconds)], ...durations]));
    shown = text;
    show();
    $("answer").hidden = false;
    if (response.ok) {
      outcome("good", "Found.", "");
    } else {
      const problem = Problem.of(response, text);
      outcome(response.status === 404 ? "absent" : "bad", `${problem.title}.`, problem.message);
    }
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    $("answer").hidden = true;
    outcome("bad", problem.title, problem.message);
  }
}

/** Makes the lookup box work. */
export function start() {
  $("lookup").addEventListener("submit", async (event) => {
    event.preventDefault();
    $("lookup").setAttribute("aria-busy", "true");
    await lookup();
    $("lookup").removeAttribute("aria-busy");
  });
  for (const choice of document.querySelectorAll('input[name="view"]')) choice.addEventListener("change", show);
}

/** Offers models to look up, and keeps the one that was chosen. */
export function offer(names) {
  const select = $("model");
  if (names.join() !== [...select.options].map((option) => option.value).join()) {
    const chosen = select.value;
    select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  }
  select.disabled = $("ask").disabled = names.length === 0;
}
