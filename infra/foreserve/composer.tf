# Airflow on Cloud Composer, which Google now calls Managed Service for Apache Airflow. Deployments bring the DAGs only.

locals {
  # Packages that tasks import and that no image has, with the versions that the tests ran with.
  pypi_packages = {
    for name in ["hdrhistogram", "pydantic-settings"] :
    name => regex("(?m)^${name}(==\\S+) ", file("${path.module}/../../requirements.txt"))[0]
  }

  # The variables of dags/refresh_factory/environment.py. A deployment names the image of Dataflow's workers in a file.
  # Retries wait for the files of a deployment, which Composer copies within five minutes.
  environment_variables = merge({ FORESERVE_RETRY_DELAY_SECONDS = "300" }, var.environment_variables, {
    FORESERVE_PROJECT              = var.project
    FORESERVE_DATASET              = google_bigquery_dataset.refreshes.dataset_id
    FORESERVE_LOCATION             = google_bigquery_dataset.refreshes.location
    FORESERVE_LABELS               = jsonencode(var.labels)
    FORESERVE_BIGTABLE_INSTANCE    = google_bigtable_instance.predictions.name
    FORESERVE_EXPORT_APP_PROFILE   = google_bigtable_app_profile.export.app_profile_id
    FORESERVE_REGISTRY_APP_PROFILE = google_bigtable_app_profile.registry.app_profile_id
    FORESERVE_BEAM_RUNNER          = "DataflowRunner"
    FORESERVE_REGION               = var.region
    FORESERVE_REPORTS              = "gs://${google_storage_bucket.reports.name}/smoke-tests"

    FORESERVE_DATAFLOW_TEMP_LOCATION         = "gs://${google_storage_bucket.jobs.name}/jobs"
    FORESERVE_DATAFLOW_SERVICE_ACCOUNT_EMAIL = google_service_account.workers.email
    FORESERVE_DATAFLOW_SUBNETWORK            = "regions/${var.region}/subnetworks/${google_compute_subnetwork.subnetwork.name}"
    FORESERVE_DATAFLOW_USE_PUBLIC_IPS        = "false"
    FORESERVE_DATAFLOW_MAX_NUM_WORKERS       = tostring(var.dataflow_max_workers)
    FORESERVE_DATAFLOW_LABELS                = jsonencode(var.labels)

    AIRFLOW_CONN_PREDICTION_API = jsonencode({
      conn_type = "http"
      schema    = "https"
      host      = trimprefix(google_cloud_run_v2_service.api.uri, "https://")
      extra     = { id_token_audience = google_cloud_run_v2_service.api.uri }
    })
  })
}

resource "google_composer_environment" "airflow" {
  for_each = var.existing_airflow == null ? var.composer : {}

  project         = local.project
  region          = var.region
  name            = each.key
  deletion_policy = var.deletion_protection && !each.value.retired ? "PREVENT" : "DELETE" # it has the history of runs

  config {
    environment_size = each.value.size
    resilience_mode  = each.value.resilient ? "HIGH_RESILIENCE" : "STANDARD_RESILIENCE"

    software_config {
      image_version           = each.value.image_version
      env_variables           = local.environment_variables
      pypi_packages           = merge(local.pypi_packages, each.value.packages)
      web_server_plugins_mode = "ENABLED" # for the links of operators

      airflow_config_overrides = merge(
        { core-dags_are_paused_at_creation = "True" }, # a first deployment starts no refresh
        length(var.airflow_secrets) == 0 ? {} : {
          secrets-backend = "airflow.providers.google.cloud.secrets.secret_manager.CloudSecretManagerBackend"
        },
        each.value.config_overrides,
      )
    }

    node_config {
      service_account = local.airflow_account
      network         = google_compute_network.network.id
      subnetwork      = google_compute_subnetwork.subnetwork.id
    }

    maintenance_window {
      start_time = each.value.maintenance.start_time
      end_time   = each.value.maintenance.end_time
      recurrence = each.value.maintenance.recurrence
    }

    dynamic "recovery_config" {
      for_each = each.value.snapshots ? [1] : []

      content {
        scheduled_snapshots_config {
          enabled                    = true
          snapshot_creation_schedule = "0 4 * * *"
          time_zone                  = "UTC"
        }
      }
    }

    workloads_config {
      scheduler {
        count      = each.value.resilient ? 2 : 1
        cpu        = 1
        memory_gb  = 4
        storage_gb = 2
      }

      # Waits for BigQuery jobs, one coroutine for each.
      triggerer {
        count     = each.value.resilient ? 2 : 1
        cpu       = 0.5
        memory_gb = 1
      }

      dag_processor {
        count      = each.value.resilient ? 2 : 1
        cpu        = 1
        memory_gb  = 4
        storage_gb = 2
      }

      web_server {
        cpu        = 1
        memory_gb  = 2
        storage_gb = 2
      }

      # Tasks mostly submit jobs and do not wait for them. The load of the smoke test needs the CPU.
      worker {
        cpu        = 2
        memory_gb  = 8
        storage_gb = 10
        min_count  = each.value.min_workers
        max_count  = each.value.max_workers
      }
    }
  }

  # Composer checks the rights of its account when it is created.
  depends_on = [google_project_iam_member.airflow_composer_worker]
}
