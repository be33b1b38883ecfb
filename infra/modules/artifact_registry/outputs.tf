output "repository" {
  description = "Id of the repository."
  value       = google_artifact_registry_repository.images.repository_id
}

output "address" {
  description = "Prefix of the names of images in the repository."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}
