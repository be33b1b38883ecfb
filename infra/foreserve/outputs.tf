output "deployment" {
  description = "The input of `make deploy`."
  value = {
    project          = var.project
    image_repository = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"

    airflow = {
      # Without an environment, the versions are those that existing_airflow names.
      environment = var.existing_airflow == null ? local.deployed_to : null
      location    = var.region
      bucket = (
        var.existing_airflow == null
        ? trimsuffix(google_composer_environment.airflow[local.deployed_to].config[0].dag_gcs_prefix, "/dags")
        : var.existing_airflow.bucket
      )
      beam_version = try(var.existing_airflow.beam_version, null)
    }

    api = {
      service  = google_cloud_run_v2_service.api.name
      location = var.region
      url      = google_cloud_run_v2_service.api.uri
    }
  }

  precondition {
    condition     = var.existing_airflow != null || contains(keys(var.composer), coalesce(local.deployed_to, "-"))
    error_message = "deploy_to is the name of an environment in composer; with two environments, name one."
  }
}

output "airflow" {
  description = "Variables and Python packages that an Airflow of your own needs. Composer's environments have them."
  value       = { environment_variables = local.environment_variables, packages = local.pypi_packages }
}

locals {
  deployed_to = var.deploy_to != null ? var.deploy_to : try(one(keys(var.composer)), null)
}
