# App profiles: the cluster that a request goes to, and its priority on busy nodes.

resource "google_bigtable_app_profile" "serving" {
  project                       = var.project
  instance                      = google_bigtable_instance.predictions.name
  app_profile_id                = "serving"
  description                   = "Lookups: high priority, and the nearest cluster that answers"
  multi_cluster_routing_use_any = length(var.clusters) > 1 ? true : null
  ignore_warnings               = true

  dynamic "single_cluster_routing" {
    for_each = length(var.clusters) > 1 ? [] : [var.clusters[0].zone]

    content {
      cluster_id = single_cluster_routing.value
    }
  }

  standard_isolation {
    priority = "PRIORITY_HIGH"
  }
}

# Single-cluster routing, because only then Bigtable limits the export's rate of writes.
resource "google_bigtable_app_profile" "export" {
  project         = var.project
  instance        = google_bigtable_instance.predictions.name
  app_profile_id  = "export"
  description     = "Exports and purges: low priority"
  ignore_warnings = true

  single_cluster_routing {
    cluster_id = var.clusters[0].zone
  }

  standard_isolation {
    priority = "PRIORITY_LOW"
  }
}

# Single-cluster routing, because Bigtable allows conditional writes, which change the registry, only with it.
resource "google_bigtable_app_profile" "registry" {
  project         = var.project
  instance        = google_bigtable_instance.predictions.name
  app_profile_id  = "registry"
  description     = "The version registry: single-row transactions"
  ignore_warnings = true

  single_cluster_routing {
    cluster_id                 = var.clusters[0].zone
    allow_transactional_writes = true
  }

  standard_isolation {
    priority = "PRIORITY_HIGH"
  }
}
