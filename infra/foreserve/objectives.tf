# Service level objectives over 28 days: errors, latency, and the age of the active version (freshness).
#
# The rules in alerts.tf alert on the burn rates of errors and latency, for requests that reach the service. The
# objective of errors also counts requests that Cloud Run itself refused. This file has the alerts on the burn rate of
# freshness.
#
# Cloud Monitoring refuses an objective on a metric that it has not received yet. The metrics of latency and freshness
# exist once a first version is active, so var.live is false until then.

locals {
  # Filters of the series from the collector, and of those from Cloud Run.
  prefix = "prometheus.googleapis.com/foreserve"
  series = "resource.type=\"prometheus_target\" resource.labels.namespace=\"${google_cloud_run_v2_service.api.name}\""

  requests = "metric.type=\"run.googleapis.com/request_count\" resource.type=\"cloud_run_revision\" ${local.service}"
  service  = "resource.labels.service_name=\"${google_cloud_run_v2_service.api.name}\""
  lookups  = "metric.labels.route=\"/v1/models/{model}/predictions/{entity_id}\""

  # The largest ages of active versions in days, from the pipelines. Without max_age_hours, it is the default of the DAGs.
  days = { for pipeline in local.pipelines : pipeline.model => try(pipeline.max_age_hours, 36) / 24 }

  models_with_objectives = toset(var.live ? local.pipelines[*].model : [])

  # The share of five-minute windows in which the active version is young enough.
  freshness_goal = 0.99

  burn_rates = {
    Fast   = { factor = 14.4, period = "3600s", confirmed_by = "300s", severity = "page", gone_in = "two days" }
    Slowly = { factor = 6, period = "21600s", confirmed_by = "1800s", severity = "ticket", gone_in = "five days" }
  }

  freshness_alerts = merge([
    for model in local.models_with_objectives : {
      for name, rate in local.burn_rates : "${model}/${name}" => merge(rate, { model = model, name = name })
    }
  ]...)
}

resource "google_monitoring_custom_service" "foreserve" {
  project      = local.project
  service_id   = google_cloud_run_v2_service.api.name
  display_name = "Foreserve: ${google_cloud_run_v2_service.api.name}"
  user_labels  = var.labels
}

resource "google_monitoring_slo" "errors" {
  project             = local.project
  service             = google_monitoring_custom_service.foreserve.service_id
  slo_id              = "errors"
  display_name        = "99.9 % of requests without a server error"
  goal                = 0.999
  rolling_period_days = 28
  user_labels         = var.labels

  request_based_sli {
    good_total_ratio {
      total_service_filter = local.requests
      bad_service_filter   = "${local.requests} metric.labels.response_code_class=\"5xx\""
    }
  }
}

resource "google_monitoring_slo" "latency" {
  count = var.live ? 1 : 0

  project             = local.project
  service             = google_monitoring_custom_service.foreserve.service_id
  slo_id              = "latency"
  display_name        = "99 % of lookups within 100 ms"
  goal                = 0.99
  rolling_period_days = 28
  user_labels         = var.labels

  request_based_sli {
    distribution_cut {
      distribution_filter = "metric.type=\"${local.prefix}_request_seconds/histogram\" ${local.series} ${local.lookups}"

      range {
        max = 0.1
      }
    }
  }
}

resource "google_monitoring_slo" "freshness" {
  for_each = local.models_with_objectives

  project             = local.project
  service             = google_monitoring_custom_service.foreserve.service_id
  slo_id              = "freshness-${replace(each.key, "_", "-")}"
  display_name        = "${100 * local.freshness_goal} % of the time, ${each.key} is younger than ${local.days[each.key]} days"
  goal                = local.freshness_goal
  rolling_period_days = 28
  user_labels         = var.labels

  windows_based_sli {
    window_period = "300s"

    metric_mean_in_range {
      time_series = "metric.type=\"${local.prefix}_active_version_age_seconds/gauge\" ${local.series} metric.labels.model=\"${each.key}\""

      range {
        max = local.days[each.key] * 86400
      }
    }
  }
}

resource "google_monitoring_alert_policy" "freshness" {
  for_each = local.freshness_alerts

  project               = local.project
  display_name          = "${google_cloud_run_v2_service.api.name}: ForeserveFreshnessBurns${each.value.name}: ${each.value.model}"
  combiner              = "AND"
  severity              = each.value.severity == "page" ? "CRITICAL" : "WARNING"
  notification_channels = local.channels[each.value.severity]
  user_labels           = merge(var.labels, { severity = each.value.severity })

  dynamic "conditions" {
    for_each = [each.value.period, each.value.confirmed_by]

    content {
      display_name = "over ${conditions.value}"

      condition_threshold {
        filter          = "select_slo_burn_rate(\"${google_monitoring_slo.freshness[each.value.model].name}\", \"${conditions.value}\")"
        comparison      = "COMPARISON_GT"
        threshold_value = each.value.factor
        duration        = "0s"
      }
    }
  }

  documentation {
    subject   = "Predictions of ${each.value.model} are old"
    content   = "At this rate, a month's budget is used up in ${each.value.gone_in}.\n\nWhat to do: ${var.documents}docs/runbook.md#foreservepredictionsold"
    mime_type = "text/markdown"
  }
}
