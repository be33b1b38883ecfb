variable "project" {
  description = "Id of an existing project with billing, for all resources."
  type        = string
}

variable "region" {
  description = "Region of all resources, such as europe-west1."
  type        = string
}

variable "zone" {
  description = "Zone of the Bigtable cluster, in the region."
  type        = string

  validation {
    condition     = startswith(var.zone, "${var.region}-")
    error_message = "zone is a zone of the region, such as europe-west1-b for europe-west1."
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
  description = "IAM members that may send lookups, in addition to Airflow."
  type        = set(string)
  default     = []
}

variable "alert_emails" {
  description = "E-mail addresses for all alerts."
  type        = set(string)
  default     = []
}

variable "existing_composer" {
  description = "An existing Composer environment to use instead of a new one. Its service account gets the rights."
  type = object({
    environment     = string
    location        = string
    service_account = string
  })
  default = null
}
