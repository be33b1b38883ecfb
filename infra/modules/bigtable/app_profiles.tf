# By whom a call is made decides where it goes, and what waits for what when the nodes are busy.

resource "google_bigtable_app_profile" "serving" {
  project                       = var.project
  instance                      = google_bigtable_instance.predictions.name
  app_profile_id                = "serving"
  description                   = "Lookups: before all else, and to the next cluster that answers"
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

# One cluster: Bigtable then tells the export how fast it may write.
resource "google_bigtable_app_profile" "export" {
  project         = var.project
  instance        = google_bigtable_instance.predictions.name
  app_profile_id  = "export"
  description     = "Exports and purges: after all else"
  ignore_warnings = true

  single_cluster_routing {
    cluster_id = var.clusters[0].zone
  }

  standard_isolation {
    priority = "PRIORITY_LOW"
  }
}

# One cluster: elsewhere Bigtable refuses conditional writes, by which the registry is changed.
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
