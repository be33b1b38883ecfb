# The Bigtable instance and its tables. Refreshes have no right to create or change tables, so all of them are here: the
# registry, and for the pipelines in dags/pipelines one table per entity type with one column family per model.

locals {
  # Added nodes help only after up to 20 minutes, so the target is below the 70 % that Google recommends as the maximum.
  # With two clusters, each must be able to serve the lookups of both: 35 % is the maximum that Google recommends without
  # autoscaling (https://cloud.google.com/bigtable/docs/monitoring-instance), which comes too late for them.
  cpu_percent = length(var.clusters) > 1 ? 35 : 60

  dags = "${path.module}/../../dags"

  pipelines = [
    for file in fileset(local.dags, "pipelines/*/pipeline.yaml") : yamldecode(file("${local.dags}/${file}"))
  ]

  # The default of keep_versions in pipeline.yaml.
  keep_versions = jsondecode(file("${local.dags}/pipeline.schema.json")).properties.keep_versions.default

  # Cells per row: one for each version that can be read, and SPARE_CELLS of prediction_store/lifecycle.py.
  entity_tables = {
    for entity_type in distinct(local.pipelines[*].entity_type) : entity_type => {
      for pipeline in local.pipelines :
      pipeline.model => try(pipeline.keep_versions, local.keep_versions) + 3 if pipeline.entity_type == entity_type
    }
  }

  # The names in prediction_store/layout.py.
  registry_table  = "prediction_versions"
  registry_family = "state"

  tables = merge(local.entity_tables, { (local.registry_table) = { (local.registry_family) = 1 } })

  families = merge([
    for table, families in local.tables : {
      for family, cells in families : "${table}/${family}" => { table = table, family = family, cells = cells }
    }
  ]...)
}

resource "google_bigtable_instance" "predictions" {
  project             = local.project
  name                = var.name
  display_name        = var.name
  deletion_protection = var.deletion_protection

  dynamic "cluster" {
    for_each = var.clusters

    content {
      cluster_id   = cluster.value.zone
      zone         = cluster.value.zone
      storage_type = "SSD"

      autoscaling_config {
        min_nodes  = cluster.value.min_nodes
        max_nodes  = cluster.value.max_nodes
        cpu_target = local.cpu_percent
      }
    }
  }
}

resource "google_bigtable_table" "tables" {
  for_each = local.tables

  project             = local.project
  instance_name       = google_bigtable_instance.predictions.name
  name                = each.key
  deletion_protection = var.deletion_protection ? "PROTECTED" : "UNPROTECTED" # protects its column families too

  dynamic "column_family" {
    for_each = each.value

    content {
      family = column_family.key
    }
  }

  dynamic "automated_backup_policy" {
    for_each = var.backup_days > 0 ? [var.backup_days] : []

    content {
      retention_period = "${24 * automated_backup_policy.value}h"
      frequency        = "24h"
    }
  }
}

# Garbage collection keeps this number of cells per row and column, regardless of their age. Before you lower a model's
# keep_versions, read "Pipelines" in ../README.md: versions that can still be rolled back to could lose cells.
resource "google_bigtable_gc_policy" "families" {
  for_each = local.families

  project         = local.project
  instance_name   = google_bigtable_instance.predictions.name
  table           = google_bigtable_table.tables[each.value.table].name
  column_family   = each.value.family
  deletion_policy = "ABANDON" # Bigtable refuses to delete the policy of a replicated table

  # Not a block max_version, which the provider replaces instead of updating.
  gc_rules = jsonencode({ rules = [{ max_version = each.value.cells }] })

  # With two clusters, Bigtable refuses to keep more cells than before without this flag. For some days, one cluster may
  # have cells of expired versions that the other has deleted.
  ignore_warnings = length(var.clusters) > 1
}

# App profiles: the cluster that a request goes to, and its priority on busy nodes.

resource "google_bigtable_app_profile" "serving" {
  project                       = local.project
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
  project         = local.project
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
  project         = local.project
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
