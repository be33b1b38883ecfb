# The APIs and the service accounts of the running parts.

locals {
  # Resources that use this value wait until the APIs are enabled.
  project = distinct([for api in google_project_service.enabled : api.project])[0]

  needs_secrets = length(var.airflow_secrets) > 0 || var.api.callers_secret != null

  apis = toset(concat(
    [
      "artifactregistry.googleapis.com",
      "bigquery.googleapis.com",
      "bigquerystorage.googleapis.com", # for reads of the export
      "bigtable.googleapis.com",
      "bigtableadmin.googleapis.com",        # for Terraform, and for waiting for replication
      "cloudresourcemanager.googleapis.com", # for Terraform, to change rights on the project
      "composer.googleapis.com",
      "compute.googleapis.com",
      "dataflow.googleapis.com",
      "iam.googleapis.com",
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "run.googleapis.com",
      "storage.googleapis.com",
    ],
    var.budget == null ? [] : ["billingbudgets.googleapis.com"],
    local.needs_secrets ? ["secretmanager.googleapis.com"] : [],
  ))

  airflow_account = var.existing_airflow == null ? google_service_account.airflow[0].email : var.existing_airflow.service_account
}

# `terraform destroy` leaves the APIs enabled, because others in the project may use them.
resource "google_project_service" "enabled" {
  for_each = local.apis

  project            = var.project
  service            = each.key
  disable_on_destroy = false
}

resource "google_service_account" "airflow" {
  count = var.existing_airflow == null ? 1 : 0

  project      = local.project
  account_id   = "${var.name}-airflow"
  display_name = "Foreserve: Airflow's workers"
}

resource "google_service_account" "workers" {
  project      = local.project
  account_id   = "${var.name}-workers"
  display_name = "Foreserve: Dataflow workers of the export"
}

resource "google_service_account" "api" {
  project      = local.project
  account_id   = "${var.name}-api"
  display_name = "Foreserve: the lookup service"
}
