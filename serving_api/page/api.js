// Requests to the service that sent this page.

const KEY = "foreserve-api-key";
const TIMEOUT_MS = 10_000;

/** A request that was not answered as wanted. `status` is the HTTP status, or 0 if there was no answer. */
export class Problem extends Error {
  constructor(status, title, detail) {
    super(detail);
    this.status = status;
    this.title = title;
  }

  /** The problem in an answer: its problem document (RFC 9457), or its status if it has none. */
  static of(response, text) {
    let document = {};
    try {
      document = JSON.parse(text) ?? {};
    } catch {
      // The answer may be the HTML page of a proxy. Its status must do.
    }
    const retry = response.headers.get("Retry-After");
    const detail = document.detail ?? `The service answered with HTTP ${response.status}.`;
    const title = document.title ?? (response.statusText || "Failed");
    return new Problem(response.status, title, retry ? `${detail} (Retry after ${retry} s.)` : detail);
  }
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

export const useKey = (key) => sessionStorage.setItem(KEY, key);

/**
 * Gets a path relative to this page. Returns the response, its body as text, and the milliseconds until its last byte.
 * Throws a Problem if there is no answer. A status of 401 dispatches the event `unauthorized` of the window.
 */
export async function ask(path) {
  const headers = hasKey() ? { "X-API-Key": sessionStorage.getItem(KEY) } : {};
  const started = performance.now();
  try {
    const response = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    const text = await response.text();
    const milliseconds = performance.now() - started;
    if (response.status === 401) window.dispatchEvent(new Event("unauthorized"));
    return { response, text, milliseconds };
  } catch (error) {
    const reason =
      error.name === "TimeoutError" ? `nothing arrived within ${TIMEOUT_MS / 1000} s` : "it cannot be reached";
    throw new Problem(0, "No answer", `The service did not answer: ${reason}.`);
  }
}

/** Gets the body of a path. Throws a Problem if the status is not a success. */
export async function get(path) {
  const { response, text } = await ask(path);
  if (!response.ok) throw Problem.of(response, text);
  return text;
}

/** The metrics of a `Server-Timing` header, as pairs of name and milliseconds in their order. */
export function serverTimings(header) {
  const durations = (header ?? "").split(",").map((metric) => {
    const [name, ...parameters] = metric.split(";").map((part) => part.trim());
    const duration = parameters.find((parameter) => parameter.startsWith("dur="));
    return [name, Number.parseFloat(duration?.slice(4))];
  });
  return durations.filter(([name, milliseconds]) => name && Number.isFinite(milliseconds));
}
