# Cloud Run logs the URL of every request, and the URL of a lookup contains the entity id. At thousands of lookups per
# second, this log would also be the largest part of the bill. Requests that were refused or failed stay in the log:
# Cloud Run itself may have answered them, and then no other log has them.
resource "google_logging_project_exclusion" "requests" {
  project     = var.project
  name        = "${var.name}-requests"
  description = "Answered requests of ${var.name}: their URLs contain entity ids"

  filter = join(" AND ", [
    "logName=\"projects/${var.project}/logs/run.googleapis.com%2Frequests\"",
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=\"${var.name}\"",
    "(httpRequest.status<400 OR httpRequest.status=404)", # 404: the entity has no prediction
  ])
}
