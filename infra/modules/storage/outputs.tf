output "jobs_bucket" {
  description = "Bucket of the temporary files of Dataflow jobs."
  value       = google_storage_bucket.jobs.name
}

output "reports_bucket" {
  description = "Bucket of the latency reports."
  value       = google_storage_bucket.reports.name
}
