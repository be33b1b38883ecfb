# A production environment: Bigtable in two zones or regions, an Airflow that survives the loss of a zone, backups,
# alerts, a budget, and protection from deletion.

terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  # Terraform keeps the state in this folder until you name a bucket. Create a bucket with versioning, which only those
  # who apply this configuration may read, and then run `terraform init -migrate-state`:
  # backend "gcs" {
  #   bucket = "shop-predictions-terraform"
  #   prefix = "foreserve/production"
  # }
}

provider "google" {
  project        = var.project
  region         = var.region
  default_labels = local.labels

  # The billing API needs a quota project if a person, not a service account, applies this configuration.
  billing_project       = var.project
  user_project_override = true
}

locals {
  labels = merge(var.labels, { app = "foreserve", environment = "production" })
}

module "foreserve" {
  source = "../../modules/foreserve"

  project               = var.project
  region                = var.region
  labels                = local.labels
  clusters              = var.clusters
  backup_days           = 7
  bigquery_location     = var.bigquery_location
  source_datasets       = var.source_datasets
  dataflow_max_workers  = var.dataflow_max_workers
  api                   = var.api
  composer              = var.composer
  environment_variables = var.environment_variables
  existing_composer     = var.existing_composer
  deployers             = var.deployers
  objectives            = var.objectives
  alert_emails          = var.alert_emails
  alert_channels        = var.alert_channels
  budget                = var.budget
}

output "deployment" {
  description = "The input of `make deploy`."
  value       = module.foreserve.deployment
}
