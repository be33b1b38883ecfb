# A network of its own, without a way to or from the internet: there is no NAT, no machine has a public address, and the
# firewall lets in nothing but what Dataflow's workers say to each other. Google's APIs are reached by Private Google
# Access.

resource "google_compute_network" "network" {
  project                 = var.project
  name                    = var.name
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "subnetwork" {
  project                  = var.project
  region                   = var.region
  name                     = var.name
  network                  = google_compute_network.network.id
  ip_cidr_range            = var.ip_range
  private_ip_google_access = true
}

# Workers of one job shuffle over these ports where Dataflow does not do it for them; without the rule, Dataflow warns
# in each job that it may hang.
resource "google_compute_firewall" "dataflow" {
  project     = var.project
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
