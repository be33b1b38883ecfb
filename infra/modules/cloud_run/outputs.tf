output "service" {
  description = "Name of the service."
  value       = google_cloud_run_v2_service.api.name
}

output "url" {
  description = "Address of the service, which is also the audience of the tokens that it takes."
  value       = google_cloud_run_v2_service.api.uri
}
