# A production environment: Bigtable in two zones, an Airflow that survives the loss of a zone, backups, alerts, a budget,
# and protection from deletion. Copy this folder and write what is yours. Create the project first, with billing.

locals {
  project = "shop-predictions"
  region  = "europe-west1"
  labels  = { app = "foreserve", environment = "production", team = "data" }
}

module "foreserve" {
  source = "../../foreserve"

  project = local.project
  region  = local.region
  labels  = local.labels

  # Exports write to the first Bigtable cluster, and the lookup service reads from it. If the first cluster cannot be
  # reached, lookups go to the second. The SLA is 99.9 % for one cluster, and 99.99 % for two with multi-cluster routing
  # (https://cloud.google.com/bigtable/sla).
  clusters = [
    { zone = "europe-west1-b", min_nodes = 1, max_nodes = 5 },
    { zone = "europe-west1-c", min_nodes = 1, max_nodes = 5 },
  ]
  backup_days          = 7
  dataflow_max_workers = 1 # docs/size-and-cost.md explains how many nodes and workers an export needs

  # Location and datasets of the data that pipelines read. BigQuery cannot join tables of different locations.
  bigquery_location = "EU"
  source_datasets   = ["shop-data.sales"]

  api = {
    min_instances = 2
    max_instances = 10
    callers       = ["serviceAccount:shop@shop-data.iam.gserviceaccount.com"]
    settings      = { SERVING_CACHE_BYTES = "100000000" } # docs/serving.md
  }

  composer = {
    foreserve = {
      resilient   = true
      snapshots   = true
      min_workers = 2
      max_workers = 6

      # Whoever opens Airflow first becomes a viewer. Composer's default, Op, may roll back, approve and edit connections.
      config_overrides = {
        api-composer_auth_user_registration_role = "Viewer"
        webserver-rbac_user_registration_role    = "Viewer"
      }
    }
  }

  # Environment variables of the DAGs, such as the alerts of failed refreshes (docs/operate.md).
  environment_variables = { FORESERVE_ALERTS = "{\"on_failure\": []}" }

  # IAM members that deploy. Best an account of your CI, and a group for emergencies.
  deployers      = ["group:data-platform@example.com"]
  report_readers = ["group:data-platform@example.com"]

  # Receivers of alerts. page: act now. ticket: act on a working day. Create channels for Slack, PagerDuty and others in
  # the console, and name them in alert_channels.
  alert_emails   = { page = ["on-call@example.com"], ticket = ["data@example.com"] }
  alert_channels = { page = ["projects/shop-predictions/notificationChannels/1234567890"] }
  live           = false # set it to true after a first version was promoted, and apply again

  # Needs the right to create budgets on the billing account. Remove it for no budget.
  budget = { billing_account = "012345-6789AB-CDEF01", monthly_amount = 3000, currency = "EUR" }
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

  # Terraform keeps the state in this folder until you name a bucket. Create a bucket with versioning, which only those
  # who apply this configuration may read, and then run `terraform init -migrate-state`:
  # backend "gcs" {
  #   bucket = "shop-predictions-terraform"
  #   prefix = "foreserve/production"
  # }
}

provider "google" {
  project        = local.project
  region         = local.region
  default_labels = local.labels

  # The billing API needs a quota project if a person, not a service account, applies this configuration.
  billing_project       = local.project
  user_project_override = true
}
