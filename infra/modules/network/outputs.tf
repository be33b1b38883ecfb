output "network" {
  description = "Full name of the network."
  value       = google_compute_network.network.id
}

output "subnetwork" {
  description = "Full name of the subnetwork."
  value       = google_compute_subnetwork.subnetwork.id
}

output "dataflow_subnetwork" {
  description = "Name of the subnetwork for Dataflow: regions/REGION/subnetworks/NAME."
  value       = "regions/${var.region}/subnetworks/${google_compute_subnetwork.subnetwork.name}"
}
