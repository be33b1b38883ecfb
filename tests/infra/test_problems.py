"""infra/ has no undefined names and fits the provider's schema. A configuration with such a problem is reported."""

import re

import pytest

from tests.infra.configuration import Module
from tests.infra.evaluation import EXAMPLES, INFRA, MODULE, ROOT
from tests.infra.problems import problems

SCHEMA = {
    "google_bucket": {
        "attributes": {"name": "string!", "location": "string"},
        "computed": ["url"],
        "blocks": {
            "rule": {"required": False, "repeated": True, "attributes": {"age": "number!"}},
            "policy": {"required": True, "repeated": False, "attributes": {"days": "number"}, "computed": ["until"]},
        },
    }
}
SOUND = """
variable "name" {
  description = "Name."
  type        = string
}

locals {
  ages = { for key, age in { a = 1 } : key => age if age > 0 }
}

resource "google_bucket" "one" {
  name     = "${var.name}-one"
  location = google_bucket.two[0].policy[0].until

  dynamic "rule" {
    for_each = local.ages
    content {
      age = rule.value
    }
  }

  policy {}

  lifecycle {
    ignore_changes = [location, policy[0].days]
  }
}

resource "google_bucket" "two" {
  count = 1
  name  = upper(count.index)
  policy {}
}

module "child" {
  source = "./child"
  given  = google_bucket.one.url
}

output "all" {
  description = "All."
  value       = { name = module.child.name, ages = [for bucket in google_bucket.two : bucket.url] }
}
"""
CHILD = """
variable "given" {
  description = "Given."
  type        = string
}

variable "free" {
  description = "Free."
  type        = string
  default     = null
}

output "name" {
  description = "Name."
  value       = "${var.given}${var.free}"
}
"""


@pytest.fixture
def problems_of(tmp_path):
    def check(before="", after="", *, child=CHILD):
        assert before in SOUND
        (tmp_path / "main.tf").write_text(SOUND.replace(before, after, 1) if before else SOUND)
        (tmp_path / "child").mkdir()
        (tmp_path / "child" / "main.tf").write_text(child)
        return [problem.split(": ", 1)[1] for problem in problems(tmp_path, SCHEMA)]

    return check


@pytest.mark.parametrize("example", EXAMPLES)
def test_infra_has_no_problems(example, resource_schemas):
    assert problems(INFRA / "examples" / example, resource_schemas) == []


def test_the_recorded_schema_has_the_required_version_and_the_used_resources(resource_schemas):
    recorded = (ROOT / "tests/infra/provider_schema.json").read_text()
    version = tuple(map(int, re.search(r'"hashicorp/google (\d+)\.(\d+)\.\d+"', recorded).groups()))
    required = {
        found for file in INFRA.rglob("*.tf") for found in re.findall(r'"(>= [\d.]+, < \d+)"', file.read_text())
    }
    ((lowest, below),) = (re.fullmatch(r">= ([\d.]+), < (\d+)", one).groups() for one in required)
    assert tuple(map(int, lowest.split("."))) <= version < (int(below),)
    used = {block.labels[0] for block in Module.load(MODULE).of("resource").values()}
    assert resource_schemas.keys() == used


def test_a_sound_configuration_has_no_problems(problems_of):
    assert problems_of() == []


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("${var.name}", "${var.nane}", "resource.google_bucket.one: var.nane does not exist"),
        ("local.ages", "local.sizes", "resource.google_bucket.one: local.sizes does not exist"),
        ("google_bucket.one.url", "google_bucket.three.url", "module.child: google_bucket.three.url does not exist"),
        ("google_bucket.one.url", "google_bucket.one.uri", "module.child: google_bucket.one.uri does not exist"),
        (
            "policy[0].until",
            "policy[0].since",
            "resource.google_bucket.one: google_bucket.two.policy.since does not exist",
        ),
        ("module.child.name", "module.child.nane", "output.all: module.child.nane does not exist"),
        ("module.child.name", "module.parent.name", "output.all: module.parent.name does not exist"),
        ("bucket.url]", "bukket.url]", "output.all: bukket.url does not exist"),
        ("rule.value", "role.value", "resource.google_bucket.one: role.value does not exist"),
        ("count.index", "each.index", "resource.google_bucket.two: each.index does not exist"),
        ("if age > 0", "if aged > 0", "locals: aged does not exist"),
        (
            "policy[0].days]",
            "policy[0].hours]",
            "resource.google_bucket.one: policy.hours does not exist, and cannot be ignored",
        ),
        ("location =", "place =", "resource.google_bucket.one: unknown argument place; known: location, name"),
        ("age = rule", "old = rule", "resource.google_bucket.one.rule: unknown argument old; known: age"),
        ("name  = upper(count.index)", "", "resource.google_bucket.two: name is missing"),
        ("policy {}", "", "resource.google_bucket.one: policy is missing"),
        ("policy {}", "policy {}\n  policy {}", "resource.google_bucket.one: more than one block policy"),
        ("policy {}", "policy {}\n  rules {}", "resource.google_bucket.one: unknown block rules; known: policy, rule"),
        ("given  =", "taken =", "module.child: child has no input taken"),
        ("given  =", "free =", "module.child: child needs the input given"),
        ("./child", "./nowhere", "module.child: no module in ./nowhere"),
        ("  type        = string\n", "", "variable.name: it has no type"),
        ('description = "All."', "", "output.all: it has no description"),
        ("locals {", "locals {\n  spare = 1", "local.spare: nothing uses it"),
        (
            '"google_bucket" "two"',
            '"google_bukket" "two"',
            "resource.google_bukket.two: the recorded schema has no google_bukket: make infra-schema",
        ),
    ],
)
def test_finds(problems_of, before, after, problem):
    assert problem in problems_of(before, after)


def test_finds_what_is_wrong_in_a_module_that_is_called(problems_of):
    assert problems_of(child=CHILD.replace("${var.free}", "")) == ["variable.free: nothing uses it"]
