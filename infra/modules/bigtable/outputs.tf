output "instance" {
  description = "Id of the instance."
  value       = google_bigtable_instance.predictions.name
}

output "registry_table" {
  description = "Name of the registry table."
  value       = google_bigtable_table.tables[local.registry_table].name
}

output "entity_tables" {
  description = "Names of the tables of predictions, by entity type."
  value       = { for table in keys(var.tables) : table => google_bigtable_table.tables[table].name }
}

output "serving_app_profile" {
  description = "App profile of lookups."
  value       = google_bigtable_app_profile.serving.app_profile_id
}

output "export_app_profile" {
  description = "App profile of exports and purges."
  value       = google_bigtable_app_profile.export.app_profile_id
}

output "registry_app_profile" {
  description = "App profile of writes to the registry."
  value       = google_bigtable_app_profile.registry.app_profile_id
}
