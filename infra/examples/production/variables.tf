variable "project" {
  description = "Id of the project that everything is made in. It exists, and has billing."
  type        = string
}

variable "region" {
  description = "Region of all that is not Bigtable's: best that of its first cluster."
  type        = string
}

variable "labels" {
  description = "Labels of all that is made, beside app and environment."
  type        = map(string)
  default     = {}
}

variable "clusters" {
  description = "Bigtable's clusters: the zone of each, and how far it scales. Exports and the registry write to the first."
  type = list(object({
    zone      = string
    min_nodes = optional(number, 1)
    max_nodes = optional(number, 3)
  }))

  validation {
    condition     = length(var.clusters) > 0 && startswith(try(var.clusters[0].zone, ""), "${var.region}-")
    error_message = "clusters begins with one in the region, where the lookup service and the exports are."
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
  description = "How many workers an export may have (docs/size-and-cost.md)."
  type        = number
  default     = 1
}

variable "api" {
  description = "The lookup service: whether only the project's networks reach it, how many instances, who may ask beside Airflow, and SERVING_* settings."
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
  description = "The Composer environment, unless there is one already: its version, options of Airflow, size, and how far its workers scale."
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
  description = "A Composer environment that exists, instead of one that is made here; its service account gets the rights."
  type = object({
    environment     = string
    location        = string
    service_account = string
  })
  default = null
}

variable "deployers" {
  description = "Who may run `make deploy`, as IAM has it. None: whoever owns the project."
  type        = set(string)
  default     = []
}

variable "objectives" {
  description = "Whether objectives of latency and freshness are made: once a first version is served, not before."
  type        = bool
  default     = false
}

variable "alert_emails" {
  description = "Addresses that are told of what somebody should look at now (page), and on a working day (ticket)."
  type = object({
    page   = optional(set(string), [])
    ticket = optional(set(string), [])
  })
  default = {}
}

variable "alert_channels" {
  description = "Notification channels that exist and are told as well, as projects/PROJECT/notificationChannels/ID."
  type = object({
    page   = optional(list(string), [])
    ticket = optional(list(string), [])
  })
  default = {}
}

variable "budget" {
  description = "What all that carries the label app may cost in a month, in whole units of the billing account's currency; null: no budget."
  type = object({
    billing_account = string
    monthly_amount  = number
    currency        = optional(string, "USD")
  })
  default = null
}
