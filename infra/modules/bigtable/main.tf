# The Bigtable instance and its tables. Refreshes have no right to create or change tables, so all of them are here: the
# registry, and one table per entity type with one column family per model.

locals {
  # Added nodes help only after up to 20 minutes, so the target is below the 70 % that Google recommends as the maximum.
  # With two clusters, each must be able to serve the lookups of both (35 % is from memory, check).
  cpu_percent = length(var.clusters) > 1 ? 35 : 60

  tables = merge(var.tables, { (local.registry_table) = { (local.registry_family) = 1 } })

  # The names in prediction_store/layout.py.
  registry_table  = "prediction_versions"
  registry_family = "state"

  families = merge([
    for table, families in local.tables : {
      for family, cells in families : "${table}/${family}" => { table = table, family = family, cells = cells }
    }
  ]...)
}

resource "google_bigtable_instance" "predictions" {
  project             = var.project
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

  project             = var.project
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
# keep_versions, read "Pipelines" in ../../README.md: versions that can still be rolled back to could lose cells.
resource "google_bigtable_gc_policy" "families" {
  for_each = local.families

  project         = var.project
  instance_name   = google_bigtable_instance.predictions.name
  table           = google_bigtable_table.tables[each.value.table].name
  column_family   = each.value.family
  deletion_policy = "ABANDON" # Bigtable refuses to delete the policy of a replicated table

  max_version {
    number = each.value.cells
  }
}
