variable "project" {
  description = "Project of the buckets, which their names begin with."
  type        = string
}

variable "name" {
  description = "What the buckets' names go on with."
  type        = string
}

variable "location" {
  description = "Location of the buckets: the region of the Dataflow jobs."
  type        = string
}

variable "report_days" {
  description = "How long latency reports are kept."
  type        = number
}

variable "deletion_protection" {
  description = "Whether the bucket of reports is only deleted when it is empty."
  type        = bool
}
