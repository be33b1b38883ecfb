variable "project" {
  description = "Id of an existing project with billing, for all resources."
  type        = string
}

variable "region" {
  description = "Region of all resources except Bigtable. Best that of the first Bigtable cluster."
  type        = string
}

variable "labels" {
  description = "Further labels of all resources, in addition to app and environment."
  type        = map(string)
  default     = {}
}

variable "clusters" {
  description = "Bigtable clusters with their zones and numbers of nodes. Exports and the registry write to the first one."
  type = list(object({
    zone      = string
    min_nodes = optional(number, 1)
    max_nodes = optional(number, 3)
  }))

  validation {
    condition     = length(var.clusters) > 0 && startswith(try(var.clusters[0].zone, ""), "${var.region}-")
    error_message = "clusters begins with one in the region, where the lookup service and the exports run."
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

variable "dataflow_max_workers" {
  description = "Largest number of workers of an export (docs/size-and-cost.md)."
  type        = number
  default     = 1
}

variable "api" {
  description = "The lookup service. internal: only the project's networks reach it. callers: IAM members that may send lookups, in addition to Airflow. settings: SERVING_* variables."
  type = object({
    internal      = optional(bool, false)
    min_instances = optional(number, 2)
    max_instances = optional(number, 10)
    callers       = optional(set(string), [])
    settings      = optional(map(string), {})
  })
  default = {}
}

variable "composer" {
  description = "The new Composer environment, unless existing_composer is set. config_overrides: options of Airflow. resilient: it survives the loss of a zone."
  type = object({
    image_version    = optional(string, "composer-3-airflow-2.11.1")
    config_overrides = optional(map(string), {})
    size             = optional(string, "ENVIRONMENT_SIZE_SMALL")
    resilient        = optional(bool, true)
    min_workers      = optional(number, 2)
    max_workers      = optional(number, 6)
  })
  default = {}
}

variable "environment_variables" {
  description = "Further environment variables of the DAGs, such as FORESERVE_ALERTS."
  type        = map(string)
  default     = {}
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

variable "deployers" {
  description = "IAM members that may run `make deploy`. Owners of the project always may."
  type        = set(string)
  default     = []
}

variable "objectives" {
  description = "Create the objectives of latency and freshness. Set it to true only after a first version was promoted."
  type        = bool
  default     = false
}

variable "alert_emails" {
  description = "E-mail addresses for alerts. page: act now. ticket: act on a working day."
  type = object({
    page   = optional(set(string), [])
    ticket = optional(set(string), [])
  })
  default = {}
}

variable "alert_channels" {
  description = "Existing notification channels for alerts, as projects/PROJECT/notificationChannels/ID."
  type = object({
    page   = optional(list(string), [])
    ticket = optional(list(string), [])
  })
  default = {}
}

variable "budget" {
  description = "Monthly budget for resources with the label app, in whole units of the billing account's currency. null: no budget."
  type = object({
    billing_account = string
    monthly_amount  = number
    currency        = optional(string, "USD")
  })
  default = null
}
