# Rights of Dataflow's workers, which run exports and purges.

locals {
  workers = "serviceAccount:${var.workers}"
}

# Dataflow requires this role of a worker's account, on the project of the jobs.
resource "google_project_iam_member" "workers_dataflow" {
  project = var.project
  role    = "roles/dataflow.worker"
  member  = local.workers
}

# Reads staged code, and writes temporary files of the jobs.
resource "google_storage_bucket_iam_member" "workers_jobs" {
  bucket = var.jobs_bucket
  role   = "roles/storage.objectUser"
  member = local.workers
}

# Creates read sessions in the project. The next role names the dataset that they may read.
resource "google_project_iam_member" "workers_read_sessions" {
  project = var.project
  role    = "roles/bigquery.readSessionUser"
  member  = local.workers
}

# Reads the tables of changes.
resource "google_bigquery_dataset_iam_member" "workers_dataset" {
  project    = var.project
  dataset_id = var.dataset
  role       = "roles/bigquery.dataViewer"
  member     = local.workers
}

# The export writes cells of predictions, and the purge reads and deletes them.
resource "google_bigtable_table_iam_member" "workers_entities" {
  for_each = var.entity_tables

  project       = var.project
  instance_name = var.bigtable_instance
  table         = each.value
  role          = "roles/bigtable.user"
  member        = local.workers
}

# Writes receipts, and extends write leases.
resource "google_bigtable_table_iam_member" "workers_registry" {
  project       = var.project
  instance_name = var.bigtable_instance
  table         = var.registry_table
  role          = "roles/bigtable.user"
  member        = local.workers
}

# Pulls the workers' image.
resource "google_artifact_registry_repository_iam_member" "workers_images" {
  project    = var.project
  location   = var.region
  repository = var.repository
  role       = "roles/artifactregistry.reader"
  member     = local.workers
}
