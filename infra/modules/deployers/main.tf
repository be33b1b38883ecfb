# Rights of accounts that run `make deploy`. They do not suffice for Terraform.

# Pushes images.
resource "google_artifact_registry_repository_iam_member" "images" {
  for_each = var.deployers

  project    = var.project
  location   = var.region
  repository = var.repository
  role       = "roles/artifactregistry.writer"
  member     = each.key
}

# Starts revisions of the lookup service, and moves its traffic.
resource "google_cloud_run_v2_service_iam_member" "api" {
  for_each = var.deployers

  project  = var.project
  location = var.region
  name     = var.api_service
  role     = "roles/run.developer"
  member   = each.key
}

# A revision runs as the account of the service, which a deployer must be allowed to use.
resource "google_service_account_iam_member" "as_api" {
  for_each = var.deployers

  service_account_id = "projects/${var.project}/serviceAccounts/${var.api}"
  role               = "roles/iam.serviceAccountUser"
  member             = each.key
}

# Composer requires the same right to update packages and variables of the environment.
resource "google_service_account_iam_member" "as_airflow" {
  for_each = var.composer ? var.deployers : []

  service_account_id = "projects/${var.project}/serviceAccounts/${var.airflow}"
  role               = "roles/iam.serviceAccountUser"
  member             = each.key
}

# Updates the Airflow environment. Composer has no roles on single environments, so this is on the project.
resource "google_project_iam_member" "composer" {
  for_each = var.composer ? var.deployers : []

  project = var.project
  role    = "roles/composer.admin"
  member  = each.key
}

# Writes DAGs and plugins.
resource "google_storage_bucket_iam_member" "composer" {
  for_each = var.composer ? var.deployers : []

  bucket = var.composer_bucket
  role   = "roles/storage.objectUser"
  member = each.key
}
