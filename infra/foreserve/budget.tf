# Monthly budget for the whole project: logs, metrics and network traffic have no labels.

resource "google_billing_budget" "project" {
  count = var.budget == null ? 0 : 1

  billing_account = var.budget.billing_account
  display_name    = "${local.project}: Foreserve"

  budget_filter {
    projects        = ["projects/${google_storage_bucket.jobs.project_number}"] # an id would be a difference for ever
    calendar_period = "MONTH"
  }

  amount {
    specified_amount {
      currency_code = var.budget.currency
      units         = tostring(var.budget.monthly_amount)
    }
  }

  threshold_rules {
    threshold_percent = 0.5
  }

  threshold_rules {
    threshold_percent = 1.0
  }

  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }

  all_updates_rule {
    monitoring_notification_channels = local.channels.ticket
    disable_default_iam_recipients   = length(local.channels.ticket) > 0
  }
}
