variable "project" {
  description = "Id of the project that everything is made in. It exists, and has billing."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project is an id of 6 to 30 lower-case letters, digits and hyphens, such as shop-predictions."
  }
}

variable "region" {
  description = "Region of all that is not Bigtable's: best that of its first cluster."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is the name of a region, such as europe-west1."
  }
}

variable "name" {
  description = "What all that is made is named after. Two environments in one project need two names."
  type        = string
  default     = "foreserve"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,13}[a-z0-9]$", var.name))
    error_message = "name has 6 to 15 lower-case letters, digits and hyphens, such as foreserve."
  }
}

variable "labels" {
  description = "Labels of Dataflow jobs, alerts and objectives. The provider's default_labels must be the same."
  type        = map(string)

  validation {
    condition     = can(var.labels.app)
    error_message = "labels has a key app, by which a budget finds what it counts, such as app = \"foreserve\"."
  }

  validation {
    condition = alltrue([
      for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))
    ])
    error_message = "labels are lower-case letters, digits, hyphens and underscores, 63 at most; keys begin with a letter."
  }
}

variable "clusters" {
  description = "Bigtable's clusters: the zone of each, and how far it scales. Exports and the registry write to the first."
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
    condition     = length(distinct(var.clusters[*].zone)) == length(var.clusters)
    error_message = "clusters are in different zones."
  }

  validation {
    condition     = alltrue([for cluster in var.clusters : can(regex("^[a-z]+-[a-z]+[0-9]+-[a-z]$", cluster.zone))])
    error_message = "clusters[].zone is the name of a zone, such as europe-west1-b."
  }

  # Google's limit; the autoscaler may add nodes up to ten times the minimum.
  validation {
    condition = alltrue([
      for cluster in var.clusters :
      cluster.min_nodes >= 1 && cluster.max_nodes >= cluster.min_nodes && cluster.max_nodes <= 10 * cluster.min_nodes
    ])
    error_message = "clusters[].min_nodes is at least 1, and max_nodes between that and ten times as many."
  }
}

variable "backup_days" {
  description = "How long daily backups of Bigtable's tables are kept; 0: none are made, as refreshes can make all anew."
  type        = number
  default     = 0

  validation {
    condition     = var.backup_days == 0 || (var.backup_days >= 3 && var.backup_days <= 90)
    error_message = "backup_days is 0, or from 3 to 90."
  }
}

variable "bigquery_location" {
  description = "Location of the data that pipelines read, and so of models and predictions: EU, US, or a region."
  type        = string

  validation {
    condition     = can(regex("^(EU|US|[a-z]+-[a-z]+[0-9]+)$", var.bigquery_location))
    error_message = "bigquery_location is EU, US, or the name of a region, such as europe-west1."
  }
}

variable "source_datasets" {
  description = "Datasets that pipelines read, as PROJECT.DATASET. Whoever applies this may change rights on them."
  type        = set(string)

  validation {
    condition     = alltrue([for dataset in var.source_datasets : can(regex("^[a-z][a-z0-9-]+\\.\\w+$", dataset))])
    error_message = "source_datasets are named PROJECT.DATASET, such as shop-data.sales."
  }
}

variable "report_days" {
  description = "How long latency reports are kept."
  type        = number
  default     = 90

  validation {
    condition     = var.report_days >= 1
    error_message = "report_days is at least 1."
  }
}

variable "dataflow_max_workers" {
  description = "How many workers an export may have. One keeps 52 Bigtable nodes busy (docs/size-and-cost.md); more than the nodes can take only wait."
  type        = number
  default     = 1

  validation {
    condition     = var.dataflow_max_workers >= 1
    error_message = "dataflow_max_workers is at least 1."
  }
}

variable "ip_range" {
  description = "Addresses of the subnetwork: of Dataflow's workers, of Cloud Run's instances (two each), and four of Composer's."
  type        = string
  default     = "10.64.0.0/22"

  validation {
    condition     = can(cidrhost(var.ip_range, 0)) && try(tonumber(split("/", var.ip_range)[1]), 32) <= 26
    error_message = "ip_range is a range of at least 64 addresses, such as 10.64.0.0/22."
  }
}

variable "apis_address" {
  description = "Private address at which the network reaches Cloud Run where api.internal is true; in no subnetwork."
  type        = string
  default     = "10.127.0.1"

  validation {
    condition     = can(cidrhost("${var.apis_address}/32", 0))
    error_message = "apis_address is an address, such as 10.127.0.1."
  }
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

  validation {
    condition     = var.api.min_instances >= 1 && var.api.max_instances >= var.api.min_instances
    error_message = "api.min_instances is at least 1, as a first lookup must not wait for an instance; api.max_instances is no less."
  }

  validation {
    condition = alltrue([
      for caller in var.api.callers : can(regex("^(serviceAccount|group|user|domain|principal|principalSet):.+$", caller))
    ])
    error_message = "api.callers are named as IAM does, such as serviceAccount:shop@shop-data.iam.gserviceaccount.com; not allUsers."
  }

  validation {
    condition     = alltrue([for name in keys(var.api.settings) : can(regex("^SERVING_[A-Z_]+$", name))])
    error_message = "api.settings are named SERVING_..., such as SERVING_CACHE_BYTES."
  }
}

variable "composer" {
  description = "The Composer environment, unless there is one already: its version, options of Airflow, size, and how far its workers scale."
  type = object({
    image_version    = optional(string, "composer-3-airflow-2.11.1")
    config_overrides = optional(map(string), {})
    size             = optional(string, "ENVIRONMENT_SIZE_SMALL")
    resilient        = optional(bool, false)
    min_workers      = optional(number, 1)
    max_workers      = optional(number, 3)
  })
  default = {}

  validation {
    condition     = can(regex("^composer-3-airflow-(2\\.11|3\\.[0-9]+)(\\.[0-9]+)?(-build\\.[0-9]+)?$", var.composer.image_version))
    error_message = "composer.image_version is one of Composer 3 with Airflow 2.11 or later, such as composer-3-airflow-2.11.1."
  }

  validation {
    condition = alltrue([
      for option in keys(var.composer.config_overrides) : can(regex("^[a-z_.]+-[a-z_]+$", option))
    ])
    error_message = "composer.config_overrides are named SECTION-OPTION, such as core-parallelism."
  }

  validation {
    condition     = contains(["SMALL", "MEDIUM", "LARGE"], trimprefix(var.composer.size, "ENVIRONMENT_SIZE_"))
    error_message = "composer.size is ENVIRONMENT_SIZE_SMALL, ENVIRONMENT_SIZE_MEDIUM or ENVIRONMENT_SIZE_LARGE."
  }

  validation {
    condition     = var.composer.min_workers >= (var.composer.resilient ? 2 : 1) && var.composer.max_workers >= var.composer.min_workers
    error_message = "composer.min_workers is at least 1, or 2 if resilient; composer.max_workers is no less."
  }
}

variable "environment_variables" {
  description = "Further environment variables of the DAGs, such as FORESERVE_ALERTS."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.environment_variables) : can(regex("^(FORESERVE|AIRFLOW_(CONN|VAR))_[A-Z0-9_]+$", name))])
    error_message = "environment_variables are named FORESERVE_..., AIRFLOW_CONN_... or AIRFLOW_VAR_...; Airflow's own options are composer.config_overrides."
  }
}

variable "existing_composer" {
  description = "A Composer environment that exists, instead of one that is made here; its service account gets the rights."
  type = object({
    environment     = string
    location        = string
    service_account = string
  })
  default = null

  validation {
    condition = (
      var.existing_composer == null ||
      can(regex("^[^@]+@.+\\.gserviceaccount\\.com$", var.existing_composer.service_account))
    )
    error_message = "existing_composer.service_account is an e-mail address that ends in gserviceaccount.com."
  }
}

variable "deployers" {
  description = "Who may run `make deploy`, as IAM has it. None: whoever owns the project."
  type        = set(string)
  default     = []

  validation {
    condition = alltrue([
      for deployer in var.deployers : can(regex("^(serviceAccount|group|user|principal|principalSet):.+$", deployer))
    ])
    error_message = "deployers are named as IAM does, such as group:data@example.com."
  }
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

  validation {
    condition = alltrue([
      for address in setunion(var.alert_emails.page, var.alert_emails.ticket) : can(regex("^[^@ ]+@[^@ ]+$", address))
    ])
    error_message = "alert_emails are e-mail addresses."
  }
}

variable "alert_channels" {
  description = "Notification channels that exist and are told as well, as projects/PROJECT/notificationChannels/ID."
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
  description = "What all that carries the label app may cost in a month, in whole units of the billing account's currency; null: no budget."
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
  description = "Whether Bigtable, BigQuery, Cloud Run and the reports are protected from being deleted. Switch it off, apply, and only then destroy."
  type        = bool
  default     = true
}
