# All resources of Foreserve in one project and region, from the modules beside this one.

module "services" {
  source = "../services"

  project         = var.project
  billing_budgets = var.budget != null
}

module "accounts" {
  source = "../accounts"

  project          = var.project
  name             = var.name
  existing_airflow = try(var.existing_composer.service_account, null)

  depends_on = [module.services]
}

module "network" {
  source = "../network"

  project      = var.project
  region       = var.region
  name         = var.name
  ip_range     = var.ip_range
  internal     = var.api.internal
  apis_address = var.apis_address

  depends_on = [module.services]
}

module "bigtable" {
  source = "../bigtable"

  project             = var.project
  name                = var.name
  clusters            = var.clusters
  tables              = local.tables
  deletion_protection = var.deletion_protection
  backup_days         = var.backup_days

  depends_on = [module.services]
}

module "bigquery" {
  source = "../bigquery"

  project             = var.project
  dataset             = replace(var.name, "-", "_")
  location            = var.bigquery_location
  deletion_protection = var.deletion_protection

  depends_on = [module.services]
}

module "storage" {
  source = "../storage"

  project             = var.project
  name                = var.name
  location            = var.region
  report_days         = var.report_days
  deletion_protection = var.deletion_protection

  depends_on = [module.services]
}

module "artifact_registry" {
  source = "../artifact_registry"

  project = var.project
  region  = var.region
  name    = var.name

  depends_on = [module.services]
}

module "cloud_run" {
  source = "../cloud_run"

  project             = var.project
  region              = var.region
  name                = "${var.name}-api"
  service_account     = module.accounts.api
  network             = module.network.network
  subnetwork          = module.network.subnetwork
  bigtable_instance   = module.bigtable.instance
  app_profile         = module.bigtable.serving_app_profile
  internal            = var.api.internal
  settings            = var.api.settings
  min_instances       = var.api.min_instances
  max_instances       = var.api.max_instances
  deletion_protection = var.deletion_protection
}

module "access" {
  source = "../access"

  project           = var.project
  region            = var.region
  airflow           = module.accounts.airflow
  workers           = module.accounts.workers
  api               = module.accounts.api
  composer          = var.existing_composer == null
  dataset           = module.bigquery.dataset
  source_datasets   = var.source_datasets
  bigtable_instance = module.bigtable.instance
  registry_table    = module.bigtable.registry_table
  entity_tables     = module.bigtable.entity_tables
  jobs_bucket       = module.storage.jobs_bucket
  reports_bucket    = module.storage.reports_bucket
  repository        = module.artifact_registry.repository
  api_service       = module.cloud_run.service
  api_callers       = var.api.callers
}

module "composer" {
  source = "../composer"
  count  = var.existing_composer == null ? 1 : 0

  project          = var.project
  region           = var.region
  name             = var.name
  image_version    = var.composer.image_version
  config_overrides = var.composer.config_overrides
  size             = var.composer.size
  resilient        = var.composer.resilient
  private          = var.api.internal # if false, workers reach the lookup service over the internet
  min_workers      = var.composer.min_workers
  max_workers      = var.composer.max_workers
  service_account  = module.accounts.airflow
  network          = module.network.network
  subnetwork       = module.network.subnetwork

  depends_on = [module.access] # Composer checks the rights of its account when it is created
}

module "deployers" {
  source = "../deployers"

  project         = var.project
  region          = var.region
  deployers       = var.deployers
  repository      = module.artifact_registry.repository
  api_service     = module.cloud_run.service
  api             = module.accounts.api
  airflow         = module.accounts.airflow
  composer        = var.existing_composer == null
  composer_bucket = one(module.composer[*].bucket)
}

module "monitoring" {
  source = "../monitoring"

  project     = var.project
  labels      = var.labels
  api_service = module.cloud_run.service
  models      = toset([for pipeline in local.pipelines : pipeline.model])
  objectives  = var.objectives
  emails      = var.alert_emails
  channels    = var.alert_channels

  depends_on = [module.services]
}

module "budget" {
  source = "../budget"
  count  = var.budget == null ? 0 : 1

  project               = var.project
  billing_account       = var.budget.billing_account
  monthly_amount        = var.budget.monthly_amount
  currency              = var.budget.currency
  label_key             = "app"
  label_value           = var.labels.app
  notification_channels = module.monitoring.ticket_channels

  depends_on = [module.services]
}
