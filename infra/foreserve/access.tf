# Every right, with its reason. ../README.md has the table.

locals {
  airflow = "serviceAccount:${local.airflow_account}"
  workers = "serviceAccount:${google_service_account.workers.email}"
  api     = "serviceAccount:${google_service_account.api.email}"
}

# --- Airflow's workers, which run the refreshes

# Composer requires this role of an environment's account, on the project. No narrower role exists.
resource "google_project_iam_member" "airflow_composer_worker" {
  count = var.existing_airflow == null ? 1 : 0

  project = local.project
  role    = "roles/composer.worker"
  member  = local.airflow
}

# Creates query jobs in the project. An account may always list and cancel its own jobs.
resource "google_project_iam_member" "airflow_bigquery_jobs" {
  project = local.project
  role    = "roles/bigquery.jobUser"
  member  = local.airflow
}

# Creates, reads, lists and drops the BigQuery models and the tables of refreshes.
resource "google_bigquery_dataset_iam_member" "airflow_dataset" {
  project    = local.project
  dataset_id = google_bigquery_dataset.refreshes.dataset_id
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
  project = local.project
  role    = "roles/dataflow.developer"
  member  = local.airflow
}

# Submits jobs that run as the account of Dataflow's workers.
resource "google_service_account_iam_member" "airflow_as_workers" {
  service_account_id = google_service_account.workers.name
  role               = "roles/iam.serviceAccountUser"
  member             = local.airflow
}

# Opens, promotes and rolls back versions by conditional writes.
resource "google_bigtable_table_iam_member" "airflow_registry" {
  project       = local.project
  instance_name = google_bigtable_instance.predictions.name
  table         = google_bigtable_table.tables[local.registry_table].name
  role          = "roles/bigtable.user"
  member        = local.airflow
}

# Small exports and purges run in the task, and write and delete cells of predictions. The task wait_for_replication gets
# a consistency token of the table, and checks it.
resource "google_bigtable_table_iam_member" "airflow_entities" {
  for_each = local.entity_tables

  project       = local.project
  instance_name = google_bigtable_instance.predictions.name
  table         = google_bigtable_table.tables[each.key].name
  role          = "roles/bigtable.user"
  member        = local.airflow
}

# Small exports and purges create read sessions in the project. The role on the dataset names what they may read.
resource "google_project_iam_member" "airflow_read_sessions" {
  project = local.project
  role    = "roles/bigquery.readSessionUser"
  member  = local.airflow
}

# Stages each Beam pipeline and the code of its workers in the bucket of jobs.
resource "google_storage_bucket_iam_member" "airflow_jobs" {
  bucket = google_storage_bucket.jobs.name
  role   = "roles/storage.objectUser"
  member = local.airflow
}

# Beam reads the metadata of the bucket before it stages files.
resource "google_storage_bucket_iam_member" "airflow_looks_at_jobs" {
  bucket = google_storage_bucket.jobs.name
  role   = "roles/storage.legacyBucketReader"
  member = local.airflow
}

# Smoke tests write reports. This role cannot read or replace any.
resource "google_storage_bucket_iam_member" "airflow_reports" {
  bucket = google_storage_bucket.reports.name
  role   = "roles/storage.objectCreator"
  member = local.airflow
}

# Smoke tests and confirmations send requests to the lookup service.
resource "google_cloud_run_v2_service_iam_member" "airflow_api" {
  project  = local.project
  location = var.region
  name     = google_cloud_run_v2_service.api.name
  role     = "roles/run.invoker"
  member   = local.airflow
}

# Reads passwords of connections, if Airflow's secrets backend is on.
resource "google_secret_manager_secret_iam_member" "airflow" {
  for_each = var.airflow_secrets

  project   = local.project
  secret_id = each.key
  role      = "roles/secretmanager.secretAccessor"
  member    = local.airflow
}

# --- Dataflow's workers, which run exports and purges

# Dataflow requires this role of a worker's account, on the project of the jobs. The role lets its holder create files
# in every bucket, such as a DAG in Composer's, which the condition prevents. Cloud Storage knows resource attributes,
# Dataflow does not (https://cloud.google.com/iam/docs/conditions-resource-attributes); not verified in a project.
resource "google_project_iam_member" "workers_dataflow" {
  project = local.project
  role    = "roles/dataflow.worker"
  member  = local.workers

  condition {
    title       = "no bucket but that of the jobs"
    description = "Roles on buckets grant the rest"
    expression = join(" || ", [
      "(resource.type != \"storage.googleapis.com/Bucket\" && resource.type != \"storage.googleapis.com/Object\")",
      "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.jobs.name}\")",
    ])
  }
}

# Reads staged code, and writes temporary files of the jobs.
resource "google_storage_bucket_iam_member" "workers_jobs" {
  bucket = google_storage_bucket.jobs.name
  role   = "roles/storage.objectUser"
  member = local.workers
}

# Creates read sessions in the project. The next role names the dataset that they may read.
resource "google_project_iam_member" "workers_read_sessions" {
  project = local.project
  role    = "roles/bigquery.readSessionUser"
  member  = local.workers
}

# Reads the tables of changes.
resource "google_bigquery_dataset_iam_member" "workers_dataset" {
  project    = local.project
  dataset_id = google_bigquery_dataset.refreshes.dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = local.workers
}

# The export writes cells of predictions, and the purge reads and deletes them.
resource "google_bigtable_table_iam_member" "workers_entities" {
  for_each = local.entity_tables

  project       = local.project
  instance_name = google_bigtable_instance.predictions.name
  table         = google_bigtable_table.tables[each.key].name
  role          = "roles/bigtable.user"
  member        = local.workers
}

# Writes receipts, and extends write leases.
resource "google_bigtable_table_iam_member" "workers_registry" {
  project       = local.project
  instance_name = google_bigtable_instance.predictions.name
  table         = google_bigtable_table.tables[local.registry_table].name
  role          = "roles/bigtable.user"
  member        = local.workers
}

# Pulls the workers' image.
resource "google_artifact_registry_repository_iam_member" "workers_images" {
  project    = local.project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = local.workers
}

# --- The lookup service and its callers

# Reads the tables. The role is on the instance, which has no other tables, because PingAndWarm needs a right on the
# instance. Without PingAndWarm, the first lookups of each connection are slow.
resource "google_bigtable_instance_iam_member" "api" {
  project  = local.project
  instance = google_bigtable_instance.predictions.name
  role     = "roles/bigtable.reader"
  member   = local.api
}

# The sidecar writes the service's metrics, which belong to the project. Its README also names roles/logging.logWriter,
# but its built-in configuration (confgenerator/testdata/builtin of run-gmp-sidecar) has pipelines of metrics only.
resource "google_project_iam_member" "api_metrics" {
  project = local.project
  role    = "roles/monitoring.metricWriter"
  member  = local.api
}

# Reads the callers file.
resource "google_secret_manager_secret_iam_member" "api_callers" {
  count = var.api.callers_secret == null ? 0 : 1

  project   = local.project
  secret_id = var.api.callers_secret
  role      = "roles/secretmanager.secretAccessor"
  member    = local.api
}

# Applications that send lookups, and people who open the page. A deployer tests a revision before it gets traffic.
resource "google_cloud_run_v2_service_iam_member" "callers" {
  for_each = setunion(var.api.callers, var.deployers)

  project  = local.project
  location = var.region
  name     = google_cloud_run_v2_service.api.name
  role     = "roles/run.invoker"
  member   = each.key
}

# --- People who read latency reports, which name entities

# Opens the links of smoke tests.
resource "google_storage_bucket_iam_member" "report_readers" {
  for_each = var.report_readers

  bucket = google_storage_bucket.reports.name
  role   = "roles/storage.objectViewer"
  member = each.key
}

# --- Deployers: accounts that run `make deploy`. Their rights do not suffice for Terraform.

# Pushes images.
resource "google_artifact_registry_repository_iam_member" "deployers_images" {
  for_each = var.deployers

  project    = local.project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = each.key
}

# Starts revisions of the lookup service, and moves its traffic.
resource "google_cloud_run_v2_service_iam_member" "deployers_api" {
  for_each = var.deployers

  project  = local.project
  location = var.region
  name     = google_cloud_run_v2_service.api.name
  role     = "roles/run.developer"
  member   = each.key
}

# A revision runs as the account of the service, which a deployer must be allowed to use.
resource "google_service_account_iam_member" "deployers_as_api" {
  for_each = var.deployers

  service_account_id = google_service_account.api.name
  role               = "roles/iam.serviceAccountUser"
  member             = each.key
}

# Rights on things without a policy of their own: gcloud waits for operations of Cloud Run, a deployment lists the
# packages of the Airflow environment, and watches errors and latency of the new revision.
resource "google_project_iam_custom_role" "deployer" {
  project     = local.project
  role_id     = "${replace(var.name, "-", "_")}_deployer"
  title       = "Foreserve deployer (${var.name})"
  description = "Rights of make deploy that no role on a single resource has"

  permissions = [
    "composer.environments.executeAirflowCommand",
    "composer.environments.get",
    "monitoring.timeSeries.list",
    "run.operations.get",
  ]
}

# Grants these rights.
resource "google_project_iam_member" "deployers" {
  for_each = var.deployers

  project = local.project
  role    = google_project_iam_custom_role.deployer.name
  member  = each.key
}

# Writes DAGs and plugins.
resource "google_storage_bucket_iam_member" "deployers_dags" {
  for_each = { for pair in setproduct(keys(google_composer_environment.airflow), var.deployers) : join(" ", pair) => pair }

  bucket = split("/", google_composer_environment.airflow[each.value[0]].config[0].dag_gcs_prefix)[2]
  role   = "roles/storage.objectUser"
  member = each.value[1]
}
