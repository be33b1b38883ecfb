# The alerts of monitoring/prometheus/alerts.yaml. Cloud Monitoring has no recording rules, so the expression of each
# recorded series replaces its name.

locals {
  monitoring = "${path.module}/../../monitoring"

  # Cloud Monitoring evaluates a query over all services of a project, or of several. The collector writes the name of
  # the service as the label `namespace`, so each selector gets that label: first those with braces, then those without.
  own = "namespace=\"${google_cloud_run_v2_service.api.name}\""

  rules = [
    for rule in flatten(yamldecode(file("${local.monitoring}/prometheus/alerts.yaml")).groups[*].rules) :
    merge(rule, { expr = replace(
      replace(rule.expr, "/\\b(foreserve_\\w+)\\{/", "$1{${local.own},"),
      "/\\b(foreserve_\\w+)([^\\w{]|$)/", "$1{${local.own}}$2",
    ) })
  ]

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

  project               = local.project
  display_name          = "${google_cloud_run_v2_service.api.name}: ${each.key}"
  enabled               = var.live || each.key != "ForeserveGone" # until the first deployment, no instance is there
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
    subject   = "${google_cloud_run_v2_service.api.name}: ${each.key}"
    content   = "${each.value.description}\n\nWhat to do: ${var.documents}${each.value.runbook}"
    mime_type = "text/markdown"
  }
}

# Notification channels by severity. page: act now. ticket: act on a working day.

locals {
  emails = merge([
    for severity, addresses in var.alert_emails : {
      for address in addresses : "${severity}/${address}" => { severity = severity, address = address }
    }
  ]...)

  channels = {
    for severity in ["page", "ticket"] : severity => concat(
      var.alert_channels[severity],
      [for key, channel in google_monitoring_notification_channel.emails : channel.id if startswith(key, severity)],
    )
  }
}

resource "google_monitoring_notification_channel" "emails" {
  for_each = local.emails

  project      = local.project
  display_name = "Foreserve: ${each.value.severity} to ${each.value.address}"
  type         = "email"
  labels       = { email_address = each.value.address }
  user_labels  = var.labels
}
