# Airflow. A deployment sets its DAGs, packages and environment variables; Terraform ignores those changes.

resource "google_composer_environment" "airflow" {
  project = var.project
  region  = var.region
  name    = var.name

  config {
    environment_size = var.size
    resilience_mode  = var.resilient ? "HIGH_RESILIENCE" : "STANDARD_RESILIENCE"
    # The workers of a private environment reach only the network below and Google's APIs.
    enable_private_environment = var.private
    enable_private_builds_only = false # building the environment downloads packages from PyPI

    software_config {
      image_version = var.image_version
      # A first deployment starts no refresh, until somebody unpauses its DAG.
      airflow_config_overrides = merge({ core-dags_are_paused_at_creation = "True" }, var.config_overrides)
      web_server_plugins_mode  = "ENABLED" # for the links of operators and the Versions page
    }

    node_config {
      service_account = var.service_account
      network         = var.network
      subnetwork      = var.subnetwork
    }

    workloads_config {
      scheduler {
        count      = var.resilient ? 2 : 1
        cpu        = 1
        memory_gb  = 4
        storage_gb = 2
      }

      # Waits for BigQuery jobs, one coroutine for each.
      triggerer {
        count     = var.resilient ? 2 : 1
        cpu       = 0.5
        memory_gb = 1
      }

      dag_processor {
        count      = var.resilient ? 2 : 1
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
        min_count  = var.min_workers
        max_count  = var.max_workers
      }
    }
  }

  lifecycle {
    ignore_changes = [
      config[0].software_config[0].env_variables,
      config[0].software_config[0].pypi_packages,
    ]
  }
}
