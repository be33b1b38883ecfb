# Monthly budget for all resources with a label.

resource "google_billing_budget" "label" {
  billing_account = var.billing_account
  display_name    = "${var.project}: ${var.label_key}=${var.label_value}"

  budget_filter {
    projects        = ["projects/${var.project}"]
    labels          = { (var.label_key) = var.label_value }
    calendar_period = "MONTH"
  }

  amount {
    specified_amount {
      currency_code = var.currency
      units         = tostring(var.monthly_amount)
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
    monitoring_notification_channels = var.notification_channels
    disable_default_iam_recipients   = length(var.notification_channels) > 0
  }
}
