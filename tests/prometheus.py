"""A client of Prometheus's HTTP API."""

import httpx


class Prometheus:
    def __init__(self, url):
        self._http = httpx.Client(base_url=f"{url}/api/v1", timeout=10)

    def _get(self, path, **params):
        return self._http.get(path, params=params).raise_for_status().json()["data"]

    def targets(self):
        """Return the health of each scrape target, by job and instance."""
        targets = self._get("targets")["activeTargets"]
        return {(t["labels"]["job"], t["labels"]["instance"]): t["health"] for t in targets}

    def rules(self):
        """Return the health of each rule, by name."""
        return {rule["name"]: rule["health"] for group in self._get("rules")["groups"] for rule in group["rules"]}

    def query(self, expression):
        """Return the labels and the current value of each series of an expression."""
        answer = self._get("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in answer]
