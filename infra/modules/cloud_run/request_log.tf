# Cloud Run logs the URL of every request, and a look-up's has the entity's id in it. The service itself logs what
# failed, without ids, and has metrics of all. At thousands of look-ups a second, the log would also be the largest part
# of the bill.
resource "google_logging_project_exclusion" "requests" {
  project     = var.project
  name        = "${var.name}-requests"
  description = "Requests to ${var.name}: their URLs have ids"

  filter = join(" AND ", [
    "logName=\"projects/${var.project}/logs/run.googleapis.com%2Frequests\"",
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=\"${var.name}\"",
  ])
}
