# Temporary files of Dataflow jobs. Deleted files cannot be restored (no soft delete), because nobody needs them.
resource "google_storage_bucket" "jobs" {
  project                     = var.project
  name                        = "${var.project}-${var.name}-jobs"
  location                    = var.location
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
  project                     = var.project
  name                        = "${var.project}-${var.name}-reports"
  location                    = var.location
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
