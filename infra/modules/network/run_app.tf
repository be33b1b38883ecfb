# DNS names of Cloud Run's services resolve to an address in the network. So Composer's workers, which are attached to
# the network, reach an internal service.
# Not verified in a project: that Composer's attachment reaches this address. If smoke tests get 404, set internal to
# false. Requests still need roles/run.invoker.

resource "google_compute_global_address" "apis" {
  count = var.internal ? 1 : 0

  project      = var.project
  name         = "${var.name}-apis"
  purpose      = "PRIVATE_SERVICE_CONNECT"
  address_type = "INTERNAL"
  network      = google_compute_network.network.id
  address      = var.apis_address
}

resource "google_compute_global_forwarding_rule" "apis" {
  count = var.internal ? 1 : 0

  project               = var.project
  name                  = "${replace(var.name, "-", "")}apis" # at most 20 letters and digits, by Google's rules
  network               = google_compute_network.network.id
  ip_address            = google_compute_global_address.apis[0].id
  target                = "all-apis"
  load_balancing_scheme = ""
  no_automate_dns_zone  = true
}

resource "google_dns_managed_zone" "run_app" {
  count = var.internal ? 1 : 0

  project     = var.project
  name        = "${var.name}-run-app"
  description = "Cloud Run's services, at an address in the network"
  dns_name    = "run.app."
  visibility  = "private"

  private_visibility_config {
    networks {
      network_url = google_compute_network.network.id
    }
  }
}

resource "google_dns_record_set" "run_app" {
  count = var.internal ? 1 : 0

  project      = var.project
  managed_zone = google_dns_managed_zone.run_app[0].name
  name         = "*.run.app."
  type         = "A"
  ttl          = 300
  rrdatas      = [google_compute_global_address.apis[0].address]
}
