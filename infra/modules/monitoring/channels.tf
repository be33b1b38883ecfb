# Notification channels by severity. page: act now. ticket: act on a working day.

locals {
  emails = merge([
    for severity, addresses in var.emails : {
      for address in addresses : "${severity}/${address}" => { severity = severity, address = address }
    }
  ]...)

  channels = {
    for severity in ["page", "ticket"] : severity => concat(
      var.channels[severity],
      [for key, channel in google_monitoring_notification_channel.emails : channel.id if startswith(key, severity)],
    )
  }
}

resource "google_monitoring_notification_channel" "emails" {
  for_each = local.emails

  project      = var.project
  display_name = "Foreserve: ${each.value.severity} to ${each.value.address}"
  type         = "email"
  labels       = { email_address = each.value.address }
  user_labels  = var.labels
}
