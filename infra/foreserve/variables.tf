variable "project" {
  description = "Id of an existing project with billing, for all resources."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project is an id of 6 to 30 lower-case letters, digits and hyphens, such as shop-predictions."
  }
}

variable "region" {
  description = "Region of all resources except Bigtable. Best that of the first Bigtable cluster."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is the name of a region, such as europe-west1."
  }
}

variable "name" {
  description = "Prefix of the names of all resources. Two environments in one project need different names."
  type        = string
  default     = "foreserve"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,13}[a-z0-9]$", var.name))
    error_message = "name has 6 to 15 lower-case letters, digits and hyphens, such as foreserve."
  }
}

variable "labels" {
  description = "Labels of jobs, alerts and objectives. Give the provider's default_labels the same value."
  type        = map(string)

  validation {
    condition = alltrue([
      for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))
    ])
    error_message = "labels are lower-case letters, digits, hyphens and underscores, 63 at most; keys begin with a letter."
  }
}

variable "clusters" {
  description = "Bigtable clusters with their zones and numbers of nodes. Exports and the registry write to the first one."
  type = list(object({
    zone      = string
    min_nodes = optional(number, 1)
    max_nodes = optional(number, 3)
  }))

  validation {
    condition     = length(var.clusters) >= 1 && length(var.clusters) <= 8
    error_message = "clusters has one cluster, or up to eight for replication."
  }

  validation {
    condition     = startswith(try(var.clusters[0].zone, ""), "${var.region}-")
    error_message = "clusters begins with one in the region, where the lookup service and the exports run."
  }

  validation {
    condition     = length(distinct(var.clusters[*].zone)) == length(var.clusters)
    error_message = "clusters are in different zones."
  }

  validation {
    condition     = alltrue([for cluster in var.clusters : can(regex("^[a-z]+-[a-z]+[0-9]+-[a-z]$", cluster.zone))])
    error_message = "clusters[].zone is the name of a zone, such as europe-west1-b."
  }

  # Google's limit: autoscaling allows at most ten times the minimum.
  validation {
    condition = alltrue([
      for cluster in var.clusters :
      cluster.min_nodes >= 1 && cluster.max_nodes >= cluster.min_nodes && cluster.max_nodes <= 10 * cluster.min_nodes
    ])
    error_message = "clusters[].min_nodes is at least 1, and max_nodes between that and ten times as many."
  }
}

variable "backup_days" {
  description = "Retention of daily backups of the Bigtable tables, in days. 0: no backups; refreshes can restore all predictions."
  type        = number
  default     = 0

  validation {
    condition     = var.backup_days == 0 || (var.backup_days >= 3 && var.backup_days <= 90)
    error_message = "backup_days is 0, or from 3 to 90."
  }
}

variable "bigquery_location" {
  description = "Location of the data that pipelines read, and of BigQuery models and predictions: EU, US, or a region."
  type        = string

  validation {
    condition     = can(regex("^(EU|US|[a-z]+-[a-z]+[0-9]+)$", var.bigquery_location))
    error_message = "bigquery_location is EU, US, or the name of a region, such as europe-west1."
  }
}

variable "source_datasets" {
  description = "Datasets that pipelines read, as PROJECT.DATASET. Terraform needs the right to change their policies."
  type        = set(string)

  validation {
    condition     = alltrue([for dataset in var.source_datasets : can(regex("^[a-z][a-z0-9-]+\\.\\w+$", dataset))])
    error_message = "source_datasets are named PROJECT.DATASET, such as shop-data.sales."
  }
}

variable "report_days" {
  description = "Retention of latency reports, in days."
  type        = number
  default     = 90

  validation {
    condition     = var.report_days >= 1
    error_message = "report_days is at least 1."
  }
}

variable "dataflow_max_workers" {
  description = "Largest number of workers of an export. One worker keeps some 50 Bigtable nodes busy (docs/size-and-cost.md)."
  type        = number
  default     = 1

  validation {
    condition     = var.dataflow_max_workers >= 1
    error_message = "dataflow_max_workers is at least 1."
  }
}

variable "ip_range" {
  description = "Addresses of the subnetwork, for Dataflow's workers, Cloud Run's instances (two each) and Composer (four)."
  type        = string
  default     = "10.64.0.0/22"

  validation {
    condition     = can(cidrhost(var.ip_range, 0)) && try(tonumber(split("/", var.ip_range)[1]), 32) <= 26
    error_message = "ip_range is a range of at least 64 addresses, such as 10.64.0.0/22."
  }
}

variable "api" {
  description = "The lookup service. callers: IAM members that may send lookups, in addition to Airflow and deployers. settings: SERVING_* and OTEL_* variables. callers_secret: id of the secret with the callers file. internet: it reaches an issuer's keys or a collector outside Google."
  type = object({
    min_instances  = optional(number, 2)
    max_instances  = optional(number, 10)
    callers        = optional(set(string), [])
    settings       = optional(map(string), {})
    callers_secret = optional(string)
    internet       = optional(bool, false)
  })
  default = {}

  validation {
    condition     = var.api.min_instances >= 1 && var.api.max_instances >= var.api.min_instances
    error_message = "api.min_instances is at least 1, so that no lookup waits for an instance; api.max_instances is no less."
  }

  validation {
    condition = alltrue([
      for caller in var.api.callers : can(regex("^(serviceAccount|group|user|domain|principal|principalSet):.+$", caller))
    ])
    error_message = "api.callers are IAM members, such as serviceAccount:shop@shop-data.iam.gserviceaccount.com; not allUsers."
  }

  validation {
    condition     = alltrue([for name in keys(var.api.settings) : can(regex("^(SERVING|OTEL)_[A-Z_]+$", name))])
    error_message = "api.settings are named SERVING_... or OTEL_..., such as SERVING_CACHE_BYTES."
  }
}

variable "composer" {
  description = "The Composer environments, by name; two during a change to another Airflow (docs/upgrade.md). python_version: that of the image. config_overrides: options of Airflow. packages: further Python packages. resilient: it survives the loss of a zone. snapshots: daily ones of Airflow's database. maintenance: at least 12 hours a week. retired: Terraform may delete it."
  type = map(object({
    image_version    = optional(string, "composer-3-airflow-3.3.1")
    python_version   = optional(string, "3.11")
    config_overrides = optional(map(string), {})
    packages         = optional(map(string), {})
    size             = optional(string, "ENVIRONMENT_SIZE_SMALL")
    resilient        = optional(bool, false)
    snapshots        = optional(bool, false)
    min_workers      = optional(number, 1)
    max_workers      = optional(number, 3)
    retired          = optional(bool, false)
    maintenance = optional(object({ start_time = string, end_time = string, recurrence = string }), {
      start_time = "2026-01-01T10:00:00Z"
      end_time   = "2026-01-01T14:00:00Z"
      recurrence = "FREQ=WEEKLY;BYDAY=TU,WE,TH"
    })
  }))
  default = { foreserve = {} }

  validation {
    condition = alltrue([
      for name in keys(var.composer) : can(regex("^[a-z0-9-]{0,62}[a-z0-9]$", name)) && startswith(name, var.name)
    ])
    error_message = "composer has environments by name: lower-case letters, digits and hyphens after `name`, such as foreserve-next."
  }

  validation {
    condition = alltrue([
      for environment in values(var.composer) :
      can(regex("^composer-3-airflow-(2\\.11|3\\.[0-9]+)(\\.[0-9]+)?(-build\\.[0-9]+)?$", environment.image_version))
    ])
    error_message = "composer[].image_version is one of Composer 3 with Airflow 2.11 or later, such as composer-3-airflow-3.3.1."
  }

  validation {
    condition = alltrue([
      for option in flatten([for environment in values(var.composer) : keys(environment.config_overrides)]) :
      can(regex("^[a-z_.]+-[a-z_]+$", option))
    ])
    error_message = "composer[].config_overrides are named SECTION-OPTION, such as core-parallelism."
  }

  validation {
    condition = alltrue([
      for environment in values(var.composer) :
      can(regex("^ENVIRONMENT_SIZE_(SMALL|MEDIUM|LARGE)$", environment.size))
    ])
    error_message = "composer[].size is ENVIRONMENT_SIZE_SMALL, ENVIRONMENT_SIZE_MEDIUM or ENVIRONMENT_SIZE_LARGE."
  }

  validation {
    condition = alltrue([
      for environment in values(var.composer) :
      environment.min_workers >= (environment.resilient ? 2 : 1) && environment.max_workers >= environment.min_workers
    ])
    error_message = "composer[].min_workers is at least 1, or 2 if resilient; composer[].max_workers is no less."
  }
}

variable "deploy_to" {
  description = "Name of the Composer environment that `make deploy` deploys to. null: the only one."
  type        = string
  default     = null
}

variable "airflow_secrets" {
  description = "Ids of secrets in Secret Manager that Airflow reads, such as airflow-connections-mail. None: its secrets backend stays off."
  type        = set(string)
  default     = []
}

variable "environment_variables" {
  description = "Further environment variables of the DAGs, such as FORESERVE_ALERTS."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.environment_variables) : can(regex("^(FORESERVE|AIRFLOW_(CONN|VAR))_[A-Z0-9_]+$", name))])
    error_message = "environment_variables are named FORESERVE_..., AIRFLOW_CONN_... or AIRFLOW_VAR_...; options of Airflow are composer[].config_overrides."
  }
}

variable "existing_airflow" {
  description = "An Airflow to use instead of Composer's. service_account gets the rights. bucket: gs://BUCKET or a folder in it, whose dags/ and plugins/ Airflow has. beam_version: of its package apache-beam. python_version: of its workers."
  type = object({
    service_account = string
    bucket          = string
    beam_version    = string
    python_version  = optional(string, "3.11")
  })
  default = null

  validation {
    condition = (
      var.existing_airflow == null ||
      can(regex("^[^@]+@.+\\.gserviceaccount\\.com$", var.existing_airflow.service_account))
    )
    error_message = "existing_airflow.service_account is an e-mail address that ends in gserviceaccount.com."
  }

  validation {
    condition     = var.existing_airflow == null || can(regex("^gs://[a-z0-9][^/]+(/[^/]+)*$", var.existing_airflow.bucket))
    error_message = "existing_airflow.bucket is gs://BUCKET or gs://BUCKET/FOLDER, without a slash at the end."
  }
}

variable "deployers" {
  description = "IAM members that may run `make deploy`. Owners of the project always may."
  type        = set(string)
  default     = []

  validation {
    condition = alltrue([
      for deployer in var.deployers : can(regex("^(serviceAccount|group|user|principal|principalSet):.+$", deployer))
    ])
    error_message = "deployers are IAM members, such as group:data@example.com."
  }
}

variable "report_readers" {
  description = "IAM members that may read latency reports, such as group:data@example.com."
  type        = set(string)
  default     = []
}

variable "live" {
  description = "A first version was promoted: create the objectives, whose metrics Cloud Monitoring knows only then, and enable the alert ForeserveGone."
  type        = bool
  default     = false
}

variable "documents" {
  description = "Prefix that makes docs/runbook.md a link in alerts, such as https://example.com/foreserve/blob/main/."
  type        = string
  default     = ""
}

variable "alert_emails" {
  description = "E-mail addresses for alerts. page: act now. ticket: act on a working day."
  type = object({
    page   = optional(set(string), [])
    ticket = optional(set(string), [])
  })
  default = {}

  validation {
    condition = alltrue([
      for address in setunion(var.alert_emails.page, var.alert_emails.ticket) : can(regex("^[^@ ]+@[^@ ]+$", address))
    ])
    error_message = "alert_emails are e-mail addresses."
  }
}

variable "alert_channels" {
  description = "Existing notification channels for alerts, as projects/PROJECT/notificationChannels/ID."
  type = object({
    page   = optional(list(string), [])
    ticket = optional(list(string), [])
  })
  default = {}

  validation {
    condition = alltrue([
      for channel in concat(var.alert_channels.page, var.alert_channels.ticket) : can(regex("^projects/[^/]+/notificationChannels/[0-9]+$", channel))
    ])
    error_message = "alert_channels are named projects/PROJECT/notificationChannels/ID."
  }
}

variable "budget" {
  description = "Monthly budget for the whole project, in whole units of the billing account's currency. null: no budget."
  type = object({
    billing_account = string
    monthly_amount  = number
    currency        = optional(string, "USD")
  })
  default = null

  validation {
    condition = (
      var.budget == null ||
      can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.budget.billing_account))
    )
    error_message = "budget.billing_account is an id such as 012345-6789AB-CDEF01."
  }

  validation {
    condition = (
      var.budget == null ||
      try(var.budget.monthly_amount >= 1 && floor(var.budget.monthly_amount) == var.budget.monthly_amount, false)
    )
    error_message = "budget.monthly_amount is a whole number, at least 1."
  }
}

variable "deletion_protection" {
  description = "Protect Bigtable, BigQuery, Composer, Cloud Run and the reports from deletion. To destroy them, set it to false and apply first."
  type        = bool
  default     = true
}
