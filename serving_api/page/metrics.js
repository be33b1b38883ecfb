// The latency histogram of lookups, from readings of /metrics in the Prometheus text format.

const BUCKET = /^foreserve_request_seconds_bucket\{(.*)\} (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Parses a reading: the number of lookups since the start by upper limit in seconds, and of those that failed. */
export function reading(text, at) {
  const buckets = new Map();
  let failed = 0;
  for (const line of text.split("\n")) {
    const match = BUCKET.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...match[1].matchAll(LABEL)].map(([, name, value]) => [name, value]));
    // Requests of the page itself and of probes do not count.
    if (!labels.route?.includes("/predictions")) continue;
    const limit = labels.le === "+Inf" ? Infinity : Number(labels.le);
    buckets.set(limit, (buckets.get(limit) ?? 0) + Number(match[2]));
    if (limit === Infinity && labels.status >= "500") failed += Number(match[2]);
  }
  return { at, buckets, failed };
}

/** The number of lookups in a reading or interval. */
export const total = ({ buckets }) => buckets.get(Infinity) ?? 0;

/** The interval between two readings; null if they are of different processes, whose counters are unrelated. */
export function between(earlier, later) {
  const buckets = new Map();
  for (const [limit, number] of later.buckets) buckets.set(limit, number - (earlier.buckets.get(limit) ?? 0));
  if ([...buckets.values()].some((number) => number < 0) || total(later) < total(earlier)) return null;
  return { from: earlier.at, to: later.at, buckets, failed: later.failed - earlier.failed };
}

/** The sum of several intervals. */
export function together(intervals) {
  const buckets = new Map();
  for (const interval of intervals) {
    for (const [limit, number] of interval.buckets) buckets.set(limit, (buckets.get(limit) ?? 0) + number);
  }
  return {
    seconds: intervals.reduce((sum, { from, to }) => sum + (to - from) / 1000, 0),
    buckets,
    failed: intervals.reduce((sum, { failed }) => sum + failed, 0),
  };
}

/**
 * A quantile of the latency in seconds; null without lookups. It is interpolated linearly within a bucket, and is the
 * largest finite limit if it is above that, like Prometheus's histogram_quantile.
 */
export function quantile(q, { buckets }) {
  const sorted = [...buckets].sort(([a], [b]) => a - b);
  const rank = q * (buckets.get(Infinity) ?? 0);
  if (!rank) return null;
  let [lower, below] = [0, 0];
  for (const [upper, count] of sorted) {
    if (count >= rank) return upper === Infinity ? lower : lower + ((upper - lower) * (rank - below)) / (count - below);
    [lower, below] = [upper, count];
  }
  return lower;
}
