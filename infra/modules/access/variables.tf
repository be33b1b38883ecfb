variable "project" {
  description = "Project of all that rights are on, but for the datasets that pipelines read."
  type        = string
}

variable "region" {
  description = "Region of the lookup service and of the repository."
  type        = string
}

variable "airflow" {
  description = "E-mail address of Airflow's service account."
  type        = string
}

variable "workers" {
  description = "E-mail address of the Dataflow workers' service account."
  type        = string
}

variable "api" {
  description = "E-mail address of the lookup service's service account."
  type        = string
}

variable "composer" {
  description = "Whether Airflow is a Composer environment that is made here."
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
  description = "The table of the version registry."
  type        = string
}

variable "entity_tables" {
  description = "The tables of predictions, by entity type."
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
  description = "Who else may ask the lookup service, as IAM has it: serviceAccount:..., group:..., user:..."
  type        = set(string)
}
