# The Google Cloud APIs that the other modules and the running parts call. `terraform destroy` leaves them enabled,
# because others in the project may use them.

locals {
  services = [
    "artifactregistry.googleapis.com",
    "bigquery.googleapis.com",
    "bigquerystorage.googleapis.com", # for reads of the export
    "bigtable.googleapis.com",
    "bigtableadmin.googleapis.com",        # for Terraform, and for waiting for replication
    "cloudresourcemanager.googleapis.com", # for Terraform, to change rights on the project
    "composer.googleapis.com",
    "compute.googleapis.com",
    "dataflow.googleapis.com",
    "dns.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "run.googleapis.com",
    "storage.googleapis.com",
  ]
}

resource "google_project_service" "enabled" {
  for_each = toset(concat(local.services, var.billing_budgets ? ["billingbudgets.googleapis.com"] : []))

  project            = var.project
  service            = each.key
  disable_on_destroy = false
}
