# Tables and column families of the pipelines in dags/pipelines. `terraform apply` adds those of a new pipeline.

locals {
  dags = "${path.module}/../../../dags"

  pipelines = [
    for file in fileset(local.dags, "pipelines/*/pipeline.yaml") : yamldecode(file("${local.dags}/${file}"))
  ]

  # The default of keep_versions in pipeline.yaml.
  keep_versions = jsondecode(file("${local.dags}/pipeline.schema.json")).properties.keep_versions.default

  # Cells per row: one for each version that can be read, and SPARE_CELLS of prediction_store/lifecycle.py.
  tables = {
    for entity_type in distinct([for pipeline in local.pipelines : pipeline.entity_type]) : entity_type => {
      for pipeline in local.pipelines :
      pipeline.model => try(pipeline.keep_versions, local.keep_versions) + 3 if pipeline.entity_type == entity_type
    }
  }
}
