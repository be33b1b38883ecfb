# Dataflow's workers: they run exports and purges.

locals {
  workers = "serviceAccount:${var.workers}"
}

# What Dataflow wants of a worker's account, on the project, whose jobs they take their work from.
resource "google_project_iam_member" "workers_dataflow" {
  project = var.project
  role    = "roles/dataflow.worker"
  member  = local.workers
}

# Beyond the design's table: temporary files of the jobs, and the code that was staged for them.
resource "google_storage_bucket_iam_member" "workers_jobs" {
  bucket = var.jobs_bucket
  role   = "roles/storage.objectUser"
  member = local.workers
}

# Read sessions are created in a project; which table they may read is said by the next right.
resource "google_project_iam_member" "workers_read_sessions" {
  project = var.project
  role    = "roles/bigquery.readSessionUser"
  member  = local.workers
}

# Tables of changes.
resource "google_bigquery_dataset_iam_member" "workers_dataset" {
  project    = var.project
  dataset_id = var.dataset
  role       = "roles/bigquery.dataViewer"
  member     = local.workers
}

# Cells of predictions: written by the export, found and deleted by the purge.
resource "google_bigtable_table_iam_member" "workers_entities" {
  for_each = var.entity_tables

  project       = var.project
  instance_name = var.bigtable_instance
  table         = each.value
  role          = "roles/bigtable.user"
  member        = local.workers
}

# Leases to write, and receipts.
resource "google_bigtable_table_iam_member" "workers_registry" {
  project       = var.project
  instance_name = var.bigtable_instance
  table         = var.registry_table
  role          = "roles/bigtable.user"
  member        = local.workers
}

# Beyond the design's table: the workers' image is pulled by them.
resource "google_artifact_registry_repository_iam_member" "workers_images" {
  project    = var.project
  location   = var.region
  repository = var.repository
  role       = "roles/artifactregistry.reader"
  member     = local.workers
}
