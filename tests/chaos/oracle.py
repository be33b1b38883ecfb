"""The judge of a campaign: it compares every answer of the service with the predictions of the versions."""

import math
import sys
import time
from collections import Counter

PROBLEMS = {
    503: ("Store unavailable", "Registry unavailable", "Model unavailable", "Overloaded", "Not ready"),
    504: ("Deadline exceeded",),
}
VIOLATIONS_SHOWN = 10
ROUNDING = 0.001  # seconds, of the age that the service tells


def say(text):
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


class Oracle:
    """The predictions of each version; judges answers. Thread-safe.

    An answer may be as old as the service's knowledge of the registry. The service tells its age in `/readyz`. So
    nothing here depends on the poll interval, on slow reads of the registry, or on the load of this machine.
    """

    def __init__(self):
        self.snapshots = {}  # {version: {entity id: prediction}}, of all versions that were ever computed
        self.activated = {}  # {version: when it may have become active first}
        self._went_back = 0.0  # when the active version may have gone back last
        self._unsettled = set()  # the steps that may take it back at any time
        self.known_at = 0.0  # answers that are asked for from now on know the registry as of this time, or later
        self.largest_age = 0.0  # the longest time in seconds that the service did not know of a change
        self.behind = []  # [start, end] of the times in which a replica may answer with an older registry
        self.is_lost = False  # Bigtable has lost cells or has an old registry, and no refresh has succeeded since
        self.losses = 0
        self.is_disturbed = False  # the service is stopped or paused
        self.disturbed_until = 0.0
        self.violations = []
        self.answers = Counter()

    def violate(self, text):
        self.violations.append(text)
        if len(self.violations) <= VIOLATIONS_SHOWN:
            say(f"VIOLATION: {text}")

    @property
    def went_back(self):
        """The time at which the active version may have gone back last; infinite while that may come at any time."""
        return math.inf if self._unsettled else self._went_back

    def go_back(self, step=None):
        """Note that the active version may go back now, or by a step at any time until that is settled."""
        if step:
            self._unsettled.add(step)
        self._went_back = time.monotonic()

    def settle(self, *steps):
        """Note that steps were made, or can no longer be made, as a later write has changed the revision."""
        self._went_back = time.monotonic()
        self._unsettled.difference_update(steps)

    def learn(self, asked, age):
        """Take the service's age of its knowledge, in seconds, in an answer that was asked for at a time."""
        known_at = asked - age - ROUNDING
        if not any(start <= known_at <= end for start, end in self.behind):
            self.known_at = max(self.known_at, known_at)
        self.largest_age = max(self.largest_age, asked - self.known_at)

    def may_be_gone(self, entity, seen, since):
        """Return True if an entity may have no prediction in a version that may be active now."""
        recent = [version for version, at in self.activated.items() if at > since or version == seen]
        return self.is_lost or self.went_back > since or any(entity not in self.snapshots[v] for v in recent)

    def judge_silence(self, asked, error):
        """Judge a request without an answer, which is wrong unless the service was killed or paused."""
        self.answers["no answer"] += 1
        if not self.is_disturbed and asked > self.disturbed_until:
            self.violate(f"no answer: {error!r}")

    def judge(self, entities, answer, seen, since):
        """Judge an answer; return its version.

        Args:
            entities: the ids that were looked up.
            answer: the response.
            seen: the version of the last answer of this reader; 0 if there was none.
            since: `known_at` when the last answer was asked for.
        """
        self.answers[answer.status_code] += 1
        body = answer.json()
        if answer.status_code in PROBLEMS and body["title"] in PROBLEMS[answer.status_code]:
            return None
        if answer.status_code == 404:
            is_unknown = body["title"] not in ("No prediction", "Not found")
            if not self.is_lost and (is_unknown or not self.may_be_gone(entities[0], seen, since)):
                self.violate(f"404 for {entities}: {body}")
            return None
        if answer.status_code != 200:
            self.violate(f"{answer.status_code}: {answer.text:.300}")
            return None
        version = body["version"]
        found = body["predictions"] if "predictions" in body else {entities[0]: body["prediction"]}
        if version not in self.activated:
            self.violate(f"{version} was never active")
            return version
        if found.keys() != set(entities):
            self.violate(f"asked for {entities}, the answer has {sorted(found)}")
        snapshot = self.snapshots[version]
        wrong = {e: v for e, v in found.items() if v != snapshot.get(e) and not (v is None and self.is_lost)}
        if wrong:
            expected = {entity: snapshot.get(entity) for entity in wrong}
            self.violate(f"version {version} predicted {expected}, the answer is {wrong}")
        # Instances ignore an old registry until its next writer makes its revision a new one.
        if version < seen and self.went_back <= since and not self.is_lost:
            self.violate(f"{version} was answered after {seen} without a rollback")
        return version
