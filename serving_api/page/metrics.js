// The latency histogram of the lookups, out of readings of /metrics (the Prometheus text format).

const BUCKET = /^foreserve_request_seconds_bucket\{(.*)\} (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** What one reading says of all lookups since the service started: how many took at most so many seconds; failures. */
export function reading(text, at) {
  const buckets = new Map();
  let failed = 0;
  for (const line of text.split("\n")) {
    const match = BUCKET.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...match[1].matchAll(LABEL)].map(([, name, value]) => [name, value]));
    if (!labels.route?.includes("/predictions")) continue; // the page's own requests, and probes
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    buckets.set(bound, (buckets.get(bound) ?? 0) + Number(match[2]));
    if (bound === Infinity && labels.status >= "500") failed += Number(match[2]);
  }
  return { at, buckets, failed };
}

/** How many lookups a reading or interval has. */
export const total = ({ buckets }) => buckets.get(Infinity) ?? 0;

/** What happened between two readings; null if they are of different processes, whose counters are unrelated. */
export function between(earlier, later) {
  const buckets = new Map();
  for (const [bound, number] of later.buckets) buckets.set(bound, number - (earlier.buckets.get(bound) ?? 0));
  if ([...buckets.values()].some((number) => number < 0) || total(later) < total(earlier)) return null;
  return { from: earlier.at, to: later.at, buckets, failed: later.failed - earlier.failed };
}

/** Several intervals as one. */
export function together(intervals) {
  const buckets = new Map();
  for (const interval of intervals) {
    for (const [bound, number] of interval.buckets) buckets.set(bound, (buckets.get(bound) ?? 0) + number);
  }
  return {
    seconds: intervals.reduce((sum, { from, to }) => sum + (to - from) / 1000, 0),
    buckets,
    failed: intervals.reduce((sum, { failed }) => sum + failed, 0),
  };
}

/**
 * A quantile of the latency in seconds; null without lookups. Linear within a bucket, and the last finite bound above
 * it, as Prometheus's histogram_quantile.
 */
export function quantile(q, { buckets }) {
  const sorted = [...buckets].sort(([a], [b]) => a - b);
  const rank = q * (buckets.get(Infinity) ?? 0);
  if (!rank) return null;
  let [lower, below] = [0, 0];
  for (const [upper, upTo] of sorted) {
    if (upTo >= rank) return upper === Infinity ? lower : lower + ((upper - lower) * (rank - below)) / (upTo - below);
    [lower, below] = [upper, upTo];
  }
  return lower;
}
