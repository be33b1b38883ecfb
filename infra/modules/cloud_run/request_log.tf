# Cloud Run logs the URL of every request, and a lookup's has the entity's id in it. At thousands of lookups a second,
# the log would also be the largest part of the bill. What was refused or failed stays in it: Cloud Run may have answered
# that itself, and then nothing else says so.
resource "google_logging_project_exclusion" "requests" {
  project     = var.project
  name        = "${var.name}-requests"
  description = "Requests that ${var.name} answered: their URLs have ids"

  filter = join(" AND ", [
    "logName=\"projects/${var.project}/logs/run.googleapis.com%2Frequests\"",
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=\"${var.name}\"",
    "(httpRequest.status<400 OR httpRequest.status=404)", # 404: there is no prediction, which is an answer
  ])
}
