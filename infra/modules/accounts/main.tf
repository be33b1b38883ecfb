# The service accounts of the running parts. ../access grants their rights.

resource "google_service_account" "airflow" {
  count = var.existing_airflow == null ? 1 : 0

  project      = var.project
  account_id   = "${var.name}-airflow"
  display_name = "Foreserve: Airflow's workers"
}

resource "google_service_account" "workers" {
  project      = var.project
  account_id   = "${var.name}-workers"
  display_name = "Foreserve: Dataflow workers of the export"
}

resource "google_service_account" "api" {
  project      = var.project
  account_id   = "${var.name}-api"
  display_name = "Foreserve: the lookup service"
}
