output "airflow" {
  description = "E-mail address of Airflow's service account."
  value       = var.existing_airflow == null ? google_service_account.airflow[0].email : var.existing_airflow
}

output "workers" {
  description = "E-mail address of the Dataflow workers' service account."
  value       = google_service_account.workers.email
}

output "api" {
  description = "E-mail address of the lookup service's service account."
  value       = google_service_account.api.email
}
