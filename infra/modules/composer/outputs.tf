output "environment" {
  description = "Name of the environment."
  value       = google_composer_environment.airflow.name
}

output "bucket" {
  description = "Bucket of the environment: DAGs, plugins and data."
  value       = split("/", google_composer_environment.airflow.config[0].dag_gcs_prefix)[2]
}
