output "dataset" {
  description = "Id of the dataset."
  value       = google_bigquery_dataset.refreshes.dataset_id
}

output "location" {
  description = "Location of the dataset and of the BigQuery jobs."
  value       = google_bigquery_dataset.refreshes.location
}
