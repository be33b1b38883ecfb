# The smallest environment, to try Foreserve or for tests: one Bigtable node, the smallest Composer environment, and one
# instance of the lookup service.

terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  # Terraform keeps the state in this folder. If several people or machines apply this configuration, create a bucket
  # with versioning and keep the state there:
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

  # Reachable from the internet, for example from a laptop. Requests need roles/run.invoker.
  api = { internal = false, min_instances = 1, max_instances = 2, callers = var.api_callers }

  composer            = {}
  existing_composer   = var.existing_composer
  deletion_protection = false
}

output "deployment" {
  description = "The input of `make deploy`."
  value       = module.foreserve.deployment
}
