# A network without access to or from the internet: no NAT, no public addresses, and a firewall that allows only traffic
# between Dataflow's workers. Private Google Access reaches Google's APIs.

resource "google_compute_network" "network" {
  project                 = local.project
  name                    = var.name
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "subnetwork" {
  project                  = local.project
  region                   = var.region
  name                     = var.name
  network                  = google_compute_network.network.id
  ip_cidr_range            = var.ip_range
  private_ip_google_access = true
}

# Workers of a job shuffle data over these ports if Dataflow does not shuffle for them. Without the rule, Dataflow warns
# in each job that the job may hang.
resource "google_compute_firewall" "dataflow" {
  project     = local.project
  name        = "${var.name}-dataflow"
  network     = google_compute_network.network.id
  direction   = "INGRESS"
  source_tags = ["dataflow"]
  target_tags = ["dataflow"]

  allow {
    protocol = "tcp"
    ports    = ["12345-12346"]
  }
}
