# The smallest environment, to try Foreserve or for tests: one Bigtable node, the smallest Composer environment, and one
# instance of the lookup service. Copy this folder and write what is yours. Create the project first, with billing.

locals {
  project = "shop-predictions"
  region  = "europe-west1"
  labels  = { app = "foreserve", environment = "minimal" }
}

module "foreserve" {
  source = "../../foreserve"

  project  = local.project
  region   = local.region
  labels   = local.labels
  clusters = [{ zone = "europe-west1-b", max_nodes = 2 }] # best near the applications that send lookups

  # Location and datasets of the data that pipelines read. BigQuery cannot join tables of different locations.
  bigquery_location = "EU"
  source_datasets   = ["shop-predictions.shop"]

  # IAM members that may send lookups. Begin with yourself.
  api = { min_instances = 1, max_instances = 2, callers = ["user:you@example.com"] }

  report_readers      = ["user:you@example.com"]
  alert_emails        = { page = ["you@example.com"], ticket = ["you@example.com"] }
  live                = false # set it to true after a first version was promoted, and apply again
  deletion_protection = false
}

output "deployment" {
  description = "The input of `make deploy`."
  value       = module.foreserve.deployment
}

terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.45, < 9"
    }
  }

  # Terraform keeps the state in this folder. If several people or machines apply this configuration, create a bucket
  # with versioning, and keep the state there:
  # backend "gcs" {
  #   bucket = "shop-predictions-terraform"
  #   prefix = "foreserve/minimal"
  # }
}

provider "google" {
  project        = local.project
  region         = local.region
  default_labels = local.labels
}
