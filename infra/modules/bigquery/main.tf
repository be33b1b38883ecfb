# The dataset of BigQuery models, predictions and changes. Nothing in it expires: refreshes drop the models and tables
# that no version needs any more.

resource "google_bigquery_dataset" "refreshes" {
  project                    = var.project
  dataset_id                 = var.dataset
  location                   = var.location
  description                = "Foreserve: models, predictions and changes, by version"
  delete_contents_on_destroy = !var.deletion_protection
}
