variable "project" {
  description = "Project of the instance."
  type        = string
}

variable "name" {
  description = "Id of the instance."
  type        = string
}

variable "clusters" {
  description = "Clusters, named after their zones. Exports and the registry write to the first one."
  type = list(object({
    zone      = string
    min_nodes = number
    max_nodes = number
  }))
}

variable "tables" {
  description = "Number of cells per row that garbage collection keeps, by entity type and model."
  type        = map(map(number))
}

variable "deletion_protection" {
  description = "Bigtable refuses to delete the instance, its tables and their column families."
  type        = bool
}

variable "backup_days" {
  description = "Retention of daily backups of the tables, in days. 0: no backups."
  type        = number
}
