# The lookup service, and who may ask it.

locals {
  api = "serviceAccount:${var.api}"
}

# On the instance, which has nothing but what the service reads, instead of on each table: connections are warmed by
# PingAndWarm, which is a right on the instance. Without it the service works, and answers the first lookups of each
# connection late.
resource "google_bigtable_instance_iam_member" "api" {
  project  = var.project
  instance = var.bigtable_instance
  role     = "roles/bigtable.reader"
  member   = local.api
}

# Beyond the design's table: the sidecar writes the service's metrics. They are the project's.
resource "google_project_iam_member" "api_metrics" {
  project = var.project
  role    = "roles/monitoring.metricWriter"
  member  = local.api
}

# Applications, and people who look at the page.
resource "google_cloud_run_v2_service_iam_member" "callers" {
  for_each = var.api_callers

  project  = var.project
  location = var.region
  name     = var.api_service
  role     = "roles/run.invoker"
  member   = each.key
}
