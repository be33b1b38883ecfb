output "deployment" {
  description = "The input of `make deploy`, a line for each value."
  # One string, so that a shell can read it.
  value = join("\n", [for name, value in {
    project = var.project
    region  = var.region
    images  = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
    service = google_cloud_run_v2_service.api.name
    url     = google_cloud_run_v2_service.api.uri

    bucket = (
      var.existing_airflow == null
      ? trimsuffix(google_composer_environment.airflow[local.deployed_to].config[0].dag_gcs_prefix, "/dags")
      : var.existing_airflow.bucket
    )

    # The image of Dataflow's workers has the Python and the Beam of the Airflow; gcloud asks an environment for its Beam.
    environment    = var.existing_airflow == null ? local.deployed_to : ""
    python_version = try(var.existing_airflow.python_version, var.composer[local.deployed_to].python_version)
    beam_version   = try(var.existing_airflow.beam_version, "")
  } : "${name}=${value}"])

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
