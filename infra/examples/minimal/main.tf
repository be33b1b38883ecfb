# The smallest whole: one Bigtable node, the smallest Composer environment, one instance of the lookup service.
# To try Foreserve, or for a test environment beside ../production.

terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  # The state is kept in this folder. As soon as several people or machines apply it, keep it in a bucket that you have
  # made, with versioning on:
  # backend "gcs" {
  #   bucket = "shop-predictions-terraform"
  #   prefix = "foreserve/minimal"
  # }
}

provider "google" {
  project        = var.project
  region         = var.region
  default_labels = local.labels
}

locals {
  labels = { app = "foreserve", environment = "minimal" }
}

module "foreserve" {
  source = "../../modules/foreserve"

  project           = var.project
  region            = var.region
  labels            = local.labels
  clusters          = [{ zone = var.zone, min_nodes = 1, max_nodes = 2 }]
  bigquery_location = var.bigquery_location
  source_datasets   = var.source_datasets
  report_days       = 30
  alert_emails      = { page = var.alert_emails, ticket = var.alert_emails }

  # Anybody can reach it, and nobody without roles/run.invoker is answered: it can be asked from a laptop.
  api = { internal = false, min_instances = 1, max_instances = 2, callers = var.api_callers }

  composer            = {}
  existing_composer   = var.existing_composer
  deletion_protection = false
}

output "deployment" {
  description = "What `make deploy` needs to know."
  value       = module.foreserve.deployment
}
