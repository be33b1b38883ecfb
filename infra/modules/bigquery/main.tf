# Models, and what each version is computed to. Nothing expires by itself: refreshes drop what no servable version
# needs.

resource "google_bigquery_dataset" "refreshes" {
  project                    = var.project
  dataset_id                 = var.dataset
  location                   = var.location
  description                = "Foreserve: models, predictions and changes, by version"
  delete_contents_on_destroy = !var.deletion_protection
}
