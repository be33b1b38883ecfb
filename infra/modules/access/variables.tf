variable "project" {
  description = "Project of all resources except the datasets that pipelines read."
  type        = string
}

variable "region" {
  description = "Region of the lookup service and of the repository."
  type        = string
}

variable "airflow" {
  description = "E-mail address of the service account of Airflow's workers."
  type        = string
}

variable "workers" {
  description = "E-mail address of the service account of Dataflow's workers."
  type        = string
}

variable "api" {
  description = "E-mail address of the service account of the lookup service."
  type        = string
}

variable "composer" {
  description = "Terraform creates the Composer environment."
  type        = bool
}

variable "dataset" {
  description = "Id of the dataset of refreshes."
  type        = string
}

variable "source_datasets" {
  description = "Datasets that pipelines read, as PROJECT.DATASET."
  type        = set(string)
}

variable "bigtable_instance" {
  description = "Id of the Bigtable instance."
  type        = string
}

variable "registry_table" {
  description = "Name of the registry table."
  type        = string
}

variable "entity_tables" {
  description = "Names of the tables of predictions, by entity type."
  type        = map(string)
}

variable "jobs_bucket" {
  description = "Bucket of the temporary files of Dataflow jobs."
  type        = string
}

variable "reports_bucket" {
  description = "Bucket of the latency reports."
  type        = string
}

variable "repository" {
  description = "Id of the repository of images."
  type        = string
}

variable "api_service" {
  description = "Name of the lookup service."
  type        = string
}

variable "api_callers" {
  description = "IAM members that may send lookups, in addition to Airflow: serviceAccount:..., group:..., user:..."
  type        = set(string)
}
