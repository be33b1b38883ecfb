# Airflow's workers: they run the refreshes.

locals {
  airflow = "serviceAccount:${var.airflow}"
}

# What Composer wants of an environment's account, on the whole project; there is no smaller role for it.
resource "google_project_iam_member" "airflow_composer_worker" {
  count = var.composer ? 1 : 0

  project = var.project
  role    = "roles/composer.worker"
  member  = local.airflow
}

# Queries. Jobs are created in a project; listing and cancelling one's own takes no right of its own.
resource "google_project_iam_member" "airflow_bigquery_jobs" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = local.airflow
}

# Models and tables of refreshes: made, read, listed, and dropped when no servable version needs them.
resource "google_bigquery_dataset_iam_member" "airflow_dataset" {
  project    = var.project
  dataset_id = var.dataset
  role       = "roles/bigquery.dataEditor"
  member     = local.airflow
}

# Beyond the design's table: the data that pipelines learn from and predict on lie in other datasets.
resource "google_bigquery_dataset_iam_member" "airflow_sources" {
  for_each = var.source_datasets

  project    = split(".", each.key)[0]
  dataset_id = split(".", each.key)[1]
  role       = "roles/bigquery.dataViewer"
  member     = local.airflow
}

# Submitting jobs, following their state, counters and messages, and cancelling them. Dataflow's jobs are the project's.
resource "google_project_iam_member" "airflow_dataflow" {
  project = var.project
  role    = "roles/dataflow.developer"
  member  = local.airflow
}

# Jobs are submitted to run as this one account.
resource "google_service_account_iam_member" "airflow_as_workers" {
  service_account_id = "projects/${var.project}/serviceAccounts/${var.workers}"
  role               = "roles/iam.serviceAccountUser"
  member             = local.airflow
}

# Opening, promoting and rolling back versions are conditional writes.
resource "google_bigtable_table_iam_member" "airflow_registry" {
  project       = var.project
  instance_name = var.bigtable_instance
  table         = var.registry_table
  role          = "roles/bigtable.user"
  member        = local.airflow
}

# Beyond the design's table: wait_for_replication asks for a consistency token of the entity's table, and whether all
# clusters have reached it. Of the roles that may, this one alone reads no data.
resource "google_bigtable_table_iam_member" "airflow_entities" {
  for_each = var.entity_tables

  project       = var.project
  instance_name = var.bigtable_instance
  table         = each.value
  role          = "roles/bigtable.viewer"
  member        = local.airflow
}

# Beyond the design's table: submitting stages the pipeline and the code of its workers in the bucket of jobs.
resource "google_storage_bucket_iam_member" "airflow_jobs" {
  bucket = var.jobs_bucket
  role   = "roles/storage.objectUser"
  member = local.airflow
}

# Beam looks at the bucket itself before it does.
resource "google_storage_bucket_iam_member" "airflow_looks_at_jobs" {
  bucket = var.jobs_bucket
  role   = "roles/storage.legacyBucketReader"
  member = local.airflow
}

# Beyond the design's table: smoke tests leave their reports. They cannot read or replace any.
resource "google_storage_bucket_iam_member" "airflow_reports" {
  bucket = var.reports_bucket
  role   = "roles/storage.objectCreator"
  member = local.airflow
}

# Beyond the design's table: smoke tests and confirmations ask the lookup service.
resource "google_cloud_run_v2_service_iam_member" "airflow_api" {
  project  = var.project
  location = var.region
  name     = var.api_service
  role     = "roles/run.invoker"
  member   = local.airflow
}
