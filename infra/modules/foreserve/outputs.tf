output "deployment" {
  description = "The input of `make deploy`."
  value = {
    project          = var.project
    region           = var.region
    image_repository = module.artifact_registry.address

    composer = {
      environment = var.existing_composer == null ? module.composer[0].environment : var.existing_composer.environment
      location    = var.existing_composer == null ? var.region : var.existing_composer.location
    }

    api = {
      service  = module.cloud_run.service
      location = var.region
      url      = module.cloud_run.url
    }

    environment_variables = local.environment_variables
  }
}

locals {
  # The variables of dags/refresh_factory/environment.py, without those that only a deployment knows, such as the image
  # of Dataflow's workers.
  environment_variables = merge(var.environment_variables, {
    FORESERVE_PROJECT              = var.project
    FORESERVE_DATASET              = module.bigquery.dataset
    FORESERVE_LOCATION             = module.bigquery.location
    FORESERVE_LABELS               = jsonencode(var.labels)
    FORESERVE_BIGTABLE_INSTANCE    = module.bigtable.instance
    FORESERVE_EXPORT_APP_PROFILE   = module.bigtable.export_app_profile
    FORESERVE_REGISTRY_APP_PROFILE = module.bigtable.registry_app_profile
    FORESERVE_BEAM_RUNNER          = "DataflowRunner"
    FORESERVE_REGION               = var.region
    FORESERVE_REPORTS              = "gs://${module.storage.reports_bucket}/smoke-tests"

    FORESERVE_DATAFLOW_TEMP_LOCATION         = "gs://${module.storage.jobs_bucket}/jobs"
    FORESERVE_DATAFLOW_SERVICE_ACCOUNT_EMAIL = module.accounts.workers
    FORESERVE_DATAFLOW_SUBNETWORK            = module.network.dataflow_subnetwork
    FORESERVE_DATAFLOW_USE_PUBLIC_IPS        = "false"
    FORESERVE_DATAFLOW_MAX_NUM_WORKERS       = tostring(var.dataflow_max_workers)
    FORESERVE_DATAFLOW_LABELS                = jsonencode(var.labels)

    AIRFLOW_CONN_PREDICTION_API = jsonencode({
      conn_type = "http"
      schema    = "https"
      host      = trimprefix(module.cloud_run.url, "https://")
      extra     = { id_token_audience = module.cloud_run.url }
    })
  })
}
