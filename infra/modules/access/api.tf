# Rights of the lookup service and of its callers.

locals {
  api = "serviceAccount:${var.api}"
}

# Reads the tables. The role is on the instance, which has no other tables, because PingAndWarm needs a right on the
# instance. Without PingAndWarm, the first lookups of each connection are slow.
resource "google_bigtable_instance_iam_member" "api" {
  project  = var.project
  instance = var.bigtable_instance
  role     = "roles/bigtable.reader"
  member   = local.api
}

# The sidecar writes the service's metrics, which belong to the project.
resource "google_project_iam_member" "api_metrics" {
  project = var.project
  role    = "roles/monitoring.metricWriter"
  member  = local.api
}

# Applications that send lookups, and people who open the page.
resource "google_cloud_run_v2_service_iam_member" "callers" {
  for_each = var.api_callers

  project  = var.project
  location = var.region
  name     = var.api_service
  role     = "roles/run.invoker"
  member   = each.key
}
