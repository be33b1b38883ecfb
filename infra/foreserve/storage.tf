# The dataset, the buckets and the images.

# BigQuery models, predictions and changes. Nothing in the dataset expires: refreshes drop the models and tables that no
# version needs any more.
resource "google_bigquery_dataset" "refreshes" {
  project                    = local.project
  dataset_id                 = replace(var.name, "-", "_")
  location                   = var.bigquery_location
  description                = "Foreserve: models, predictions and changes, by version"
  delete_contents_on_destroy = !var.deletion_protection
}

# Temporary files of Dataflow jobs. Deleted files cannot be restored (no soft delete), because nobody needs them.
resource "google_storage_bucket" "jobs" {
  project                     = local.project
  name                        = "${var.project}-${var.name}-jobs"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  soft_delete_policy {
    retention_duration_seconds = 0
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      age = 7
    }
  }
}

# Latency reports of smoke tests, for people. They contain entity ids.
resource "google_storage_bucket" "reports" {
  project                     = local.project
  name                        = "${var.project}-${var.name}-reports"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      age = var.report_days
    }
  }
}

# The images of the lookup service and of Dataflow's workers. A revision and the DAGs name their image by digest, however
# old it is, so no cleanup policy deletes images. Images share their layers: one more costs what it changes.
resource "google_artifact_registry_repository" "images" {
  project       = local.project
  location      = var.region
  repository_id = var.name
  description   = "Foreserve: images of the lookup service and of Dataflow's workers"
  format        = "DOCKER"
}
