variable "project" {
  description = "Id of the project that everything is made in. It exists, and has billing."
  type        = string
}

variable "region" {
  description = "Region of everything, such as europe-west1."
  type        = string
}

variable "zone" {
  description = "Zone of Bigtable's cluster, in the region."
  type        = string

  validation {
    condition     = startswith(var.zone, "${var.region}-")
    error_message = "zone is a zone of the region, such as europe-west1-b of europe-west1."
  }
}

variable "bigquery_location" {
  description = "Location of the data that pipelines read: EU, US, or a region."
  type        = string
}

variable "source_datasets" {
  description = "Datasets that pipelines read, as PROJECT.DATASET."
  type        = set(string)
}

variable "api_callers" {
  description = "Who may ask the lookup service beside Airflow, as IAM has it."
  type        = set(string)
  default     = []
}

variable "alert_emails" {
  description = "Addresses that are told when something is wrong."
  type        = set(string)
  default     = []
}

variable "existing_composer" {
  description = "A Composer environment that exists, instead of one that is made here; its service account gets the rights."
  type = object({
    environment     = string
    location        = string
    service_account = string
  })
  default = null
}
