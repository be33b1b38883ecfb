# The alerts of monitoring/prometheus/alerts.yaml. Cloud Monitoring has no recording rules, so the expression of each
# recorded series replaces its name.

locals {
  monitoring = "${path.module}/../../../monitoring"

  rules = flatten([
    for group in yamldecode(file("${local.monitoring}/prometheus/alerts.yaml")).groups : group.rules
  ])

  # The expressions of the recording rules, with the labels that a rule adds.
  labelled = [
    for rule in local.rules : {
      name = rule.record
      expression = join("", concat(
        [for label in keys(try(rule.labels, {})) : "label_replace("],
        [rule.expr],
        [for label, value in try(rule.labels, {}) : ", \"${label}\", \"${value}\", \"\", \"\")"],
      ))
    } if can(rule.record)
  ]

  # Several rules may record series of the same name.
  recorded = {
    for name in distinct([for rule in local.labelled : rule.name]) : name =>
    "(${join(" or ", [for rule in local.labelled : rule.expression if rule.name == name])})"
  }

  recorded_name = "foreserve:[\\w:]+"

  alerts = {
    for rule in local.rules : rule.alert => {
      query = join("", [
        for part in regexall("${local.recorded_name}|(?s:.)", rule.expr) : lookup(local.recorded, part, part)
      ])
      seconds     = can(rule.for) ? tonumber(regex("^(\\d+)m$", rule.for)[0]) * 60 : 0
      severity    = rule.labels.severity
      description = rule.annotations.description
      runbook     = rule.annotations.runbook
    } if can(rule.alert)
  }
}

resource "google_monitoring_alert_policy" "rules" {
  for_each = local.alerts

  project               = var.project
  display_name          = each.key
  combiner              = "OR"
  severity              = each.value.severity == "page" ? "CRITICAL" : "WARNING"
  notification_channels = local.channels[each.value.severity]
  user_labels           = merge(var.labels, { severity = each.value.severity })

  conditions {
    display_name = each.key

    condition_prometheus_query_language {
      query                     = each.value.query
      duration                  = "${each.value.seconds}s"
      evaluation_interval       = "60s"
      alert_rule                = each.key
      disable_metric_validation = true # the metrics exist only after the first deployment
    }
  }

  documentation {
    subject   = each.key
    content   = "${each.value.description}\n\nWhat to do: ${each.value.runbook}"
    mime_type = "text/markdown"
  }
}
