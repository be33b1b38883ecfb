output "service" {
  description = "Name of the service."
  value       = google_cloud_run_v2_service.api.name
}

output "url" {
  description = "URL of the service, and audience of the identity tokens that it accepts."
  value       = google_cloud_run_v2_service.api.uri
}
