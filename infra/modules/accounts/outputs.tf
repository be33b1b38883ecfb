output "airflow" {
  description = "E-mail address of the service account of Airflow's workers."
  value       = var.existing_airflow == null ? google_service_account.airflow[0].email : var.existing_airflow
}

output "workers" {
  description = "E-mail address of the service account of Dataflow's workers."
  value       = google_service_account.workers.email
}

output "api" {
  description = "E-mail address of the service account of the lookup service."
  value       = google_service_account.api.email
}
