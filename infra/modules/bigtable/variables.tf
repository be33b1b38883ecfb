variable "project" {
  description = "Project of the instance."
  type        = string
}

variable "name" {
  description = "Id of the instance."
  type        = string
}

variable "clusters" {
  description = "Its clusters, named after their zones. Exports and the registry write to the first."
  type = list(object({
    zone      = string
    min_nodes = number
    max_nodes = number
  }))
}

variable "tables" {
  description = "Entity types, and how many cells of a row garbage collection keeps, by the model that they belong to."
  type        = map(map(number))
}

variable "deletion_protection" {
  description = "Whether Bigtable refuses to delete the instance, its tables and their column families."
  type        = bool
}

variable "backup_days" {
  description = "How long daily backups of the tables are kept; 0: none are made."
  type        = number
}
