# Rights of Airflow's workers, which run the refreshes.

locals {
  airflow = "serviceAccount:${var.airflow}"
}

# Composer requires this role of an environment's account, on the project. No narrower role exists.
resource "google_project_iam_member" "airflow_composer_worker" {
  count = var.composer ? 1 : 0

  project = var.project
  role    = "roles/composer.worker"
  member  = local.airflow
}

# Creates query jobs in the project. An account may always list and cancel its own jobs.
resource "google_project_iam_member" "airflow_bigquery_jobs" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = local.airflow
}

# Creates, reads, lists and drops the BigQuery models and the tables of refreshes.
resource "google_bigquery_dataset_iam_member" "airflow_dataset" {
  project    = var.project
  dataset_id = var.dataset
  role       = "roles/bigquery.dataEditor"
  member     = local.airflow
}

# Reads the datasets that pipelines train and predict on.
resource "google_bigquery_dataset_iam_member" "airflow_sources" {
  for_each = var.source_datasets

  project    = split(".", each.key)[0]
  dataset_id = split(".", each.key)[1]
  role       = "roles/bigquery.dataViewer"
  member     = local.airflow
}

# Submits Dataflow jobs, reads their state, and cancels them. Jobs have no policy of their own, so this is on the
# project.
resource "google_project_iam_member" "airflow_dataflow" {
  project = var.project
  role    = "roles/dataflow.developer"
  member  = local.airflow
}

# Submits jobs that run as the account of Dataflow's workers.
resource "google_service_account_iam_member" "airflow_as_workers" {
  service_account_id = "projects/${var.project}/serviceAccounts/${var.workers}"
  role               = "roles/iam.serviceAccountUser"
  member             = local.airflow
}

# Opens, promotes and rolls back versions by conditional writes.
resource "google_bigtable_table_iam_member" "airflow_registry" {
  project       = var.project
  instance_name = var.bigtable_instance
  table         = var.registry_table
  role          = "roles/bigtable.user"
  member        = local.airflow
}

# Small exports and purges run in the task, and write and delete cells of predictions. The task wait_for_replication gets
# a consistency token of the table, and checks it.
resource "google_bigtable_table_iam_member" "airflow_entities" {
  for_each = var.entity_tables

  project       = var.project
  instance_name = var.bigtable_instance
  table         = each.value
  role          = "roles/bigtable.user"
  member        = local.airflow
}

# Small exports and purges create read sessions in the project. The role on the dataset names what they may read.
resource "google_project_iam_member" "airflow_read_sessions" {
  project = var.project
  role    = "roles/bigquery.readSessionUser"
  member  = local.airflow
}

# Stages each Beam pipeline and the code of its workers in the bucket of jobs.
resource "google_storage_bucket_iam_member" "airflow_jobs" {
  bucket = var.jobs_bucket
  role   = "roles/storage.objectUser"
  member = local.airflow
}

# Beam reads the metadata of the bucket before it stages files.
resource "google_storage_bucket_iam_member" "airflow_looks_at_jobs" {
  bucket = var.jobs_bucket
  role   = "roles/storage.legacyBucketReader"
  member = local.airflow
}

# Smoke tests write reports. This role cannot read or replace any.
resource "google_storage_bucket_iam_member" "airflow_reports" {
  bucket = var.reports_bucket
  role   = "roles/storage.objectCreator"
  member = local.airflow
}

# Smoke tests and confirmations send requests to the lookup service.
resource "google_cloud_run_v2_service_iam_member" "airflow_api" {
  project  = var.project
  location = var.region
  name     = var.api_service
  role     = "roles/run.invoker"
  member   = local.airflow
}
