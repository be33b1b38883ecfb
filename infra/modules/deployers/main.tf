# Who may deploy: what `make deploy` needs, and not what Terraform needs.

# Pushing images.
resource "google_artifact_registry_repository_iam_member" "images" {
  for_each = var.deployers

  project    = var.project
  location   = var.region
  repository = var.repository
  role       = "roles/artifactregistry.writer"
  member     = each.key
}

# New revisions of the lookup service, and which of them gets the requests.
resource "google_cloud_run_v2_service_iam_member" "api" {
  for_each = var.deployers

  project  = var.project
  location = var.region
  name     = var.api_service
  role     = "roles/run.developer"
  member   = each.key
}

# A revision runs as the service's account, so whoever makes one must be allowed to use it.
resource "google_service_account_iam_member" "as_api" {
  for_each = var.deployers

  service_account_id = "projects/${var.project}/serviceAccounts/${var.api}"
  role               = "roles/iam.serviceAccountUser"
  member             = each.key
}

# The same of the environment, whose packages and variables are updated.
resource "google_service_account_iam_member" "as_airflow" {
  for_each = var.composer ? var.deployers : []

  service_account_id = "projects/${var.project}/serviceAccounts/${var.airflow}"
  role               = "roles/iam.serviceAccountUser"
  member             = each.key
}

# Composer has no rights on single environments.
resource "google_project_iam_member" "composer" {
  for_each = var.composer ? var.deployers : []

  project = var.project
  role    = "roles/composer.admin"
  member  = each.key
}

# DAGs and plugins.
resource "google_storage_bucket_iam_member" "composer" {
  for_each = var.composer ? var.deployers : []

  bucket = var.composer_bucket
  role   = "roles/storage.objectUser"
  member = each.key
}
