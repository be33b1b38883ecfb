# What dags/pipelines says, so that a new pipeline has its table and column family by `terraform apply`, and no list of
# pipelines is kept here.

locals {
  dags = "${path.module}/../../../dags"

  pipelines = [
    for file in fileset(local.dags, "pipelines/*/pipeline.yaml") : yamldecode(file("${local.dags}/${file}"))
  ]

  # Of a pipeline that does not say how many versions it keeps.
  keep_versions = jsondecode(file("${local.dags}/pipeline.schema.json")).properties.keep_versions.default

  # One cell for each version that can be read, and one for that which is being exported.
  tables = {
    for entity_type in distinct([for pipeline in local.pipelines : pipeline.entity_type]) : entity_type => {
      for pipeline in local.pipelines :
      pipeline.model => try(pipeline.keep_versions, local.keep_versions) + 1 if pipeline.entity_type == entity_type
    }
  }
}
