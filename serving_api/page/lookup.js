// The lookup form: the answer of one lookup, and its timing.

import { ask, Problem, serverTimings } from "./api.js";
import { $, facts, h, latency } from "./dom.js";
import { pieces } from "./json.js";

/** The labels of the metrics of Server-Timing. */
const LABELS = { total: "Time in the service", bigtable: "of which Bigtable" };

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
    throw new Problem(0, "Cannot be looked up here.", `Browsers remove "${entity}" from paths; use batchGet.`);
  }
  return `v1/models/${encodeURIComponent(model)}/predictions/${encodeURIComponent(entity)}`;
}

async function lookup() {
  try {
    const { response, text, milliseconds } = await ask(path($("model").value, $("entity").value));
    // The total is the last metric, and is shown first.
    const timings = serverTimings(response.headers.get("Server-Timing")).reverse();
    const durations = timings.map(([name, duration]) => [LABELS[name] ?? name, latency(duration)]);
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

/** A button that looks up an entity of a model. */
export function button(model, entity) {
  const made = h("button.plain", { type: "button" }, `Try ${entity}`);
  made.addEventListener("click", () => {
    $("model").value = model;
    $("entity").value = entity;
    $("lookup").requestSubmit();
    $("outcome").scrollIntoView({ block: "center" });
  });
  return h("p", made);
}

/** Connects the form to the service. */
export function start() {
  $("lookup").addEventListener("submit", async (event) => {
    event.preventDefault();
    $("lookup").setAttribute("aria-busy", "true");
    await lookup();
    $("lookup").removeAttribute("aria-busy");
  });
  for (const choice of document.querySelectorAll('input[name="view"]')) choice.addEventListener("change", show);
}

/** Offers models in the form, and keeps the one that is selected. */
export function offer(names) {
  const select = $("model");
  if (names.join() !== [...select.options].map((option) => option.value).join()) {
    const chosen = select.value;
    select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  }
  select.disabled = $("ask").disabled = names.length === 0;
}
